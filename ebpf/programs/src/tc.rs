//! The entry points at TC.
#![expect(unsafe_code, reason = "helpers are called, and entry points are exported by name")]

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use penstock_abi::Reason;
use penstock_datapath::{NodeTables, V4, V6, Verdict};

use crate::maps::Kernel;
use crate::skb::Skb;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
/// `BPF_F_INGRESS`: into the device rather than out of it.
const INTO: u64 = 1;

macro_rules! entry_points {
    ($($(#[doc = $doc:literal])+ $name:ident)+) => {$(
        $(#[doc = $doc])+
        #[classifier]
        fn $name(ctx: TcContext) -> i32 {
            let mut packet = Skb::new(ctx);
            let outcome = match packet.ethertype() {
                ETHERTYPE_IPV4 => penstock_datapath::$name::<V4>(&mut packet, &Kernel),
                ETHERTYPE_IPV6 => penstock_datapath::$name::<V6>(&mut packet, &Kernel),
                // ARP among others.
                _ => return TC_ACT_UNSPEC,
            };
            #[cfg(feature = "log")]
            crate::log::verdict(&packet, stringify!($name), &outcome);
            finish(outcome)
        }
    )+};
}

entry_points! {
    /// TC ingress of a pod's veth: what the pod sends.
    pod_ingress
    /// TC egress of a pod's veth: what the kernel's routing sends to the pod.
    pod_egress
    /// TC ingress of an uplink: what other nodes send.
    uplink_ingress
    /// TC egress of an uplink: what the node itself sends.
    uplink_egress
}

#[inline(always)]
fn finish(outcome: Result<Verdict, Reason>) -> i32 {
    match outcome {
        Ok(Verdict::Pass) => TC_ACT_UNSPEC,
        // SAFETY: the helper notes the device, and the kernel sends the packet there once the program has returned
        // (kernel 5.10).
        Ok(Verdict::Peer { ifindex }) => unsafe { bpf_redirect_peer(ifindex, 0) as i32 },
        // SAFETY: as above; without parameters the kernel's routing names the neighbour (kernel 5.10).
        Ok(Verdict::Neighbour { ifindex }) => unsafe {
            bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32
        },
        Ok(Verdict::Gateway { hop }) => gateway(hop),
        // SAFETY: as above.
        Ok(Verdict::Reinject { ifindex }) => unsafe { bpf_redirect(ifindex, INTO) as i32 },
        Err(_) => TC_ACT_SHOT,
    }
}

#[inline(always)]
fn gateway(hop: u32) -> i32 {
    let Some(hop) = Kernel.next_hop(hop) else { return TC_ACT_UNSPEC };
    let mut params = match hop.gateway.to_mapped() {
        Some(v4) => bpf_redir_neigh {
            nh_family: AF_INET,
            __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: [v4.0, 0, 0, 0] },
        },
        None => bpf_redir_neigh {
            nh_family: AF_INET6,
            __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: hop.gateway.0 },
        },
    };
    // SAFETY: the helper copies the parameters.
    unsafe { bpf_redirect_neigh(hop.ifindex, &mut params, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}
