//! Packets, calls and tables out of plain collections: the rules run on a laptop as they run in the kernel.
//!
//! Owns: a packet in a plain buffer ([`Buffer`]), a socket ([`Socket`]), and the tables of a node ([`Node`]) with their
//! clock, dice and counters, each of which a test sets and reads.
//!
//! Invariants:
//! - What the kernel's carrier may refuse, this one refuses too: bytes beyond the linear part, a full flow table.
//! - Nothing is random: dice are thrown from a seed, or say what they were told to say.
//!
//! Must not know: any rule. What a packet should become is told by tests.

mod buffer;
mod dice;
mod flows;
mod node;
mod socket;

pub use buffer::{Buffer, Field};
pub use flows::{Element, FlowTable, WhenFull};
pub use node::{FamilyTables, InMemory, Node};
pub use socket::Socket;
