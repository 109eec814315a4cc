//! Services at the socket: a call names a frontend, the kernel is told a backend, and the caller is told the frontend
//! again. No packet is touched.

use penstock_abi::{FlowKey, FrontendKey, Port, Protocol, Reason, SocketPeer, UdpPeer, UdpPeerKey};

use crate::balance::{Chosen, choose};
use crate::family::Family;
use crate::report::{began, dropped};
use crate::tables::Tables;

/// A call on a socket that has a remote address in it: asked for (connect, sendmsg), or about to be told to the caller
/// (recvmsg, getpeername).
pub trait SocketCall<F: Family> {
    /// The remote address.
    fn remote(&self) -> (F::Addr, Port);
    /// Replaces the remote address.
    fn set_remote(&mut self, addr: F::Addr, port: Port);
    /// The socket's protocol.
    fn protocol(&self) -> Protocol;
    /// The socket's cookie: never given out again.
    fn cookie(&self) -> u64;
    /// What the socket was last told.
    fn peer(&self) -> Option<SocketPeer<F::Addr>>;
    /// Remembers what the socket is told, for as long as it lives.
    fn set_peer(&mut self, peer: &SocketPeer<F::Addr>);
}

/// What the caller is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The call goes on, changed or not.
    Proceed,
    /// The call fails with ECONNREFUSED.
    Refuse,
}

/// `connect(2)`: the socket is connected to a backend.
#[inline(always)]
pub fn connect<F: Family>(call: &mut impl SocketCall<F>, tables: &impl Tables<F>) -> Answer {
    let (addr, port) = call.remote();
    let Some(service) = tables.frontend(&FrontendKey::cluster(addr, port, call.protocol())) else {
        return Answer::Proceed;
    };
    let chosen = match choose(tables, service) {
        Ok(chosen) => chosen,
        Err(reason) => return unserved::<F>(tables, addr, port, call.protocol(), reason),
    };
    began::<F>(tables, || asked::<F>(addr, port, call.protocol()), service, chosen.index);
    call.set_peer(&peer::<F>(addr, port, &chosen));
    call.set_remote(chosen.backend.addr, chosen.backend.port);
    Answer::Proceed
}

/// `sendto(2)` and `sendmsg(2)` with an address: the datagram goes to a backend.
///
/// A socket that sends to one frontend again and again stays with its backend while that is a member, as it would with
/// connection tracking: protocols over several datagrams (QUIC) need that.
#[inline(always)]
pub fn sendmsg<F: Family>(call: &mut impl SocketCall<F>, tables: &impl Tables<F>) -> Answer {
    let (addr, port) = call.remote();
    let Some(service) = tables.frontend(&FrontendKey::cluster(addr, port, call.protocol())) else {
        return Answer::Proceed;
    };
    if let Some(last) = call.peer()
        && last.frontend == addr
        && last.frontend_port == port
        && let Some(backend) = tables.backend(last.index)
        && backend.generation == last.generation
        && backend.service == service
        && backend.member != 0
    {
        call.set_remote(backend.addr, backend.port);
        return Answer::Proceed;
    }
    let chosen = match choose(tables, service) {
        Ok(chosen) => chosen,
        Err(reason) => return unserved::<F>(tables, addr, port, call.protocol(), reason),
    };
    let Chosen { backend, .. } = &chosen;
    let key = UdpPeerKey::new(call.cookie(), backend.addr, backend.port);
    tables.set_udp_peer(&key, &UdpPeer { tag: key.tag(), frontend: addr, port, _pad: 0 });
    began::<F>(tables, || asked::<F>(addr, port, call.protocol()), service, chosen.index);
    call.set_peer(&peer::<F>(addr, port, &chosen));
    call.set_remote(backend.addr, backend.port);
    Answer::Proceed
}

/// `recvfrom(2)` and `recvmsg(2)` with room for an address: an answer comes from the frontend that was asked.
#[inline(always)]
pub fn recvmsg<F: Family>(call: &mut impl SocketCall<F>, tables: &impl Tables<F>) {
    if getpeername(call) {
        return;
    }
    let (addr, port) = call.remote();
    let key = UdpPeerKey::new(call.cookie(), addr, port);
    if let Some(peer) = tables.udp_peer(&key)
        && peer.tag == key.tag()
    {
        call.set_remote(peer.frontend, peer.port);
    }
}

/// `getpeername(2)`: the peer is the frontend that was asked for. Tells whether it was one.
#[inline(always)]
pub fn getpeername<F: Family>(call: &mut impl SocketCall<F>) -> bool {
    let remote = call.remote();
    match call.peer() {
        Some(peer) if (peer.backend, peer.backend_port) == remote => {
            call.set_remote(peer.frontend, peer.frontend_port);
            true
        }
        _ => false,
    }
}

#[inline(always)]
fn peer<F: Family>(frontend: F::Addr, frontend_port: Port, chosen: &Chosen<F>) -> SocketPeer<F::Addr> {
    SocketPeer {
        frontend,
        backend: chosen.backend.addr,
        frontend_port,
        backend_port: chosen.backend.port,
        index: chosen.index,
        generation: chosen.backend.generation,
    }
}

/// A call as a tuple, as far as it is known: sockets have no source yet.
#[inline(always)]
fn asked<F: Family>(addr: F::Addr, port: Port, protocol: Protocol) -> FlowKey<F::Addr> {
    FlowKey::new(F::Addr::default(), addr, Port::default(), port, protocol)
}

/// A call to a Service that has nobody to serve it. Where the rule is to drop, the call proceeds to the frontend
/// itself, whose packets are dropped: a socket has no other way to keep a caller waiting.
#[inline(always)]
fn unserved<F: Family>(
    tables: &impl Tables<F>,
    addr: F::Addr,
    port: Port,
    protocol: Protocol,
    reason: Reason,
) -> Answer {
    if reason == Reason::NoUsableEndpoints {
        return Answer::Proceed;
    }
    dropped::<F>(tables, &asked::<F>(addr, port, protocol), reason, 0, 0);
    Answer::Refuse
}
