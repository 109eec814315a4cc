//! Packets as tests describe them, and as bytes with every checksum computed from scratch.

use std::net::IpAddr;

use super::wire::{self, Tuple};

/// TCP.
pub(crate) const TCP: u8 = 6;
/// UDP.
pub(crate) const UDP: u8 = 17;

/// TCP flags.
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// A packet with an Ethernet header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) hop_limit: u8,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) payload: Vec<u8>,
    /// IPv4 options, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// IPv6 extension headers: number, and the bytes after next header and length.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    /// Offset in units of eight bytes, and whether more follow.
    pub(crate) fragment: Option<(u16, bool)>,
    pub(crate) sum: Sum,
    /// What stands in place of a transport header and payload.
    pub(crate) raw: Option<Vec<u8>>,
}

/// What the transport checksum field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sum {
    /// The checksum.
    Complete,
    /// The pseudo header's sum.
    PseudoHeader,
    /// 0: UDP without a checksum.
    Absent,
}

impl Frame {
    /// A packet without payload.
    pub(crate) fn new(protocol: u8, src: (IpAddr, u16), dst: (IpAddr, u16)) -> Self {
        Self {
            src: src.0,
            dst: dst.0,
            protocol,
            sport: src.1,
            dport: dst.1,
            hop_limit: 64,
            flags: 0,
            seq: 1_000,
            ack: 0,
            window: 0x2000,
            payload: Vec::new(),
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            sum: Sum::Complete,
            raw: None,
        }
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        self
    }

    pub(crate) fn sum(mut self, sum: Sum) -> Self {
        self.sum = sum;
        self
    }

    pub(crate) fn from(mut self, src: (IpAddr, u16)) -> Self {
        (self.src, self.sport) = src;
        self
    }

    pub(crate) fn to(mut self, dst: (IpAddr, u16)) -> Self {
        (self.dst, self.dport) = dst;
        self
    }

    /// The packet with another tuple.
    pub(crate) fn with_tuple(self, tuple: Tuple) -> Self {
        self.from(tuple.src).to(tuple.dst)
    }

    pub(crate) fn tuple(&self) -> Tuple {
        Tuple { src: (self.src, self.sport), dst: (self.dst, self.dport), protocol: self.protocol }
    }

    /// A packet back, of the same form.
    pub(crate) fn answer(&self) -> Self {
        self.clone().from((self.dst, self.dport)).to((self.src, self.sport))
    }

    /// The packet on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 0xd, 2, 0, 0, 0, 0, 0x5];
        bytes.extend(if self.src.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        let transport = self.transport();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                assert!(self.options.len().is_multiple_of(4), "IPv4 options fill whole words");
                let header = 20 + self.options.len();
                bytes.extend([0x40 | (header / 4) as u8, 0]);
                bytes.extend(((header + transport.len()) as u16).to_be_bytes());
                let (offset, more) = self.fragment.unwrap_or_default();
                bytes.extend([0x12, 0x34]);
                bytes.extend((offset | if more { 0x2000 } else { 0 }).to_be_bytes());
                bytes.extend([self.hop_limit, self.protocol, 0, 0]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                bytes.extend(&self.options);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (first, chain) = self.extension_headers();
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(((chain.len() + transport.len()) as u16).to_be_bytes());
                bytes.extend([first, self.hop_limit]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                bytes.extend(chain);
            }
            _ => panic!("source and destination are of one family"),
        }
        bytes.extend(transport);
        wire::complete(&mut bytes, self.sum);
        bytes
    }

    /// The number of the first header after IPv6's, and all extension headers.
    fn extension_headers(&self) -> (u8, Vec<u8>) {
        let mut headers = self.extensions.clone();
        if let Some((offset, more)) = self.fragment {
            let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
            headers.push((wire::FRAGMENT, vec![high, low, 0, 0, 0, 7]));
        }
        let mut bytes = Vec::new();
        for (at, (number, body)) in headers.iter().enumerate() {
            let next = headers.get(at + 1).map_or(self.protocol, |(number, _)| *number);
            assert!((body.len() + 2).is_multiple_of(8), "extension headers fill whole units of eight bytes");
            // A fragment header has no length; the field is reserved.
            let length = if *number == wire::FRAGMENT { 0 } else { (body.len() + 2) / 8 - 1 };
            bytes.extend([next, length as u8]);
            bytes.extend(body);
        }
        (headers.first().map_or(self.protocol, |(number, _)| *number), bytes)
    }

    fn transport(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut bytes = Vec::new();
        // What is in a later fragment is data, whatever its place.
        if self.fragment.is_some_and(|(offset, _)| offset > 0) {
            return self.payload.clone();
        }
        bytes.extend(self.sport.to_be_bytes());
        bytes.extend(self.dport.to_be_bytes());
        match self.protocol {
            TCP => {
                bytes.extend(self.seq.to_be_bytes());
                bytes.extend(self.ack.to_be_bytes());
                bytes.extend([0x50, self.flags]);
                bytes.extend(self.window.to_be_bytes());
                bytes.extend([0; 4]);
            }
            UDP => {
                bytes.extend(((8 + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([0, 0]);
            }
            _ => bytes.extend([0; 4]),
        }
        bytes.extend(&self.payload);
        bytes
    }
}
