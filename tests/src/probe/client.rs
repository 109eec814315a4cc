//! A client of the probe's server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::clock::monotonic_ns;
use super::task::{Answer, Ask, Style};

/// Sends the requests and prints one answer a line.
pub(super) fn ask(ask: &Ask) -> Result<()> {
    let stopped = Arc::new(AtomicBool::new(false));
    if ask.count == 0 {
        let stopped = Arc::clone(&stopped);
        thread::spawn(move || {
            // The end of the input is the message, however it comes about.
            let _ = io::stdin().read_to_end(&mut Vec::new());
            stopped.store(true, Ordering::Relaxed);
        });
    }
    let mut client = Client { ask, standing: None };
    let mut number = 0_u32;
    while !stopped.load(Ordering::Relaxed) && (ask.count == 0 || number < ask.count) {
        number = number.wrapping_add(1);
        let answer = client.request(number);
        let failed = !answer.is_ok();
        let mut output = io::stdout().lock();
        serde_json::to_writer(&mut output, &answer)?;
        writeln!(output)?;
        if failed && ask.style == Style::TcpStanding {
            break;
        }
        if ask.pause_ms > 0 {
            thread::sleep(Duration::from_millis(ask.pause_ms));
        }
    }
    Ok(())
}

enum Standing {
    Tcp(BufReader<TcpStream>),
    Udp(UdpSocket),
}

struct Client<'a> {
    ask: &'a Ask,
    standing: Option<Standing>,
}

impl Client<'_> {
    fn request(&mut self, number: u32) -> Answer {
        let mut answer = Answer::default();
        if let Err(error) = self.attempt(number, &mut answer) {
            answer.errno = error.raw_os_error();
            answer.error = Some(error.to_string());
        }
        answer.at_ns = monotonic_ns();
        answer
    }

    fn attempt(&mut self, number: u32, answer: &mut Answer) -> io::Result<()> {
        let standing = match self.standing.take() {
            Some(standing) => standing,
            None => {
                let begin = monotonic_ns();
                let standing = self.open()?;
                answer.connect_ns = monotonic_ns() - begin;
                standing
            }
        };
        let mut said = format!("{number:08x}");
        said.push_str(&"x".repeat(self.ask.size.saturating_sub(said.len())));
        let begin = monotonic_ns();
        let (heard, standing) = match standing {
            Standing::Tcp(stream) => self.exchange_line(stream, &said, answer)?,
            Standing::Udp(socket) => {
                let result = self.exchange_datagram(&socket, &said, answer);
                // A lost or refused datagram is no end of the socket.
                if matches!(self.ask.style, Style::UdpConnected | Style::UdpUnconnected) {
                    self.standing = Some(Standing::Udp(socket));
                }
                (result?, None)
            }
        };
        answer.answer_ns = monotonic_ns() - begin;
        if let Some(standing) = standing {
            self.standing = Some(standing);
        }
        let mut words = heard.trim_end().splitn(3, ' ');
        answer.server = words.next().map(str::to_owned);
        answer.seen = words.next().and_then(|address| address.parse().ok());
        if words.next() != Some(said.as_str()) {
            return Err(io::Error::other("the answer repeats another request"));
        }
        Ok(())
    }

    fn exchange_line(
        &self,
        mut stream: BufReader<TcpStream>,
        said: &str,
        answer: &mut Answer,
    ) -> io::Result<(String, Option<Standing>)> {
        answer.peer = Some(unmapped(stream.get_ref().peer_addr()?));
        stream.get_mut().write_all(format!("{said}\n").as_bytes())?;
        let mut heard = String::new();
        if stream.read_line(&mut heard)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed the connection"));
        }
        let standing = (self.ask.style == Style::TcpStanding).then_some(Standing::Tcp(stream));
        Ok((heard, standing))
    }

    fn exchange_datagram(&self, socket: &UdpSocket, said: &str, answer: &mut Answer) -> io::Result<String> {
        let mut buffer = vec![0; 65_536];
        if self.ask.style == Style::UdpUnconnected {
            socket.send_to(said.as_bytes(), self.target())?;
        } else {
            answer.peer = Some(unmapped(socket.peer_addr()?));
            socket.send(said.as_bytes())?;
        }
        loop {
            let length = if self.ask.style == Style::UdpUnconnected {
                let (length, sender) = socket.recv_from(&mut buffer)?;
                answer.peer = Some(unmapped(sender));
                length
            } else {
                socket.recv(&mut buffer)?
            };
            let heard = String::from_utf8_lossy(&buffer[..length]).into_owned();
            // A late answer to an earlier request, which was counted as lost.
            if heard.splitn(3, ' ').nth(2) == Some(said) {
                return Ok(heard);
            }
        }
    }

    fn target(&self) -> SocketAddr {
        match self.ask.target {
            SocketAddr::V4(target) if self.ask.mapped => {
                SocketAddrV6::new(target.ip().to_ipv6_mapped(), target.port(), 0, 0).into()
            }
            target => target,
        }
    }

    fn open(&self) -> io::Result<Standing> {
        let target = self.target();
        let timeout = Duration::from_millis(self.ask.timeout_ms);
        let tcp = matches!(self.ask.style, Style::TcpEach | Style::TcpStanding);
        let (kind, protocol) = if tcp { (Type::STREAM, Protocol::TCP) } else { (Type::DGRAM, Protocol::UDP) };
        let socket = Socket::new(Domain::for_address(target), kind, Some(protocol))?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        if tcp {
            // A blocking connect, bounded by the write timeout: the time it takes is the kernel's alone.
            socket.connect(&SockAddr::from(target))?;
            socket.set_tcp_nodelay(true)?;
            return Ok(Standing::Tcp(BufReader::new(socket.into())));
        }
        if self.ask.style != Style::UdpUnconnected {
            socket.connect(&SockAddr::from(target))?;
        }
        Ok(Standing::Udp(socket.into()))
    }
}

/// The IPv4 address inside an IPv4-mapped one.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => SocketAddr::new(ip.to_canonical(), address.port()),
        IpAddr::V4(_) => address,
    }
}
