//! What the yardstick programs and the benchmark that loads them share: the values of their maps.
//!
//! The programs are the least that a Service needs: no timeouts, no counters, no states, no hop limits, no way out of a
//! collision. What Penstock takes beyond them is the price of its features, and the benchmark tells it.
//!
//! Must not know: any table of Penstock's. The keys of frontends and flows are the contract's, so that both sides look up
//! keys of one form.
#![no_std]
#![expect(unsafe_code, reason = "a type is promised to be nothing but its bytes")]

use penstock_abi::{Addr4, Addr6, Plain, Port};

/// Elements of the frontends maps, as Penstock's have.
pub const MAX_FRONTENDS: u32 = penstock_abi::maps::MAX_FRONTENDS;
/// Elements of the backends maps, as Penstock's have.
pub const MAX_BACKENDS: u32 = penstock_abi::maps::MAX_BACKENDS;
/// Elements of the flows map, as Penstock's have.
pub const MAX_FLOWS: u32 = penstock_abi::maps::MAX_FLOWS;
/// Places for programs under test.
pub const MAX_TARGETS: u32 = 8;
/// Words of a packet that are written anew for each pass: Ethernet, IPv6 and TCP without options, rounded up.
pub const HEADER_WORDS: usize = 10;
/// Port of a client's first flow.
pub const FIRST_CLIENT_PORT: u16 = 32_768;
/// Flows of one client: as many as there are ports from the first on.
pub const FLOWS_PER_CLIENT: u32 = 32_768;

/// The one value of the map `scene`: what the wrapper puts before the program under test.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scene {
    /// The packet's first bytes, as they are in memory.
    pub header: [u64; HEADER_WORDS],
    /// Number of the next pass.
    pub next: u32,
    /// Which bits of the pass's number tell the flow: 0 for one flow, all for one that is never repeated.
    pub flow_mask: u32,
    /// Over how many frontends the flows are spread: the low 16 bits of the destination address count from zero.
    pub frontends: u32,
    /// Which of the programs in `targets` is under test.
    pub target: u32,
}

/// Value of the frontends maps: the backends from `first` on.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MinimalService {
    /// Index of the first backend.
    pub first: u32,
    /// Number of backends.
    pub count: u32,
}

/// Value of the backends maps.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MinimalBackend<A> {
    /// Where it listens.
    pub addr: A,
    /// Where it listens.
    pub port: Port,
    /// Explicit padding, zero.
    pub _pad: u16,
    /// The device of its pod, on the node's side.
    pub ifindex: u32,
}

/// Value of the flows map: what a packet's source (of an answer) or destination becomes, and where it goes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MinimalFlow {
    /// The new address.
    pub addr: Addr4,
    /// The new port.
    pub port: Port,
    /// 1 for an answer.
    pub is_answer: u16,
    /// The device of the pod, on the node's side.
    pub ifindex: u32,
}

/// Value of the socket storages: what getpeername(2) has to answer.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MinimalPeer<A> {
    /// The frontend's address.
    pub addr: A,
    /// The frontend's port.
    pub port: Port,
    /// Explicit padding, zero.
    pub _pad: u16,
}

/// Promises that a value is nothing but its bytes, and proves that its fields leave no gap.
macro_rules! plain {
    ($($type:ty, $size:literal;)+) => {$(
        const _: () = assert!(size_of::<$type>() == $size);
        // SAFETY: repr(C), integers alone, and the size is the sum of theirs.
        unsafe impl Plain for $type {}
    )+};
}
plain! {
    Scene, 96;
    MinimalService, 8;
    MinimalBackend<Addr4>, 12;
    MinimalBackend<Addr6>, 24;
    MinimalFlow, 12;
    MinimalPeer<Addr4>, 8;
    MinimalPeer<Addr6>, 20;
}
