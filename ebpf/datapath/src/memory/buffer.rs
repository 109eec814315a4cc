//! A packet in a plain buffer.

use std::vec::Vec;

use penstock_abi::Plain;

use crate::packet::{L4Change, Packet};

/// A packet in a plain buffer, from its Ethernet header on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    ifindex: u32,
    linear: usize,
    segmented: bool,
    field: Field,
}

/// What the checksum field of a TCP or UDP header holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// The checksum.
    Complete,
    /// The sum of the pseudo header alone, not complemented: a device is to add the rest (`CHECKSUM_PARTIAL`).
    PseudoHeader,
}

impl Buffer {
    /// A packet at device 1, all of it readable, with a complete checksum.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let linear = bytes.len();
        Self { bytes, ifindex: 1, linear, segmented: false, field: Field::Complete }
    }

    /// The same at another device.
    #[must_use]
    pub fn at_device(self, ifindex: u32) -> Self {
        Self { ifindex, ..self }
    }

    /// The same with only the first `linear` bytes readable before a [`Packet::pull`].
    #[must_use]
    pub fn with_linear(self, linear: usize) -> Self {
        Self { linear: linear.min(self.bytes.len()), ..self }
    }

    /// The same as several segments that are split later.
    #[must_use]
    pub fn segmented(self, segmented: bool) -> Self {
        Self { segmented, ..self }
    }

    /// The same with another meaning of its checksum field.
    #[must_use]
    pub fn with_field(self, field: Field) -> Self {
        Self { field, ..self }
    }

    /// The whole packet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The readable bytes from `offset`, `size` of them.
    fn readable(&self, offset: usize, size: usize) -> Option<&[u8]> {
        let end = offset.checked_add(size).filter(|end| *end <= self.linear)?;
        self.bytes.get(offset..end)
    }
}

impl Packet for Buffer {
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn is_segmented(&self) -> bool {
        self.segmented
    }

    fn pull(&mut self, len: usize) -> Option<()> {
        if len > self.bytes.len() {
            return None;
        }
        self.linear = self.linear.max(len);
        Some(())
    }

    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        T::from_bytes(self.readable(offset, size_of::<T>())?)
    }

    fn store<T: Plain>(&mut self, offset: usize, value: T) -> Option<()> {
        self.readable(offset, size_of::<T>())?;
        self.bytes.get_mut(offset..offset + size_of::<T>())?.copy_from_slice(value.bytes());
        Some(())
    }

    fn resize(&mut self, len: usize) -> Option<()> {
        self.bytes.resize(len, 0);
        self.linear = len;
        Some(())
    }

    /// As `bpf_l4_csum_replace` does it (`net/core/filter.c`, `inet_proto_csum_replace_by_diff`).
    fn change_checksum(&mut self, change: &L4Change) -> Option<()> {
        // The helper pulls what it needs.
        self.pull(change.offset + 2)?;
        let field: u16 = self.load(change.offset)?;
        if change.is_udp && field == 0 {
            return Some(());
        }
        let field = match self.field {
            Field::Complete => change.header.apply(change.pseudo.apply(field)),
            Field::PseudoHeader => change.pseudo.apply_to_sum(field),
        };
        self.store(change.offset, if change.is_udp && field == 0 { 0xffff } else { field })
    }
}
