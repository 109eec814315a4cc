//! The two ends of a connection, each a process of its own in a pod: a server, and a client that counts for a while.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};

use crate::sandbox::pin_to_one_cpu;

/// What a process started by the benchmark does.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Answers bytes
    #[command(hide = true)]
    Server {
        /// Where to listen
        listen: SocketAddr,
    },
    /// Prints how many exchanges there were in a second
    #[command(hide = true)]
    Client {
        /// Where to connect
        server: SocketAddr,
        /// What to count
        exchange: Exchange,
        /// For how long
        milliseconds: u64,
    },
}

/// What is counted.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exchange {
    /// Connections, each with one request and its answer
    Connections,
    /// Requests on one connection
    Requests,
}

impl Exchange {
    /// Both, each with the word that [`Role::Client`] knows it by.
    pub(crate) const ALL: [(Self, &'static str); 2] =
        [(Self::Connections, "connections"), (Self::Requests, "requests")];
}

/// What a client may ask for.
const PING: u8 = b'?';
/// The same, and nothing after it: the server then closes first, so that the client's port is free at once.
const LAST: u8 = b'.';

impl Role {
    /// Does it, on the CPU that everything measured runs on.
    pub(crate) fn play(&self) -> Result<()> {
        pin_to_one_cpu()?;
        match self {
            Self::Server { listen } => serve(*listen),
            Self::Client { server, exchange, milliseconds } => {
                let time = Duration::from_millis(*milliseconds);
                // Caches, neighbours and routes are found before it counts.
                count(*server, *exchange, time / 10)?;
                println!("{}", count(*server, *exchange, time)?);
                Ok(())
            }
        }
    }
}

fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listening at {listen}"))?;
    println!("ready");
    loop {
        let (mut client, _) = listener.accept().context("accept")?;
        match answer(&mut client) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error).context("answering"),
        }
    }
}

fn answer(client: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [0];
    while client.read(&mut byte)? == 1 {
        client.write_all(&byte)?;
        if byte == [LAST] {
            break;
        }
    }
    Ok(())
}

/// Exchanges in a second.
fn count(server: SocketAddr, exchange: Exchange, time: Duration) -> Result<f64> {
    let begin = Instant::now();
    let mut done = 0_u32;
    match exchange {
        Exchange::Connections => {
            while begin.elapsed() < time {
                let mut stream = connect(server)?;
                ask(&mut stream, LAST)?;
                // The end of the stream: the server has closed.
                stream.read_exact(&mut [0]).err().context("the server goes on")?;
                done += 1;
            }
        }
        Exchange::Requests => {
            let mut stream = connect(server)?;
            stream.set_nodelay(true)?;
            while begin.elapsed() < time {
                ask(&mut stream, PING)?;
                done += 1;
            }
        }
    }
    Ok(f64::from(done) / begin.elapsed().as_secs_f64())
}

fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))
        .with_context(|| format!("connecting to {server}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, byte: u8) -> Result<()> {
    stream.write_all(&[byte]).context("asking")?;
    stream.read_exact(&mut [0]).context("waiting for an answer")
}
