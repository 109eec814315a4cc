//! The minimal packet program: IPv4, TCP and UDP, headers without options.
#![expect(unsafe_code, reason = "packet bytes and map values are reached through pointers")]

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect_peer,
};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use penstock_abi::{Addr4, FlowKey, FrontendKey, Port, Protocol};
use yardsticks::MinimalFlow;

use crate::tables::{BACKENDS4, FLOWS4, FRONTENDS4};

const ETHERTYPE_IPV4: u16 = 0x0800;
/// The header has no options.
const VERSION_AND_LENGTH: u8 = 0x45;
// Offsets from the start of the frame.
const IP: usize = 14;
const PROTOCOL: usize = IP + 9;
const IP_CHECKSUM: usize = IP + 10;
const SOURCE: usize = IP + 12;
const DESTINATION: usize = IP + 16;
const SOURCE_PORT: usize = IP + 20;
const DESTINATION_PORT: usize = IP + 22;
const TCP_CHECKSUM: usize = IP + 20 + 16;
const UDP_CHECKSUM: usize = IP + 20 + 6;
/// All of the above lie before it.
const HEADERS: usize = IP + 20 + 20;
const HEADERS_OF_UDP: usize = IP + 20 + 8;

/// TC ingress of a pod's veth: a flow that is known, or a new one to a frontend, is translated and sent to its pod.
#[classifier]
fn minimal(ctx: TcContext) -> i32 {
    translate(&ctx).unwrap_or(TC_ACT_UNSPEC)
}

#[inline(always)]
fn translate(ctx: &TcContext) -> Option<i32> {
    let skb = ctx.skb.skb;
    // SAFETY: the context is valid for the program's run.
    if u16::from_be(unsafe { (*skb).protocol } as u16) != ETHERTYPE_IPV4 {
        return None;
    }
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + HEADERS_OF_UDP > end {
        return None;
    }
    // SAFETY: the end was compared; the kernel allows unaligned accesses wherever the machine does.
    let key = unsafe {
        if ((start + IP) as *const u8).read() != VERSION_AND_LENGTH {
            return None;
        }
        FlowKey::new(
            ((start + SOURCE) as *const Addr4).read(),
            ((start + DESTINATION) as *const Addr4).read(),
            ((start + SOURCE_PORT) as *const Port).read(),
            ((start + DESTINATION_PORT) as *const Port).read(),
            ((start + PROTOCOL) as *const Protocol).read(),
        )
    };
    let checksum = match key.protocol {
        Protocol::TCP if start + HEADERS <= end => TCP_CHECKSUM,
        Protocol::UDP => UDP_CHECKSUM,
        _ => return None,
    };
    // SAFETY: a copy is taken at once; that the element may be recycled meanwhile is one of the things left out here.
    let flow = match unsafe { FLOWS4.get(key).copied() } {
        Some(flow) => flow,
        // SAFETY: the context is valid for the program's run.
        None => open(&key, unsafe { (*skb).ifindex })?,
    };
    let (addr, port, old_addr, old_port) = if flow.is_answer == 0 {
        (DESTINATION, DESTINATION_PORT, key.dst, key.dport)
    } else {
        (SOURCE, SOURCE_PORT, key.src, key.sport)
    };
    // SAFETY: the end was compared.
    unsafe {
        ((start + addr) as *mut Addr4).write(flow.addr);
        ((start + port) as *mut Port).write(flow.port);
    }
    if !mend(skb, checksum, (old_addr, flow.addr), (old_port, flow.port)) {
        return Some(TC_ACT_SHOT);
    }
    // SAFETY: the helper notes the device; the kernel sends the packet there once the program has returned.
    Some(unsafe { bpf_redirect_peer(flow.ifindex, 0) } as i32)
}

/// Chooses a backend and inserts both halves.
#[inline(always)]
fn open(key: &FlowKey<Addr4>, client_ifindex: u32) -> Option<MinimalFlow> {
    let frontend = FrontendKey::cluster(key.dst, key.dport, key.protocol);
    // SAFETY: a copy is taken at once.
    let service = unsafe { FRONTENDS4.get(frontend).copied() }?;
    // SAFETY: the helper only returns a word.
    let random = u64::from(unsafe { bpf_get_prandom_u32() });
    let index = service.first + ((random * u64::from(service.count)) >> 32) as u32;
    let backend = BACKENDS4.get(index)?;
    let flow = MinimalFlow { addr: backend.addr, port: backend.port, is_answer: 0, ifindex: backend.ifindex };
    let answer = MinimalFlow { addr: key.dst, port: key.dport, is_answer: 1, ifindex: client_ifindex };
    let back = FlowKey::new(backend.addr, key.src, backend.port, key.sport, key.protocol);
    FLOWS4.insert(key, flow, 0).ok()?;
    FLOWS4.insert(back, answer, 0).ok()?;
    Some(flow)
}

/// Brings both checksums up to date.
#[inline(always)]
fn mend(skb: *mut __sk_buff, offset: usize, addr: (Addr4, Addr4), port: (Port, Port)) -> bool {
    // A checksum of zero means none to UDP alone.
    let mangled = if offset == UDP_CHECKSUM { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
    let (addr_flags, port_flags) = (mangled | u64::from(BPF_F_PSEUDO_HDR) | 4, mangled | 2);
    let (from, to) = (u64::from(addr.0.0), u64::from(addr.1.0));
    let (from_port, to_port) = (u64::from(port.0.0), u64::from(port.1.0));
    // SAFETY: the helpers check the offsets; no pointer into the packet is used afterwards.
    unsafe {
        bpf_l3_csum_replace(skb, IP_CHECKSUM as u32, from, to, 4) == 0
            && bpf_l4_csum_replace(skb, offset as u32, from, to, addr_flags) == 0
            && bpf_l4_csum_replace(skb, offset as u32, from_port, to_port, port_flags) == 0
    }
}
