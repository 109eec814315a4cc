//! Sampled records of flows and drops.

use crate::address::{Addr6, Port, Protocol};
use crate::plain::plain;

/// Record of the events ring. Addresses are those of the packet on arrival; IPv4 is kept mapped (`::ffff:a.b.c.d`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub time: u64,
    /// Source address.
    pub src: Addr6,
    /// Destination address.
    pub dst: Addr6,
    /// Source port.
    pub sport: Port,
    /// Destination port.
    pub dport: Port,
    /// Protocol number.
    pub protocol: Protocol,
    /// What happened, as an [`EventKind`].
    pub kind: u8,
    /// For a drop: the [`crate::Reason`]. Otherwise 0.
    pub reason: u8,
    /// Explicit padding, zero.
    pub _pad: u8,
    /// The device of arrival; 0 at a socket.
    pub ifindex: u32,
    /// The service index; 0: none.
    pub service: u32,
    /// The backend index; 0: none.
    pub backend: u32,
    /// Explicit padding, zero.
    pub _pad2: u32,
}
plain!(Event, 64: time: u64, src: Addr6, dst: Addr6, sport: Port, dport: Port, protocol: Protocol, kind: u8, reason: u8, _pad: u8, ifindex: u32, service: u32, backend: u32, _pad2: u32);

/// What happened.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// A packet was dropped, or a call refused.
    Drop = 0,
    /// A flow got a backend.
    NewFlow = 1,
}
