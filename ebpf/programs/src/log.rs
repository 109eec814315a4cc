//! What debug builds tell of each packet that a program did something about.

use aya_log_ebpf::debug;
use penstock_datapath::{Packet as _, Reason, Verdict};

use crate::skb::Skb;

/// Tells of a verdict. A function of its own, so that the record is not on the stack of the rules.
#[inline(never)]
pub(crate) fn verdict(packet: &Skb, hook: &'static str, outcome: &Result<Verdict, Reason>) {
    let ctx = packet.context();
    let (device, bytes) = (packet.ifindex(), packet.len());
    match *outcome {
        Ok(Verdict::Pass) => {}
        Ok(Verdict::Peer { ifindex }) => {
            debug!(ctx, "{} on device {}: {} bytes to the pod behind device {}", hook, device, bytes, ifindex)
        }
        Ok(Verdict::Gateway { hop }) => {
            debug!(ctx, "{} on device {}: {} bytes to next hop {}", hook, device, bytes, hop)
        }
        Ok(Verdict::Neighbour { ifindex }) => {
            debug!(ctx, "{} on device {}: {} bytes out of device {}", hook, device, bytes, ifindex)
        }
        Ok(Verdict::Reinject { ifindex }) => {
            debug!(ctx, "{} on device {}: {} bytes back into device {}", hook, device, bytes, ifindex)
        }
        Err(reason) => {
            debug!(ctx, "{} on device {}: {} bytes dropped, reason {}", hook, device, bytes, reason as u8)
        }
    }
}
