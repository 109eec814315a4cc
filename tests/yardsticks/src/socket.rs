//! The minimal programs of connect(2), and those that do nothing.
#![expect(unsafe_code, reason = "the context's fields and map values are reached through pointers")]

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use penstock_abi::{Addr4, Addr6, FrontendKey, Port, Protocol};
use yardsticks::MinimalPeer;

use crate::tables::{BACKENDS4, BACKENDS6, FRONTENDS4, FRONTENDS6, PEERS4, PEERS6};

/// The call goes on.
const PROCEED: i32 = 1;

/// Does nothing: what having a program costs.
#[cgroup_sock_addr(connect4)]
fn nop4(_ctx: SockAddrContext) -> i32 {
    PROCEED
}

/// Does nothing: what having a program costs.
#[cgroup_sock_addr(connect6)]
fn nop6(_ctx: SockAddrContext) -> i32 {
    PROCEED
}

// The verifier allows 32-bit accesses to the context at constant offsets alone: each is volatile, so that LLVM neither
// merges nor narrows them.

#[inline(always)]
fn load(field: *const u32) -> u32 {
    // SAFETY: the callers pass a field of the context.
    unsafe { field.read_volatile() }
}

#[inline(always)]
fn store(field: *mut u32, value: u32) {
    // SAFETY: the callers pass a field of the context.
    unsafe { field.write_volatile(value) }
}

#[inline(always)]
fn addr4(ctx: *mut bpf_sock_addr) -> Addr4 {
    // SAFETY: a field's address is computed.
    Addr4(load(unsafe { &raw const (*ctx).user_ip4 }))
}

#[inline(always)]
fn set_addr4(ctx: *mut bpf_sock_addr, addr: Addr4) {
    // SAFETY: a field's address is computed.
    store(unsafe { &raw mut (*ctx).user_ip4 }, addr.0);
}

#[inline(always)]
fn addr6(ctx: *mut bpf_sock_addr) -> Addr6 {
    // SAFETY: fields' addresses are computed.
    let word = |index| load(unsafe { (&raw const (*ctx).user_ip6).cast::<u32>().add(index) });
    Addr6([word(0), word(1), word(2), word(3)])
}

#[inline(always)]
fn set_addr6(ctx: *mut bpf_sock_addr, addr: Addr6) {
    let [a, b, c, d] = addr.0;
    // SAFETY: fields' addresses are computed.
    let set = |index, value| store(unsafe { (&raw mut (*ctx).user_ip6).cast::<u32>().add(index) }, value);
    set(0, a);
    set(1, b);
    set(2, c);
    set(3, d);
}

/// The families differ in the names of maps and of the context's fields alone.
macro_rules! connect {
    ($name:ident, $hook:ident, $frontends:ident, $backends:ident, $peers:ident, $get:ident, $set:ident) => {
        /// A frontend is replaced by one of its backends, and the socket remembers the frontend.
        #[cgroup_sock_addr($hook)]
        fn $name(ctx: SockAddrContext) -> i32 {
            let raw = ctx.sock_addr;
            // SAFETY: a field's address is computed.
            let port = load(unsafe { &raw const (*raw).user_port });
            // SAFETY: a field's address is computed.
            let protocol = load(unsafe { &raw const (*raw).protocol });
            let (addr, port) = ($get(raw), Port(port as u16));
            let key = FrontendKey::cluster(addr, port, Protocol(protocol as u8));
            // SAFETY: a copy is taken at once.
            let Some(service) = (unsafe { $frontends.get(key).copied() }) else { return PROCEED };
            // SAFETY: the helper only returns a word.
            let random = u64::from(unsafe { bpf_get_prandom_u32() });
            let index = service.first + (random * u64::from(service.count) >> 32) as u32;
            let Some(backend) = $backends.get(index) else { return PROCEED };
            let mut peer = MinimalPeer { addr, port, _pad: 0 };
            // SAFETY: the storage is the socket's own, which the caller holds.
            unsafe {
                let stored = $peers.get_or_insert_ptr_mut(&ctx, Some(&mut peer));
                if !stored.is_null() {
                    *stored = peer;
                }
                store(&raw mut (*raw).user_port, u32::from(backend.port.0));
            }
            $set(raw, backend.addr);
            PROCEED
        }
    };
}
connect!(minimal4, connect4, FRONTENDS4, BACKENDS4, PEERS4, addr4, set_addr4);
connect!(minimal6, connect6, FRONTENDS6, BACKENDS6, PEERS6, addr6, set_addr6);
