//! A raw receiver: packets as they arrive at a pod's device, and their checksums computed from nothing but their bytes.

use std::fmt;
use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use penstock_tests::lab::{Family, Pod, Runs};
use socket2::{Domain, Socket, Type};

const ETHERNET: usize = 14;
/// How long a tap waits for one more packet before it says that this is all.
const QUIET: Duration = Duration::from_millis(50);

/// A transport protocol with a checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// What arrives at a pod from now on.
pub(super) struct Tap {
    socket: Socket,
    own: [Vec<u8>; 2],
}

impl Tap {
    /// Begins to listen in the pod.
    pub(super) fn on(pod: &Pod) -> Result<Self> {
        let every_protocol = i32::from((nix::libc::ETH_P_ALL as u16).to_be());
        let socket = pod.run(|| Ok(Socket::new(Domain::PACKET, Type::RAW, Some(every_protocol.into()))?))?;
        socket.set_read_timeout(Some(QUIET))?;
        // Bulk must not overrun the buffer between its end and our first look.
        socket.set_recv_buffer_size(16 << 20)?;
        Ok(Self { socket, own: [pod.ip4().octets().to_vec(), pod.ip6().octets().to_vec()] })
    }

    /// The TCP and UDP packets for this pod that have arrived.
    pub(super) fn packets(&self, family: Family) -> Result<Vec<Packet>> {
        let mut packets = Vec::new();
        while let Some(frame) = self.frame()? {
            packets.extend(self.parse(family, &frame)?);
        }
        Ok(packets)
    }

    /// The first packet that is the wanted one.
    pub(super) fn wait_for(
        &self,
        family: Family,
        limit: Duration,
        wanted: impl Fn(&Packet) -> bool,
    ) -> Result<Packet> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(frame) = self.frame()?
                && let Some(packet) = self.parse(family, &frame)?
                && wanted(&packet)
            {
                return Ok(packet);
            }
        }
        bail!("no such packet in {limit:?}")
    }

    fn frame(&self) -> Result<Option<Vec<u8>>> {
        let mut frame = vec![0; 70_000];
        match (&self.socket).read(&mut frame) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("reading from the tap"),
        }
    }

    /// `None` for what is not TCP or UDP of this family to this pod.
    fn parse(&self, family: Family, frame: &[u8]) -> Result<Option<Packet>> {
        let ip = frame.get(ETHERNET..).context("a frame without a header")?;
        let (own, source, destination, protocol, start, end) = match (family, frame[12], frame[13]) {
            (Family::V4, 0x08, 0x00) => {
                let start = usize::from(ip[0] & 0xf) * 4;
                if fold(sum(&ip[..start])) != 0xffff {
                    bail!("a wrong checksum in the IPv4 header {:02x?}", &ip[..start]);
                }
                let end = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
                (&self.own[0], &ip[12..16], &ip[16..20], ip[9], start, end)
            }
            (Family::V6, 0x86, 0xdd) => {
                let end = 40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]));
                (&self.own[1], &ip[8..24], &ip[24..40], ip[6], 40, end)
            }
            _ => return Ok(None),
        };
        let transport = match protocol {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            _ => return Ok(None),
        };
        if destination != own {
            return Ok(None);
        }
        Ok(Some(Packet {
            transport,
            addresses: [source, destination].concat(),
            protocol,
            segment: ip.get(start..end).context("a packet shorter than its header says")?.to_vec(),
        }))
    }
}

/// A TCP segment or a UDP datagram, and what its pseudo header is made of.
pub(super) struct Packet {
    pub(super) transport: Transport,
    addresses: Vec<u8>,
    protocol: u8,
    segment: Vec<u8>,
}

impl Packet {
    /// The checksum as it stands in the packet.
    pub(super) fn checksum(&self) -> u16 {
        let at = match self.transport {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        };
        u16::from_be_bytes([self.segment[at], self.segment[at + 1]])
    }

    /// What the transport carries.
    pub(super) fn payload(&self) -> &[u8] {
        let start = match self.transport {
            Transport::Tcp => usize::from(self.segment[12] >> 4) * 4,
            Transport::Udp => 8,
        };
        &self.segment[start..]
    }

    fn pseudo_header(&self) -> u32 {
        sum(&self.addresses) + u32::from(self.protocol) + self.segment.len() as u32
    }

    /// Whether the checksum covers the pseudo header, the header and the payload (RFC 1071).
    pub(super) fn has_whole_sum(&self) -> bool {
        fold(self.pseudo_header() + sum(&self.segment)) == 0xffff
    }

    /// Whether the checksum is the sum of the pseudo header alone, not complemented: what the kernel leaves for a device
    /// to complete (`CHECKSUM_PARTIAL`).
    pub(super) fn has_pseudo_header_sum_only(&self) -> bool {
        self.checksum() == fold(self.pseudo_header())
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.segment[..self.segment.len().min(20)];
        write!(
            f,
            "{:?} {:02x?} of {} bytes: {header:02x?}",
            self.transport,
            self.addresses,
            self.segment.len()
        )
    }
}

fn sum(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks(2);
    pairs.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
