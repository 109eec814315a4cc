//! Connection tracking: what is known of a translated flow.

use crate::address::{Addr, Addr4, Addr6, Port, Protocol};
use crate::plain::plain;

/// Key of the flows tables: the 5-tuple as it is seen on arrival.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub sport: Port,
    /// Destination port.
    pub dport: Port,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Explicit padding, zero.
    pub _pad: u8,
    /// Explicit padding, zero.
    pub _pad2: u16,
}
plain!(FlowKey<Addr4>, 16: src: Addr4, dst: Addr4, sport: Port, dport: Port, protocol: Protocol, _pad: u8, _pad2: u16);
plain!(FlowKey<Addr6>, 40: src: Addr6, dst: Addr6, sport: Port, dport: Port, protocol: Protocol, _pad: u8, _pad2: u16);

impl<A: Addr> FlowKey<A> {
    /// A key.
    #[inline(always)]
    pub fn new(src: A, dst: A, sport: Port, dport: Port, protocol: Protocol) -> Self {
        Self { src, dst, sport, dport, protocol, _pad: 0, _pad2: 0 }
    }

    /// The tuple of the answers to this one.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self::new(self.dst, self.src, self.dport, self.sport, self.protocol)
    }

    /// A word made from the key, kept in the value: the kernel recycles elements under readers, and another tag tells
    /// that this is no longer the element that was asked for.
    #[inline(always)]
    pub fn tag(&self) -> u32 {
        // Odd multipliers (the golden ratio, and one of xxHash's primes) spread each word over the whole tag.
        const A: u32 = 0x9e37_79b1;
        const B: u32 = 0x85eb_ca77;
        let ports = u32::from(self.sport.0) << 16 | u32::from(self.dport.0);
        let mixed = self.src.fold().wrapping_mul(A) ^ self.dst.fold();
        let mixed = mixed.wrapping_mul(B) ^ ports;
        (mixed ^ mixed >> 15).wrapping_mul(A).wrapping_add(u32::from(self.protocol.0))
    }
}

/// Value of the flows tables: one half of a tracked connection.
///
/// A connection has two, one for each direction, found by the tuple that arrives. Each half knows the tuple that the
/// packet gets, so each knows the other's key: [`Flow::peer_key`].
///
/// `tag` is the first field on purpose: the kernel fills a recycled element from its start, so a reader that copies the
/// rest first and compares the tag last never takes another flow's fields for its own.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow<A> {
    /// [`FlowKey::tag`] of the key.
    pub tag: u32,
    /// Source address after the rewrite.
    pub src: A,
    /// Destination address after the rewrite.
    pub dst: A,
    /// Source port after the rewrite.
    pub sport: Port,
    /// Destination port after the rewrite.
    pub dport: Port,
    /// The backend that serves the connection.
    pub backend: u32,
    /// [`crate::Backend::generation`] when it was chosen.
    pub generation: u32,
    /// The way back to the client: an index into the next hops.
    pub client_hop: u32,
    /// When a packet was last seen: [`crate::timeout::stamp`].
    pub last_seen: u32,
    /// Which half this is, as a [`FlowKind`].
    pub kind: u8,
    /// What has been seen of the connection, as [`TcpState`] bits; for UDP only [`TcpState::REPLIED`] is used.
    pub state: u8,
    /// Explicit padding, zero.
    pub _pad: u16,
}
plain!(Flow<Addr4>, 36: tag: u32, src: Addr4, dst: Addr4, sport: Port, dport: Port, backend: u32, generation: u32, client_hop: u32, last_seen: u32, kind: u8, state: u8, _pad: u16);
plain!(Flow<Addr6>, 60: tag: u32, src: Addr6, dst: Addr6, sport: Port, dport: Port, backend: u32, generation: u32, client_hop: u32, last_seen: u32, kind: u8, state: u8, _pad: u16);

impl<A: Addr> Flow<A> {
    /// The tuple that a packet of this half has after the rewrite.
    #[inline(always)]
    pub fn rewritten(&self, protocol: Protocol) -> FlowKey<A> {
        FlowKey::new(self.src, self.dst, self.sport, self.dport, protocol)
    }

    /// The key of the other half.
    #[inline(always)]
    pub fn peer_key(&self, protocol: Protocol) -> FlowKey<A> {
        self.rewritten(protocol).reversed()
    }

    /// Becomes the other half, given this half's key. The tag is the caller's to set: it has the other key.
    #[inline(always)]
    pub fn turn(&mut self, key: &FlowKey<A>) {
        self.src = key.dst;
        self.dst = key.src;
        self.sport = key.dport;
        self.dport = key.sport;
        self.kind ^= FlowKind::Forward as u8 ^ FlowKind::Reverse as u8;
    }
}

/// The two halves of a connection.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowKind {
    /// From the client to the Service.
    Forward = 0,
    /// From the backend to the client.
    Reverse = 1,
}

/// What has been seen of a connection, as bits of [`Flow::state`].
pub struct TcpState;

impl TcpState {
    /// The other side has answered.
    pub const REPLIED: u8 = 1;
    /// The client has sent a FIN.
    pub const FIN_CLIENT: u8 = 2;
    /// The backend has sent a FIN.
    pub const FIN_BACKEND: u8 = 4;
    /// Either side has sent a RST.
    pub const RST: u8 = 8;

    /// Whether the connection has ended: both sides have closed it, or one has reset it.
    #[inline(always)]
    pub const fn is_over(state: u8) -> bool {
        const BOTH: u8 = TcpState::FIN_CLIENT | TcpState::FIN_BACKEND;
        state & Self::RST != 0 || state & BOTH == BOTH
    }
}
