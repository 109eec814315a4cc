//! A socket, as far as the rules see it.

use penstock_abi::{Port, Protocol, SocketPeer};

use crate::family::Family;
use crate::socket::SocketCall;

/// A socket and the call that is made on it.
#[derive(Clone, Debug)]
pub struct Socket<F: Family> {
    /// The address in the call: what is asked for, or what the caller is about to be told.
    pub remote: (F::Addr, Port),
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The socket's cookie.
    pub cookie: u64,
    /// The socket's storage.
    pub peer: Option<SocketPeer<F::Addr>>,
}

impl<F: Family> Socket<F> {
    /// A fresh socket.
    #[must_use]
    pub fn new(protocol: Protocol, cookie: u64) -> Self {
        Self { remote: Default::default(), protocol, cookie, peer: None }
    }
}

impl<F: Family> SocketCall<F> for Socket<F> {
    fn remote(&self) -> (F::Addr, Port) {
        self.remote
    }

    fn set_remote(&mut self, addr: F::Addr, port: Port) {
        self.remote = (addr, port);
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn cookie(&self) -> u64 {
        self.cookie
    }

    fn peer(&self) -> Option<SocketPeer<F::Addr>> {
        self.peer
    }

    fn set_peer(&mut self, peer: &SocketPeer<F::Addr>) {
        self.peer = Some(*peer);
    }
}
