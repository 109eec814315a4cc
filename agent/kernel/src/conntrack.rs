//! The kernel's own connection tracking: the connections that it translates, as kube-proxy asks it to.
//!
//! A dump by ctnetlink (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`) of this network namespace.

use std::io;
use std::net::{IpAddr, SocketAddr};

use penstock_abi::Protocol;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use rtnetlink::sys::{Socket, SocketAddr as KernelAddr, protocols::NETLINK_NETFILTER};

use crate::Error;

/// `NFNL_SUBSYS_CTNETLINK << 8`, to which the message's number is added.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
/// Messages of netlink itself.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `nlmsghdr`, and the `nfgenmsg` behind it.
const HEADER: usize = 16;
const GENERIC: usize = 4;
/// The bits of an attribute's type that are flags: `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const FLAGS: u16 = 0xc000;

/// `ip_conntrack_status`: answered; with another source than the client's; with another destination than it asked for.
const SEEN_REPLY: u32 = 1 << 1;
const SRC_NAT: u32 = 1 << 4;
const DST_NAT: u32 = 1 << 5;
/// `tcp_conntrack`: the first of both sides' FINs, and the states in which a connection is over.
const FIN_WAIT: u8 = 4;
const LAST_ACK: u8 = 6;

/// A connection that the kernel tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// TCP, UDP.
    pub protocol: Protocol,
    /// The client, as it sees itself.
    pub client: SocketAddr,
    /// Whom the client asked.
    pub asked: SocketAddr,
    /// Who answers.
    pub server: SocketAddr,
    /// The client, as who answers sees it.
    pub seen: SocketAddr,
    /// Whether there was an answer.
    pub answered: bool,
    /// How long the kernel would remember it if nothing more came, in seconds.
    pub left: u32,
    /// Whether the kernel translates its destination, or the client's port alone: so it does with one that would have the same
    /// answers as another.
    translated: bool,
    /// `tcp_conntrack`; for UDP 0.
    state: u8,
    /// `CTA_TUPLE_ORIG`, by which the kernel finds the connection.
    tuple: Vec<u8>,
}

impl Connection {
    /// Whether it may still carry data both ways.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state < LAST_ACK
    }

    /// Whether one side has closed it.
    #[must_use]
    pub fn is_half_closed(&self) -> bool {
        (FIN_WAIT..LAST_ACK).contains(&self.state)
    }
}

/// The connections of this network namespace that are translated.
///
/// # Errors
/// [`Error::System`].
pub fn translated() -> Result<Vec<Connection>, Error> {
    dump(|connection| connection.translated).map_err(Error::system("list", "tracked connections"))
}

/// The TCP connections of this network namespace that are not.
///
/// # Errors
/// [`Error::System`].
pub fn untranslated() -> Result<Vec<Connection>, Error> {
    let wanted = |connection: &Connection| connection.protocol == Protocol::TCP && !connection.translated;
    dump(wanted).map_err(Error::system("list", "tracked connections"))
}

/// Makes the kernel forget connections; that it has forgotten one already is no error.
///
/// # Errors
/// [`Error::System`].
pub fn forget<'a>(connections: impl IntoIterator<Item = &'a Connection>) -> Result<(), Error> {
    let failed = || Error::system("forget", "tracked connections");
    let socket = open().map_err(failed())?;
    for connection in connections {
        let family = family(connection.client.ip());
        let remove = || {
            ask(&socket, DELETE, NLM_F_REQUEST | NLM_F_ACK, family, &connection.tuple)?;
            let (answer, _) = socket.recv_from_full()?;
            match messages(&answer).next() {
                Some((ERROR, payload)) => acknowledged(payload),
                _ => Err(io::ErrorKind::InvalidData.into()),
            }
        };
        match remove() {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(failed()(error)),
            _ => {}
        }
    }
    Ok(())
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn dump(wanted: impl Fn(&Connection) -> bool) -> io::Result<Vec<Connection>> {
    // Of no family: of all.
    let socket = open()?;
    ask(&socket, GET, NLM_F_REQUEST | NLM_F_DUMP, 0, &[])?;
    let mut connections = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        for (kind, payload) in messages(&answer) {
            match kind {
                DONE => return Ok(connections),
                ERROR => acknowledged(payload)?,
                _ => connections.extend(payload.get(GENERIC..).and_then(parse).filter(&wanted)),
            }
        }
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&KernelAddr::new(0, 0))?;
    Ok(socket)
}

/// Sends a request.
fn ask(socket: &Socket, kind: u16, flags: u16, family: u8, attributes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER + GENERIC + attributes.len()).map_err(io::Error::other)?;
    let mut request = Vec::new();
    request.extend(length.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    // Sequence and port: each answer is awaited before the next request.
    request.extend([0; 8]);
    request.extend([family, 0, 0, 0]);
    request.extend(attributes);
    socket.send(&request, 0).map(drop)
}

/// The messages of a datagram, each with its type.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*datagram.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
        let payload = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

fn acknowledged(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The attributes in these bytes: type, value, and both with their header.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let (kind, whole) = (u16::from_ne_bytes([c, d]) & !FLAGS, bytes.get(..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, whole.get(4..)?, whole))
    })
}

/// A tuple: protocol, source, destination.
type Tuple = (u8, SocketAddr, SocketAddr);

/// `CTA_TUPLE_*`: `CTA_TUPLE_IP` is 1, `CTA_TUPLE_PROTO` 2.
fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let (mut addresses, mut ports, mut protocol) = ([None; 2], [None; 2], None);
    for (kind, value, _) in attributes(bytes) {
        for (inner, value, _) in attributes(value) {
            match (kind, inner) {
                (1, 1..=4) => *addresses.get_mut(usize::from(inner - 1) % 2)? = ip(value),
                (2, 1) => protocol = value.first().copied(),
                (2, 2..=3) => {
                    *ports.get_mut(usize::from(inner - 2))? =
                        value.first_chunk().map(|port| u16::from_be_bytes(*port));
                }
                _ => {}
            }
        }
    }
    let [source, destination] = addresses;
    let [from, to] = ports;
    Some((protocol?, SocketAddr::new(source?, from?), SocketAddr::new(destination?, to?)))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    }
}

/// A connection. `CTA_TUPLE_ORIG` is 1, `CTA_TUPLE_REPLY` 2, `CTA_STATUS` 3,
/// `CTA_PROTOINFO` 4 with `CTA_PROTOINFO_TCP` 1 with `CTA_PROTOINFO_TCP_STATE` 1, `CTA_TIMEOUT` 7.
fn parse(bytes: &[u8]) -> Option<Connection> {
    let (mut asked, mut answer, mut status, mut state, mut key) = (None, None, 0, 0, &[][..]);
    let mut left = 0;
    for (kind, value, whole) in attributes(bytes) {
        match kind {
            1 => (asked, key) = (tuple(value), whole),
            2 => answer = tuple(value),
            3 => status = u32::from_be_bytes(*value.first_chunk()?),
            4 => {
                let tcp = attributes(value).find(|(kind, ..)| *kind == 1);
                let found = tcp.and_then(|(_, tcp, _)| attributes(tcp).find(|(kind, ..)| *kind == 1));
                state = found.and_then(|(_, state, _)| state.first().copied()).unwrap_or_default();
            }
            7 => left = u32::from_be_bytes(*value.first_chunk()?),
            _ => {}
        }
    }
    let (protocol, client, asked) = asked?;
    let (_, server, seen) = answer?;
    let moved = status & SRC_NAT != 0 && seen.ip() == client.ip();
    Some(Connection {
        protocol: Protocol(protocol),
        client,
        asked,
        server,
        seen,
        answered: status & SEEN_REPLY != 0,
        left,
        translated: status & DST_NAT != 0 || moved,
        state,
        tuple: key.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple_of(kind: u16, source: [u8; 4], destination: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let addresses = [attribute(1, &source), attribute(2, &destination)].concat();
        let ports = [
            attribute(1, &[6]),
            attribute(2, &ports[0].to_be_bytes()),
            attribute(3, &ports[1].to_be_bytes()),
        ];
        attribute(
            kind | 0x8000,
            &[attribute(0x8001, &addresses), attribute(0x8002, &ports.concat())].concat(),
        )
    }

    fn entry(status: u32, state: u8) -> Vec<u8> {
        let tcp = attribute(0x8001, &attribute(1, &[state]));
        [
            tuple_of(1, [10, 1, 0, 2], [10, 96, 0, 1], [40_000, 80]),
            tuple_of(2, [10, 2, 0, 2], [10, 1, 0, 2], [8_080, 40_000]),
            attribute(3, &status.to_be_bytes()),
            attribute(0x8004, &tcp),
            attribute(7, &29_u32.to_be_bytes()),
        ]
        .concat()
    }

    #[test]
    fn a_translated_connection_is_read_with_all_of_its_ends() {
        let connection = parse(&entry(DST_NAT | SEEN_REPLY, 3)).unwrap();
        let ends = [connection.client, connection.asked, connection.server, connection.seen];
        assert_eq!(
            ends.map(|end| end.to_string()),
            ["10.1.0.2:40000", "10.96.0.1:80", "10.2.0.2:8080", "10.1.0.2:40000"]
        );
        assert!(connection.answered && connection.is_open() && !connection.is_half_closed());
        assert_eq!(connection.left, 29);
        assert_eq!(connection.tuple, tuple_of(1, [10, 1, 0, 2], [10, 96, 0, 1], [40_000, 80]));
    }

    #[test]
    fn a_connection_that_is_not_translated_is_told_from_one_that_is_and_one_that_is_over_says_so() {
        assert!(!parse(&entry(SEEN_REPLY, 3)).unwrap().translated);
        assert!(parse(&entry(DST_NAT, 3)).unwrap().translated);
        assert!(parse(&entry(DST_NAT, 5)).unwrap().is_half_closed());
        assert!(!parse(&entry(DST_NAT, 7)).unwrap().is_open());
    }

    #[test]
    fn what_is_cut_short_is_no_connection() {
        let entry = entry(DST_NAT, 3);
        (0..entry.len()).for_each(|length| drop(parse(&entry[..length])));
        assert_eq!(messages(&[9, 0, 0, 0, 1]).count(), 0);
    }
}
