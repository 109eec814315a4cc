//! How long an idle flow is kept, and the clock that tells.
//!
//! The clock counts units of 2^30 ns (1.07 s) of `CLOCK_MONOTONIC`: a shift in place of a division, since the bpf target has
//! no multiplication that gives the upper half. `u32` holds 146 years of them.

use crate::address::Protocol;
use crate::flow::TcpState;

/// The clock's reading for a time of `CLOCK_MONOTONIC` in nanoseconds.
#[inline(always)]
pub const fn stamp(monotonic_ns: u64) -> u32 {
    (monotonic_ns >> 30) as u32
}

/// So many seconds in units of the clock.
pub const fn seconds(seconds: u64) -> u32 {
    stamp(seconds * 1_000_000_000)
}

/// TCP, a SYN that nobody answered: the kernel's `nf_conntrack_tcp_timeout_syn_recv`.
pub const TCP_SYN: u32 = seconds(60);
/// TCP, established: kube-proxy's `conntrack.tcpEstablishedTimeout`.
pub const TCP_ESTABLISHED: u32 = seconds(86_400);
/// TCP, closed by one side: kube-proxy's `conntrack.tcpCloseWaitTimeout`.
pub const TCP_HALF_CLOSED: u32 = seconds(3_600);
/// TCP, over: the kernel's `nf_conntrack_tcp_timeout_time_wait`.
pub const TCP_OVER: u32 = seconds(120);
/// UDP, not answered: the kernel's `nf_conntrack_udp_timeout`.
pub const UDP_UNREPLIED: u32 = seconds(30);
/// UDP, answered: the kernel's `nf_conntrack_udp_timeout_stream`.
pub const UDP_REPLIED: u32 = seconds(120);

/// How long a flow in this state may be idle, in units of the clock.
#[inline(always)]
pub const fn idle(protocol: Protocol, state: u8) -> u32 {
    if protocol.0 != Protocol::TCP.0 {
        if state & TcpState::REPLIED != 0 { UDP_REPLIED } else { UDP_UNREPLIED }
    } else if TcpState::is_over(state) {
        TCP_OVER
    } else if state & (TcpState::FIN_CLIENT | TcpState::FIN_BACKEND) != 0 {
        TCP_HALF_CLOSED
    } else if state & TcpState::REPLIED != 0 {
        TCP_ESTABLISHED
    } else {
        TCP_SYN
    }
}

/// Whether a flow that was last seen then has expired by now. A clock that seems to have gone back expires nothing.
#[inline(always)]
pub const fn expired(protocol: Protocol, state: u8, last_seen: u32, now: u32) -> bool {
    now > last_seen && now - last_seen > idle(protocol, state)
}
