//! A tracked connection has two entries that are evicted apart from each other: what happens when one is gone.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_abi::{Addr4, Flow, FlowKey, FlowKind, Port, Protocol as Number, maps};
use penstock_kernel::table::Hash;
use penstock_tests::lab::{Family, Protocol, Runs, Service, ServicePort};
use penstock_tests::needs;

use crate::conversation::{Conversation, own_port};
use crate::fixture::{Fixture, PORT, packets};

/// Longer than one unit of the clock that flows are stamped with: the next packet of a half puts the other one back.
const A_UNIT: Duration = Duration::from_millis(1_200);

/// Both halves of the connection of this client port.
struct Halves {
    table: Hash<FlowKey<Addr4>, Flow<Addr4>>,
    forward: FlowKey<Addr4>,
    reverse: FlowKey<Addr4>,
}

impl Halves {
    fn find(fixture: &Fixture, client_port: u16, number: Number) -> Result<Self> {
        let table = Hash::open(&fixture.lab.node(1).tables(), maps::FLOWS4)?;
        let client = Addr4::from(fixture.client.ip4());
        let is_ours = |key: &FlowKey<Addr4>, flow: &Flow<Addr4>| {
            flow.kind == FlowKind::Forward as u8
                && (key.src, key.sport, key.protocol) == (client, Port::new(client_port), number)
        };
        let (forward, flow) = table
            .dump()?
            .into_iter()
            .find(|(key, flow)| is_ours(key, flow))
            .context("the connection is not tracked")?;
        let reverse = flow.peer_key(number);
        ensure!(table.get(&reverse)?.is_some(), "the half for the answers is missing");
        Ok(Self { table, forward, reverse })
    }

    fn evict(&self, key: &FlowKey<Addr4>) -> Result<()> {
        ensure!(self.table.remove(key)?, "the half is gone already");
        Ok(())
    }
}

/// A TCP connection through a Service whose two ends are both in this test's hands.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    halves: Halves,
}

impl Connection {
    fn open(fixture: &Fixture, name: &str) -> Result<Self> {
        let target_port = own_port();
        let listener = fixture
            .far
            .run(|| Ok(TcpListener::bind(SocketAddr::new(fixture.far.ip(Family::V4), target_port))?))?;
        let service = fixture.lab.service(name, &[ServicePort::tcp(PORT, target_port)]).with([&fixture.far]);
        fixture.apply(&service)?;
        let port = own_port();
        let client =
            Conversation::open(&fixture.client, port, Protocol::Tcp, address(&service, Protocol::Tcp))?;
        let (server, _) = listener.accept()?;
        server.set_read_timeout(Some(Duration::from_secs(3)))?;
        let halves = Halves::find(fixture, port, Number::TCP)?;
        let mut connection = Self { client: client.into_stream(), server, halves };
        connection.client_sends()?;
        connection.server_sends()?;
        Ok(connection)
    }

    fn client_sends(&mut self) -> std::io::Result<()> {
        send(&mut self.client, &mut self.server)
    }

    fn server_sends(&mut self) -> std::io::Result<()> {
        send(&mut self.server, &mut self.client)
    }
}

fn send(from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
    from.write_all(b"x")?;
    to.read_exact(&mut [0])
}

fn address(service: &Service, protocol: Protocol) -> SocketAddr {
    service.address(Family::V4, protocol)
}

#[test]
fn the_half_for_requests_is_put_back_by_an_answer() -> Result<()> {
    needs!(Agent);
    let mut connection = Connection::open(packets(), "evict-forward")?;
    connection.halves.evict(&connection.halves.forward)?;
    sleep(A_UNIT);
    connection.server_sends()?;
    assert!(connection.halves.table.get(&connection.halves.forward)?.is_some());
    connection.client_sends()?;
    connection.server_sends()?;
    Ok(())
}

#[test]
fn the_half_for_answers_is_put_back_by_a_request() -> Result<()> {
    needs!(Agent);
    let mut connection = Connection::open(packets(), "evict-reverse")?;
    connection.halves.evict(&connection.halves.reverse)?;
    sleep(A_UNIT);
    connection.client_sends()?;
    assert!(connection.halves.table.get(&connection.halves.reverse)?.is_some());
    connection.server_sends()?;
    Ok(())
}

#[test]
fn a_request_without_its_half_resets_a_tcp_connection_rather_than_hang() -> Result<()> {
    needs!(Agent);
    let mut connection = Connection::open(packets(), "reset-forward")?;
    connection.halves.evict(&connection.halves.forward)?;
    connection.client.write_all(b"x")?;
    let error = connection.client.read_exact(&mut [0]).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    Ok(())
}

#[test]
fn an_answer_without_its_half_resets_a_tcp_connection_rather_than_hang() -> Result<()> {
    needs!(Agent);
    let mut connection = Connection::open(packets(), "reset-reverse")?;
    // Away from the boundary of the clock's units, so that no acknowledgement of the client's heals first.
    connection.halves.evict(&connection.halves.reverse)?;
    connection.server.write_all(b"x")?;
    let error = connection.server.read_exact(&mut [0]).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    Ok(())
}

#[test]
fn datagrams_go_on_whichever_half_is_gone() -> Result<()> {
    needs!(Agent);
    let fixture = packets();
    let service = fixture.service("evict-udp", &[&fixture.near])?;
    for evict_forward in [true, false] {
        let port = own_port();
        let conversation =
            Conversation::open(&fixture.client, port, Protocol::Udp, address(&service, Protocol::Udp))?;
        conversation.ask("before")?;
        let halves = Halves::find(fixture, port, Number::UDP)?;
        halves.evict(if evict_forward { &halves.forward } else { &halves.reverse })?;
        sleep(A_UNIT);
        conversation.ask("after")?;
    }
    Ok(())
}
