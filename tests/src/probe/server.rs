//! A server of TCP and UDP, both families apart from each other.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::task::Serve;

/// Listens, says "ready" and answers until it is killed.
pub(super) fn serve(serve: &Serve) -> Result<()> {
    let families = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    for address in families {
        for &port in &serve.tcp {
            let socket = bound(SocketAddr::new(address, port), Type::STREAM, Protocol::TCP)?;
            socket.listen(1_024)?;
            let name = serve.name.clone();
            thread::spawn(move || accept(&socket.into(), &name));
        }
        for &port in &serve.udp {
            let socket: UdpSocket = bound(SocketAddr::new(address, port), Type::DGRAM, Protocol::UDP)?.into();
            let name = serve.name.clone();
            thread::spawn(move || datagrams(&socket, &name));
        }
    }
    println!("ready");
    loop {
        thread::park();
    }
}

fn bound(address: SocketAddr, kind: Type, protocol: Protocol) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address)).with_context(|| format!("binding {address}"))?;
    Ok(socket)
}

fn accept(listener: &TcpListener, name: &str) {
    for stream in listener.incoming().flatten() {
        let name = name.to_owned();
        // A client that goes away in the middle is no fault of the server's.
        thread::spawn(move || drop(lines(stream, &name)));
    }
}

fn lines(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let client = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        stream.write_all(format!("{name} {client} {line}").as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn datagrams(socket: &UdpSocket, name: &str) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let said = String::from_utf8_lossy(&buffer[..length]);
        // An answer that the network refuses is the client's to miss.
        let _ = socket.send_to(format!("{name} {client} {said}").as_bytes(), client);
    }
}
