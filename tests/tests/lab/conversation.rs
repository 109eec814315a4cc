//! Sockets of this process inside a pod: for the packet path, which does not ask whose cgroup a socket is of.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use penstock_tests::lab::{Family, Pod, Protocol, Runs};
use socket2::{Domain, SockAddr, Socket, Type};

/// A local port that no other test binds and no connection without a port of its own is given: the ones above Linux's
/// default range for outgoing connections.
pub(crate) fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(61_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A connected socket of either protocol that talks to the probe's server.
pub(crate) struct Conversation {
    socket: Socket,
    /// Whom it was connected to.
    pub(crate) with: SocketAddr,
}

impl Conversation {
    /// Connects from this port of the pod. Other sockets may use the same port towards others.
    pub(crate) fn open(pod: &Pod, port: u16, protocol: Protocol, with: SocketAddr) -> Result<Self> {
        let family = if with.is_ipv4() { Family::V4 } else { Family::V6 };
        let local = SocketAddr::new(pod.ip(family), port);
        let kind = match protocol {
            Protocol::Tcp => Type::STREAM,
            Protocol::Udp => Type::DGRAM,
        };
        let socket = pod.run(|| {
            let socket = Socket::new(Domain::for_address(with), kind, None)?;
            socket.set_reuse_address(true)?;
            socket.set_read_timeout(Some(Duration::from_secs(3)))?;
            socket.set_write_timeout(Some(Duration::from_secs(3)))?;
            socket.bind(&SockAddr::from(local)).with_context(|| format!("binding {local}"))?;
            socket.connect(&SockAddr::from(with)).with_context(|| format!("connecting {local} to {with}"))?;
            Ok(socket)
        })?;
        Ok(Self { socket, with })
    }

    /// Sends a word and gives the name of the server that repeats it, and whom that server sees.
    pub(crate) fn ask(&self, word: &str) -> Result<(String, SocketAddr)> {
        let what = || format!("asking {} about {word:?}", self.with);
        (&self.socket).write_all(format!("{word}\n").as_bytes()).with_context(what)?;
        let mut heard = String::new();
        BufReader::new(&self.socket).read_line(&mut heard).with_context(what)?;
        let words: Vec<&str> = heard.split_whitespace().collect();
        let [server, seen, repeated] = words[..] else { anyhow::bail!("{}: heard {heard:?}", what()) };
        anyhow::ensure!(repeated == word, "{}: the answer is to {repeated:?}", what());
        Ok((server.to_owned(), seen.parse()?))
    }

    /// The socket as a TCP stream.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.into()
    }
}
