//! The wire contract between Penstock's eBPF programs and everything in user space that reads or writes their maps.
//!
//! Owns: every map's name, key and value ([`maps`]), the packed words inside them ([`Selection`]), reason and counter
//! codes ([`Reason`], [`Counter`]), timeouts ([`timeout`]) and the [`SCHEMA`] version.
//!
//! Invariants:
//! - A value that the kernel stores has explicit widths and no padding; [`Plain`] proves it for each concrete type.
//! - Addresses and ports are kept as on the wire, and their types say so ([`Addr4`], [`Addr6`], [`Port`]).
//! - Any change of a layout, or of what a field means, raises [`SCHEMA`].
//! - Index 0 of services, backends and next hops is never given out: a zeroed word leads nowhere.
//!
//! Must not know: how a map is reached (aya, system calls, plain collections), nor any policy.
#![no_std]

mod address;
mod backend;
mod config;
mod counters;
mod event;
mod flow;
mod frontend;
pub mod maps;
mod next_hop;
mod plain;
mod selection;
mod service;
mod socket;
pub mod timeout;

pub use address::{Addr, Addr4, Addr6, Port, Protocol};
pub use backend::{Backend, MEMBER_CLUSTER};
pub use config::Config;
pub use counters::{Counter, DropCount, Reason, ServiceCount};
pub use event::{Event, EventKind};
pub use flow::{Flow, FlowKey, FlowKind, TcpState};
pub use frontend::{FrontendKey, Scope};
pub use next_hop::{NextHop, NextHopKind};
pub use plain::Plain;
pub use selection::{EmptySet, Selection, SetKind};
pub use service::{Service, ServiceName};
pub use socket::{SocketPeer, UdpPeer, UdpPeerKey};

/// Version of this contract. Maps are pinned below a folder of this number, so that two versions never meet in one map.
pub const SCHEMA: u32 = 1;
