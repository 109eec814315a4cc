//! What carries a packet.

use penstock_abi::Plain;

use crate::checksum::Checksum;

/// A packet, from its Ethernet header on. Offsets count bytes from there.
pub trait Packet {
    /// The device that the hook is attached to.
    fn ifindex(&self) -> u32;

    /// Bytes of the packet, the Ethernet header among them.
    fn len(&self) -> u32;

    /// Whether the packet is empty, as the convention for a `len` asks.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the packet is several segments that a device or the stack splits later: its length says nothing of what
    /// is on the wire.
    fn is_segmented(&self) -> bool;

    /// Makes the first `len` bytes readable by [`Packet::load`] where they are not (data of a socket buffer may lie in
    /// pages). `None` where the packet has fewer.
    fn pull(&mut self, len: usize) -> Option<()>;

    /// The value at `offset`, in network byte order as it lies there. `None` beyond the readable bytes.
    fn load<T: Plain>(&self, offset: usize) -> Option<T>;

    /// Writes `value` at `offset`. `None` beyond the readable bytes.
    fn store<T: Plain>(&mut self, offset: usize, value: T) -> Option<()>;

    /// Makes the packet `len` bytes long: cut off, or filled up with zeros. Every byte is readable afterwards. `None` where
    /// that cannot be done.
    fn resize(&mut self, len: usize) -> Option<()>;

    /// Brings a TCP or UDP checksum into line with a change that is about to be made. What the field holds (the
    /// checksum, or a part that a device completes) is the carrier's to know. `None` where it could not be written.
    fn change_checksum(&mut self, change: &L4Change) -> Option<()>;
}

/// A change that a TCP or UDP checksum must follow.
#[derive(Clone, Copy, Debug)]
pub struct L4Change {
    /// Where the checksum field is.
    pub offset: usize,
    /// The change of the pseudo header: the addresses.
    pub pseudo: Checksum,
    /// The change of the header itself: the ports.
    pub header: Checksum,
    /// For UDP a field of 0 means "no checksum" and stays, and a result of 0 is written as 0xffff (RFC 768).
    pub is_udp: bool,
    /// The addresses are IPv6's, whose header has no checksum of its own to even out their change.
    pub is_v6: bool,
}
