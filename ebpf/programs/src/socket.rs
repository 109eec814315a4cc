//! The entry points at sockets.
#![expect(unsafe_code, reason = "helpers are called, and entry points are exported by name")]

use aya_ebpf::helpers::generated::bpf_set_retval;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use penstock_datapath::{Answer, Family, SocketCall, V4, V6};

use crate::call::{Call4, Call6, CallMapped, addr6};
use crate::maps::Kernel;

/// The call goes on.
const PROCEED: i32 = 1;
/// The call fails.
const FAIL: i32 = 0;
const ECONNREFUSED: i32 = 111;

macro_rules! entry_points {
    ($($(#[doc = $doc:literal])+ $v4:ident $v6:ident => $rule:ident;)+) => {$(
        $(#[doc = $doc])+
        #[cgroup_sock_addr($v4)]
        fn $v4(ctx: SockAddrContext) -> i32 {
            $rule::<V4>(&mut Call4(&ctx))
        }

        $(#[doc = $doc])+
        #[cgroup_sock_addr($v6)]
        fn $v6(ctx: SockAddrContext) -> i32 {
            if addr6(ctx.sock_addr).to_mapped().is_some() {
                $rule::<V4>(&mut CallMapped(&ctx))
            } else {
                $rule::<V6>(&mut Call6(&ctx))
            }
        }
    )+};
}

entry_points! {
    /// `connect(2)`.
    connect4 connect6 => connect;
    /// `sendto(2)` and `sendmsg(2)` of a UDP socket, with an address.
    sendmsg4 sendmsg6 => sendmsg;
    /// `recvfrom(2)` and `recvmsg(2)` of a UDP socket, with room for an address.
    recvmsg4 recvmsg6 => recvmsg;
    /// `getpeername(2)`.
    getpeername4 getpeername6 => getpeername;
}

#[inline(always)]
fn connect<F: Family>(call: &mut impl SocketCall<F>) -> i32
where
    Kernel: penstock_datapath::Tables<F>,
{
    answer(penstock_datapath::connect(call, &Kernel))
}

#[inline(always)]
fn sendmsg<F: Family>(call: &mut impl SocketCall<F>) -> i32
where
    Kernel: penstock_datapath::Tables<F>,
{
    answer(penstock_datapath::sendmsg(call, &Kernel))
}

#[inline(always)]
fn recvmsg<F: Family>(call: &mut impl SocketCall<F>) -> i32
where
    Kernel: penstock_datapath::Tables<F>,
{
    penstock_datapath::recvmsg(call, &Kernel);
    PROCEED
}

#[inline(always)]
fn getpeername<F: Family>(call: &mut impl SocketCall<F>) -> i32 {
    penstock_datapath::getpeername(call);
    PROCEED
}

#[inline(always)]
fn answer(answer: Answer) -> i32 {
    match answer {
        Answer::Proceed => PROCEED,
        Answer::Refuse => {
            // SAFETY: the helper sets what the system call returns (kernel 5.18); it cannot fail in these hooks.
            unsafe { bpf_set_retval(-ECONNREFUSED) };
            FAIL
        }
    }
}
