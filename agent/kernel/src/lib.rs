//! All of Penstock that touches the kernel: loading and pinning, tables, attachments, netlink, sysctls.
//!
//! Owns: the eBPF object ([`object`]), the maps and their life on a bpffs ([`Dataplane`], [`Pins`]), typed access to them
//! ([`Tables`]), what is attached where ([`attach`]), grace periods ([`Grace`]), the node's devices, addresses and routes
//! ([`node`], [`routes`]), the kernel's own tracked connections ([`conntrack`]), and taking all of it away again ([`cleanup`]).
//!
//! Invariants:
//! - No map is reused before its type, sizes and flags were compared with what the programs want.
//! - Dropping a value detaches nothing: what is attached stays until it is detached explicitly.
//! - What Penstock did not make is not touched: routes carry its own protocol number, programs are known by their name and
//!   their maps, filters by priority, handle and name.
//! - What speaks netlink is async, and is about the network namespace of the thread that it was called on.
//! - `unsafe` is found below [`sys`] only.
//!
//! Must not know: Services, endpoints, or any rule about which index means what.

pub mod attach;
mod bpffs;
mod carry;
pub mod cleanup;
pub mod conntrack;
mod dataplane;
mod error;
pub mod features;
pub mod flows;
mod grace;
mod hook;
mod load;
mod lock;
mod maps;
mod netlink;
pub mod node;
pub mod object;
pub mod routes;
pub mod sys;
pub mod sysctl;
pub mod table;

pub use bpffs::Pins;
pub use dataplane::{Dataplane, Migration, Settings};
pub use error::{Error, OtherSchemas};
pub use grace::Grace;
pub use hook::{Direction, Hook};
pub use load::Programs;
pub use lock::Lock;
pub use maps::{MapMemory, TableSizes, Tables, events, memory};
