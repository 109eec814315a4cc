//! A call on a socket, as the kernel hands it to a `cgroup/sock_addr` program.
#![expect(unsafe_code, reason = "the context's fields are reached through the kernel's pointer")]

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SockAddrContext;
use penstock_abi::{Addr4, Addr6, Port, Protocol, SocketPeer};
use penstock_datapath::{SocketCall, V4, V6};

use crate::maps::{SOCKETS4, SOCKETS6};

/// A call on a socket of family IPv4.
pub(crate) struct Call4<'a>(pub(crate) &'a SockAddrContext);
/// A call on a socket of family IPv6.
pub(crate) struct Call6<'a>(pub(crate) &'a SockAddrContext);
/// A call on a socket of family IPv6 that speaks of an IPv4-mapped address.
pub(crate) struct CallMapped<'a>(pub(crate) &'a SockAddrContext);

// The verifier turns each access to the context into one of the kernel's own fields. It allows 32-bit accesses, at constant
// offsets, alone: so each is volatile, which keeps LLVM from merging or narrowing them.

#[inline(always)]
fn load(field: *const u32) -> u32 {
    // SAFETY: the callers pass a field of the context, which is valid for the program's run.
    unsafe { field.read_volatile() }
}

#[inline(always)]
fn store(field: *mut u32, value: u32) {
    // SAFETY: as for `load`.
    unsafe { field.write_volatile(value) }
}

/// The IPv4 address of a call.
#[inline(always)]
fn addr4(ctx: *mut bpf_sock_addr) -> Addr4 {
    // SAFETY: a field's address is computed, nothing is read.
    Addr4(load(unsafe { &raw const (*ctx).user_ip4 }))
}

/// The IPv6 address of a call.
#[inline(always)]
pub(crate) fn addr6(ctx: *mut bpf_sock_addr) -> Addr6 {
    // SAFETY: fields' addresses are computed, nothing is read.
    Addr6(unsafe {
        let words = (&raw const (*ctx).user_ip6).cast::<u32>();
        [load(words), load(words.add(1)), load(words.add(2)), load(words.add(3))]
    })
}

#[inline(always)]
fn set_addr6(ctx: *mut bpf_sock_addr, addr: Addr6) {
    let [a, b, c, d] = addr.0;
    // SAFETY: fields' addresses are computed, nothing is written here.
    unsafe {
        let words = (&raw mut (*ctx).user_ip6).cast::<u32>();
        store(words, a);
        store(words.add(1), b);
        store(words.add(2), c);
        store(words.add(3), d);
    }
}

#[inline(always)]
fn port(ctx: *mut bpf_sock_addr) -> Port {
    // The low half of the field is the port in network byte order.
    // SAFETY: a field's address is computed, nothing is read.
    Port(load(unsafe { &raw const (*ctx).user_port }) as u16)
}

#[inline(always)]
fn set_port(ctx: *mut bpf_sock_addr, port: Port) {
    // SAFETY: a field's address is computed, nothing is written here.
    store(unsafe { &raw mut (*ctx).user_port }, u32::from(port.0));
}

#[inline(always)]
fn stored<A: Copy>(storage: &SkStorage<SocketPeer<A>>, ctx: &SockAddrContext) -> Option<SocketPeer<A>> {
    // SAFETY: the storage is the socket's own, which the caller holds; null where there is none yet.
    unsafe { storage.get_ptr_mut(ctx).as_ref().copied() }
}

#[inline(always)]
fn store_peer<A: Copy>(storage: &SkStorage<SocketPeer<A>>, ctx: &SockAddrContext, peer: &SocketPeer<A>) {
    let mut peer = *peer;
    // SAFETY: as for `stored`; null where there was no memory for it, and then getpeername tells the backend.
    unsafe {
        let stored = storage.get_or_insert_ptr_mut(ctx, Some(&mut peer));
        if !stored.is_null() {
            *stored = peer;
        }
    }
}

macro_rules! socket_call {
    ($call:ty, $family:ty, $addr:ty, $storage:ident, $get:expr, $set:expr) => {
        impl SocketCall<$family> for $call {
            #[inline(always)]
            fn remote(&self) -> ($addr, Port) {
                let ctx = self.0.sock_addr;
                ($get(ctx), port(ctx))
            }

            #[inline(always)]
            fn set_remote(&mut self, addr: $addr, port: Port) {
                let ctx = self.0.sock_addr;
                $set(ctx, addr);
                set_port(ctx, port);
            }

            #[inline(always)]
            fn protocol(&self) -> Protocol {
                let ctx = self.0.sock_addr;
                // SAFETY: a field's address is computed, nothing is read.
                Protocol(load(unsafe { &raw const (*ctx).protocol }) as u8)
            }

            #[inline(always)]
            fn cookie(&self) -> u64 {
                // SAFETY: the helper takes the context.
                unsafe { bpf_get_socket_cookie(self.0.sock_addr.cast()) }
            }

            #[inline(always)]
            fn peer(&self) -> Option<SocketPeer<$addr>> {
                stored(&$storage, self.0)
            }

            #[inline(always)]
            fn set_peer(&mut self, peer: &SocketPeer<$addr>) {
                store_peer(&$storage, self.0, peer);
            }
        }
    };
}

socket_call!(Call4<'_>, V4, Addr4, SOCKETS4, addr4, |ctx: *mut bpf_sock_addr, addr: Addr4| store(
    // SAFETY: a field's address is computed, nothing is written here.
    unsafe { &raw mut (*ctx).user_ip4 },
    addr.0
));
socket_call!(Call6<'_>, V6, Addr6, SOCKETS6, addr6, set_addr6);
// The last word of an IPv4-mapped address is the IPv4 address.
socket_call!(CallMapped<'_>, V4, Addr4, SOCKETS4, |ctx| Addr4(addr6(ctx).0[3]), |ctx, addr| set_addr6(
    ctx,
    Addr6::from_mapped(addr)
));
