//! The hooks at an uplink: ingress is what other nodes send, egress what this node's own programs send.

use penstock_abi::Reason;

use crate::family::Family;
use crate::packet::Packet;
use crate::parse::parse;
use crate::serve::{forward, serve, settle, translate};
use crate::steer::{Hook, Verdict};
use crate::tables::Tables;
use crate::track::{Halves, follow};

/// What arrives from other nodes: an answer to a flow of ours is translated back, and what is for a pod goes straight
/// there; all else is the kernel's.
///
/// What the pod answers takes the kernel's way. So what opens a connection does, too: one that conntrack has not seen begin it picks
/// up from the answers, and drops one whenever two processors meet the first two at the same moment (`__nf_conntrack_confirm`).
/// A netfilter rule that drops what conntrack saw the wrong half of, as kube-proxy has one (`ctstate INVALID`), asks for the
/// kernel's way in of every packet.
#[inline(always)]
pub fn uplink_ingress<F: Family>(
    packet: &mut impl Packet,
    tables: &impl Tables<F>,
) -> Result<Verdict, Reason> {
    let Some(parsed) = parse::<F>(packet) else { return Ok(Verdict::Pass) };
    let path = if parsed.has_ports && parsed.network.hop_limit > 1 {
        follow(tables, &parsed, Halves::Reverse)
    } else {
        None
    };
    let outcome = match path {
        Some(path) => translate(packet, tables, &parsed, &path, Hook::Ingress),
        None if parsed.flags.opens() || tables.through_stack() => Ok(Verdict::Pass),
        None => forward(packet, tables, &parsed),
    };
    settle(packet, tables, &parsed, Hook::Ingress, outcome)
}

/// What the node itself sends out: what its sockets did not translate. Attached only where the socket hooks are not.
#[inline(always)]
pub fn uplink_egress<F: Family>(
    packet: &mut impl Packet,
    tables: &impl Tables<F>,
) -> Result<Verdict, Reason> {
    let Some(parsed) = parse::<F>(packet) else { return Ok(Verdict::Pass) };
    let outcome = serve(packet, tables, &parsed, Hook::Egress).map(|served| served.unwrap_or(Verdict::Pass));
    settle(packet, tables, &parsed, Hook::Egress, outcome)
}
