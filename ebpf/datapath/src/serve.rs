//! What the hooks have in common: a packet to or from a Service is translated, one for a pod of this node goes straight there,
//! and one that is given up is told of.

use penstock_abi::{FrontendKey, Reason};

use crate::ethernet::turn_around;
use crate::family::{Family, Fragment};
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::reject::refuse;
use crate::report::{began, dropped};
use crate::rewrite::{age, rewrite};
use crate::steer::{Hook, Verdict, steer};
use crate::tables::{NodeTables, Tables};
use crate::track::{Halves, Path, follow, open, taken};

/// Translates a packet of a flow, or one that begins a flow: to a Service, or straight to a backend whose answers would be taken
/// for another flow's. `None`: it is neither.
#[inline(always)]
pub(crate) fn serve<F: Family>(
    packet: &mut impl Packet,
    tables: &impl Tables<F>,
    parsed: &Parsed<F>,
    hook: Hook,
) -> Result<Option<Verdict>, Reason> {
    // A packet that may not be sent any further is the kernel's, which tells the sender.
    if !parsed.has_ports || parsed.network.hop_limit <= 1 {
        return Ok(None);
    }
    // Once for a flow that is known, a second time for one that has just begun.
    for _ in 0..2 {
        if let Some(path) = follow(tables, parsed, Halves::Both) {
            return translate(packet, tables, parsed, &path, hook).map(Some);
        }
        let key = &parsed.key;
        let frontend = FrontendKey::cluster(key.dst, key.dport, key.protocol);
        let Some(service) = tables.frontend(&frontend) else {
            // At the way out it may be one that was given its port on the way in.
            if hook == Hook::Egress || !parsed.flags.opens() {
                return Ok(None);
            }
            let Some(backend) = taken(tables, key) else { return Ok(None) };
            open(tables, parsed, 0, backend)?;
            continue;
        };
        if let Some(backend) = open(tables, parsed, service, 0)? {
            began::<F>(tables, || *key, service, backend);
        }
    }
    Err(Reason::FlowTableFull)
}

/// Rewrites a packet and tells where it goes.
#[inline(always)]
pub(crate) fn translate<F: Family>(
    packet: &mut impl Packet,
    tables: &impl NodeTables,
    parsed: &Parsed<F>,
    path: &Path<F>,
    hook: Hook,
) -> Result<Verdict, Reason> {
    if parsed.network.fragment != Fragment::Whole {
        // The later fragments have no ports, so they would not follow this one.
        return Err(Reason::Fragment);
    }
    let verdict = steer(tables, path.hop, hook, packet, path.to_client);
    rewrite::<F>(packet, &parsed.network, &parsed.key, &path.to, verdict)?;
    if matches!(verdict, Verdict::Reinject { .. }) {
        // The frame was addressed to the next router, and is to be taken for one to this node.
        turn_around(packet).ok_or(Reason::RewriteFailed)?;
    }
    Ok(verdict)
}

/// Ends the packet's way: a reason is told, and a client without anyone to serve it is refused.
#[inline(always)]
pub(crate) fn settle<F: Family>(
    packet: &mut impl Packet,
    tables: &impl NodeTables,
    parsed: &Parsed<F>,
    hook: Hook,
    outcome: Result<Verdict, Reason>,
) -> Result<Verdict, Reason> {
    let Err(reason) = outcome else { return outcome };
    dropped::<F>(tables, &parsed.key, reason, packet.ifindex(), packet.len());
    if reason == Reason::NoEndpoints
        && let Some(verdict) = refuse(packet, parsed, hook)
    {
        return Ok(verdict);
    }
    Err(reason)
}

/// Sends a packet for a pod on this node straight there.
#[inline(always)]
pub(crate) fn forward<F: Family>(
    packet: &mut impl Packet,
    tables: &impl Tables<F>,
    parsed: &Parsed<F>,
) -> Result<Verdict, Reason> {
    let Parsed { key, network, .. } = parsed;
    let hop = match tables.endpoint(&key.dst) {
        Some(hop) if network.hop_limit > 1 => hop,
        _ => return Ok(Verdict::Pass),
    };
    let verdict = steer(tables, hop, Hook::Ingress, packet, false);
    if verdict.bypasses_routing() {
        age::<F>(packet, network, key, verdict)?;
    }
    Ok(verdict)
}
