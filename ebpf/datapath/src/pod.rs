//! The hooks at a pod's veth, seen from the node: ingress is what the pod sends, egress what it is sent.

use penstock_abi::Reason;

use crate::family::Family;
use crate::packet::Packet;
use crate::parse::parse;
use crate::rewrite::rewrite;
use crate::serve::{forward, serve, settle};
use crate::steer::{Hook, Verdict};
use crate::tables::Tables;
use crate::track::{Halves, follow};

/// What a pod sends: to a Service, translated and sent straight on; to a pod on this node, straight on; all else is the
/// kernel's.
#[inline(always)]
pub fn pod_ingress<F: Family>(packet: &mut impl Packet, tables: &impl Tables<F>) -> Result<Verdict, Reason> {
    let Some(parsed) = parse::<F>(packet) else { return Ok(Verdict::Pass) };
    let outcome = match serve(packet, tables, &parsed, Hook::Ingress) {
        Ok(None) => forward(packet, tables, &parsed),
        Ok(Some(verdict)) => Ok(verdict),
        Err(reason) => Err(reason),
    };
    settle(packet, tables, &parsed, Hook::Ingress, outcome)
}

/// What the kernel's own routing sends to a pod: an answer of a backend that is not behind a hook of ours (the node
/// itself, say) is translated here, at the client's own device.
#[inline(always)]
pub fn pod_egress<F: Family>(packet: &mut impl Packet, tables: &impl Tables<F>) -> Result<Verdict, Reason> {
    let Some(parsed) = parse::<F>(packet) else { return Ok(Verdict::Pass) };
    if !parsed.has_ports {
        return Ok(Verdict::Pass);
    }
    let Some(path) = follow(tables, &parsed, Halves::Reverse) else { return Ok(Verdict::Pass) };
    let outcome = rewrite::<F>(packet, &parsed.network, &parsed.key, &path.to, Verdict::Pass);
    settle(packet, tables, &parsed, Hook::Egress, outcome.map(|()| Verdict::Pass))
}
