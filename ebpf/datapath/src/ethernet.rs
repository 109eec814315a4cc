//! The frame around a packet.

use crate::packet::Packet;

/// Sends a frame back to where it came from: the two addresses change places.
#[inline(always)]
pub(crate) fn turn_around(packet: &mut impl Packet) -> Option<()> {
    let [a, b, c, d, e, f]: [u16; 6] = packet.load(0)?;
    packet.store(0, [d, e, f, a, b, c])
}
