//! What happens to a packet, and to a call on a socket: parse, look up, choose, rewrite, track.
//!
//! Owns: the meaning of the tables for traffic. Each rule is written once, generic over
//! - the address family ([`Family`]: [`V4`], [`V6`]),
//! - what carries the packet ([`Packet`]: the kernel's socket buffer, a plain buffer in tests) or the call
//!   ([`SocketCall`]),
//! - the tables ([`Tables`]: BPF maps, plain collections in tests).
//!
//! Invariants:
//! - Every packet ends in a [`Verdict`] or in a [`Reason`] that is counted. No panic is reachable, nothing is indexed.
//! - A packet that is not a Service's, nor for a pod of this node, is left to the kernel as it came.
//! - The packet is changed only after everything that can fail has been decided, but for the rewrite itself.
//!
//! Must not know: the kernel, its helpers, aya. It runs on a laptop as it runs in the kernel.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "memory")]
extern crate std;

mod balance;
mod checksum;
mod ethernet;
mod family;
mod headers;
#[cfg(feature = "memory")]
pub mod memory;
mod packet;
mod parse;
mod pod;
mod reject;
mod report;
mod rewrite;
mod serve;
mod socket;
mod steer;
mod tables;
mod track;
mod uplink;

pub use checksum::Checksum;
pub use family::{Family, Fragment, Network, Pair, V4, V6};
pub use headers::{ETHERNET_LEN, Ipv4Header, Ipv6Header, TcpFlags};
pub use packet::{L4Change, Packet};
pub use parse::{Parsed, parse};
pub use penstock_abi::Reason;
pub use pod::{pod_egress, pod_ingress};
pub use socket::{Answer, SocketCall, connect, getpeername, recvmsg, sendmsg};
pub use steer::Verdict;
pub use tables::{FlowCell, Inserted, NodeTables, Tables};
pub use uplink::{uplink_egress, uplink_ingress};
