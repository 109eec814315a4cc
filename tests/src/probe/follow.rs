//! A client that connects again and again, and tells only what changes: which server answers, and what fails.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::clock::monotonic_ns;

/// A client that makes a connection, with one request, after the other until its standard input ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Follow {
    /// Whom to ask.
    pub target: SocketAddr,
    /// Pause after each answer, in microseconds.
    pub pause_us: u64,
    /// How long to wait for a connection and for an answer, in milliseconds.
    pub timeout_ms: u64,
}

/// What such a client tells, one a line: the first answer, each answer by another server than the last one, and each failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When it was there, by [`super::monotonic_ns`].
    pub at_ns: u64,
    /// The longest time from one answer to the next since what was told before: by so much the client may be late itself.
    pub longest_ns: u64,
    /// Number of connections until now, this one included.
    pub connections: u64,
    /// The server's name; else why there was no answer.
    pub outcome: Result<String, String>,
}

/// Connects until the input ends.
pub(super) fn follow(follow: &Follow) -> Result<()> {
    let stopped = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&stopped);
    thread::spawn(move || {
        // The end of the input is the message, however it comes about.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        mark.store(true, Ordering::Relaxed);
    });
    let mut last = None;
    let mut connections = 0;
    let (mut before, mut longest_ns) = (monotonic_ns(), 0);
    while !stopped.load(Ordering::Relaxed) {
        connections += 1;
        let outcome = exchange(follow).map_err(|error| error.to_string());
        let at_ns = monotonic_ns();
        longest_ns = longest_ns.max(at_ns - before);
        before = at_ns;
        if outcome.is_err() || last.as_ref() != outcome.as_ref().ok() {
            let seen = Seen { at_ns, longest_ns, connections, outcome: outcome.clone() };
            longest_ns = 0;
            let mut output = io::stdout().lock();
            serde_json::to_writer(&mut output, &seen)?;
            writeln!(output)?;
        }
        last = outcome.ok().or(last);
        thread::sleep(Duration::from_micros(follow.pause_us));
    }
    Ok(())
}

/// One connection with one request; gives the server's name.
fn exchange(follow: &Follow) -> io::Result<String> {
    let timeout = Some(Duration::from_millis(follow.timeout_ms));
    let socket = Socket::new(Domain::for_address(follow.target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_read_timeout(timeout)?;
    // Bounds connect too.
    socket.set_write_timeout(timeout)?;
    // It ends by a reset: no port waits for a while, however many connections there are.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.connect(&SockAddr::from(follow.target))?;
    let mut stream = BufReader::new(TcpStream::from(socket));
    stream.get_mut().write_all(b"?\n")?;
    let mut heard = String::new();
    if stream.read_line(&mut heard)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed the connection"));
    }
    Ok(heard.split(' ').next().unwrap_or_default().to_owned())
}
