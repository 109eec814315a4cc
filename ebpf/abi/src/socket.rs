//! What sockets need to be told of the frontends that they asked for.

use crate::address::{Addr4, Addr6, Port};
use crate::plain::plain;

/// Value of the socket storage: the frontend that the socket last asked for and the backend that it was given.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketPeer<A> {
    /// The Service's address.
    pub frontend: A,
    /// The endpoint's address.
    pub backend: A,
    /// The Service's port.
    pub frontend_port: Port,
    /// The endpoint's port.
    pub backend_port: Port,
    /// The backend's index, so that a further datagram goes to the same endpoint while it is a member.
    pub index: u32,
    /// [`crate::Backend::generation`] when it was chosen.
    pub generation: u32,
}
plain!(SocketPeer<Addr4>, 20: frontend: Addr4, backend: Addr4, frontend_port: Port, backend_port: Port, index: u32, generation: u32);
plain!(SocketPeer<Addr6>, 44: frontend: Addr6, backend: Addr6, frontend_port: Port, backend_port: Port, index: u32, generation: u32);

/// Key of the unconnected-UDP tables: a socket that talks to several frontends, and one of the backends it was given.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct UdpPeerKey<A> {
    /// The socket's cookie, low word first.
    pub cookie: [u32; 2],
    /// The endpoint that answers.
    pub backend: A,
    /// The endpoint that answers.
    pub port: Port,
    /// Explicit padding, zero.
    pub _pad: u16,
}
plain!(UdpPeerKey<Addr4>, 16: cookie: [u32; 2], backend: Addr4, port: Port, _pad: u16);
plain!(UdpPeerKey<Addr6>, 28: cookie: [u32; 2], backend: Addr6, port: Port, _pad: u16);

impl<A> UdpPeerKey<A> {
    /// A key.
    #[inline(always)]
    pub fn new(cookie: u64, backend: A, port: Port) -> Self {
        Self { cookie: [cookie as u32, (cookie >> 32) as u32], backend, port, _pad: 0 }
    }

    /// A word made from the key that is kept in the value, for the reason told at [`crate::FlowKey::tag`]. The cookie
    /// never comes again, so it alone tells sockets apart; the port tells most backends of one socket apart.
    #[inline(always)]
    pub fn tag(&self) -> u32 {
        (self.cookie[0] ^ self.cookie[1].rotate_left(16)).wrapping_mul(0x9e37_79b1) ^ u32::from(self.port.0)
    }
}

/// Value of the unconnected-UDP tables: the frontend that the backend answers for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UdpPeer<A> {
    /// [`UdpPeerKey::tag`] of the key; first, as in [`crate::Flow`].
    pub tag: u32,
    /// The Service's address.
    pub frontend: A,
    /// The Service's port.
    pub port: Port,
    /// Explicit padding, zero.
    pub _pad: u16,
}
plain!(UdpPeer<Addr4>, 12: tag: u32, frontend: Addr4, port: Port, _pad: u16);
plain!(UdpPeer<Addr6>, 24: tag: u32, frontend: Addr6, port: Port, _pad: u16);
