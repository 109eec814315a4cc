//! What processes are told, and what clients say.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::follow::Follow;
use crate::cluster::Keep;

/// What a process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Hold a node's mounts.
    Keeper,
    /// Remove a run when its process has ended.
    Janitor {
        /// The run's name.
        run: String,
    },
    /// Make a lab, say its run's name and stay, for tests of what happens when it is killed.
    HoldLab,
    /// The same with a cluster.
    HoldCluster,
    /// Hold the namespaces of a cluster's node.
    Keep(Keep),
    /// Answer requests.
    Serve(Serve),
    /// Send requests.
    Ask(Ask),
    /// Connect again and again, and tell what changes.
    Follow(Follow),
}

/// A server: it answers each line (TCP) or datagram (UDP) by its name, the client's address as it sees it, and what the
/// client said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Serve {
    /// What it calls itself.
    pub name: String,
    /// TCP ports, each in both families.
    pub tcp: Vec<u16>,
    /// UDP ports, each in both families.
    pub udp: Vec<u16>,
}

impl Serve {
    /// A server of TCP and UDP on one port.
    pub fn on(name: &str, port: u16) -> Self {
        Self { name: name.to_owned(), tcp: vec![port], udp: vec![port] }
    }
}

/// How a client uses sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// A TCP connection for each request.
    TcpEach,
    /// One TCP connection for all requests; it ends with the first failure.
    TcpStanding,
    /// A connected UDP socket for each request.
    UdpEach,
    /// One connected UDP socket for all requests.
    UdpConnected,
    /// One unconnected UDP socket for all requests.
    UdpUnconnected,
}

/// A client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Whom to ask.
    pub target: SocketAddr,
    /// How to use sockets.
    pub style: Style,
    /// Number of requests; 0: until standard input ends.
    pub count: u32,
    /// Pause after each request, in milliseconds.
    pub pause_ms: u64,
    /// How long to wait for a connection and for an answer, in milliseconds.
    pub timeout_ms: u64,
    /// Uses a socket of family IPv6 to reach the IPv4 target (`::ffff:a.b.c.d`).
    pub mapped: bool,
    /// Number of bytes to send in each request.
    pub size: usize,
}

impl Ask {
    /// One request to the target.
    pub fn new(target: SocketAddr, style: Style) -> Self {
        Self { target, style, count: 1, pause_ms: 0, timeout_ms: 2_000, mapped: false, size: 16 }
    }

    /// So many requests.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count, ..self }
    }

    /// With a pause after each request.
    #[must_use]
    pub fn every_ms(self, pause_ms: u64) -> Self {
        Self { pause_ms, ..self }
    }

    /// By a socket of family IPv6 to an IPv4 target.
    #[must_use]
    pub fn mapped(self) -> Self {
        Self { mapped: true, ..self }
    }

    /// With requests of so many bytes.
    #[must_use]
    pub fn of_size(self, size: usize) -> Self {
        Self { size, ..self }
    }
}

/// The outcome of one request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// When it was there, by [`super::monotonic_ns`].
    pub at_ns: u64,
    /// How long `connect` took, for the styles that connect each time.
    pub connect_ns: u64,
    /// How long it took from the request to the answer, without connecting.
    pub answer_ns: u64,
    /// The server's name; `None` where there was no answer.
    pub server: Option<String>,
    /// The client's address as the server saw it.
    pub seen: Option<SocketAddr>,
    /// Whom the client believes to talk to: `getpeername`, or for unconnected sockets the sender of the answer.
    pub peer: Option<SocketAddr>,
    /// What went wrong.
    pub error: Option<String>,
    /// What went wrong, as an `errno` where it was one.
    pub errno: Option<i32>,
}

impl Answer {
    /// Whether the request was answered.
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }
}
