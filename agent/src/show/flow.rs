//! `penstock flow list`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use penstock_abi::{Addr, Backend, Flow, FlowKey, FlowKind, Plain, Protocol, TcpState};
use penstock_kernel::table::{Hash, MappedArray};
use penstock_kernel::{Tables, flows};
use serde::Serialize;

use super::names::ServiceNames;
use super::render::{Row, print};
use crate::cli::FlowArgs;

/// One tracked connection.
#[derive(Serialize)]
struct FlowRow {
    service: String,
    protocol: String,
    client: SocketAddr,
    frontend: SocketAddr,
    backend: SocketAddr,
    /// What the backend takes for its client.
    source: SocketAddr,
    state: &'static str,
    idle_seconds: u64,
    /// Which of its two entries are there.
    halves: &'static str,
}

impl Row for FlowRow {
    const TITLES: &'static [&'static str] =
        &["PROTOCOL", "CLIENT", "FRONTEND", "BACKEND", "STATE", "#IDLE", "SERVICE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.protocol.clone(),
            self.client.to_string(),
            self.frontend.to_string(),
            self.backend.to_string(),
            self.state.into(),
            format!("{} s", self.idle_seconds),
            self.service.clone(),
        ]
    }
}

impl FlowRow {
    fn has(&self, address: IpAddr) -> bool {
        [self.client, self.frontend, self.backend, self.source].iter().any(|it| it.ip() == address)
    }
}

pub(super) fn list(tables: &Tables, args: FlowArgs) -> Result<()> {
    let names = ServiceNames::read(tables)?;
    let mut rows = rows_of(&tables.flows4, &tables.backends4, &names)?;
    rows.extend(rows_of(&tables.flows6, &tables.backends6, &names)?);
    rows.retain(|row| args.address.is_none_or(|address| row.has(address)));
    rows.sort_unstable_by_key(|row| (row.frontend, row.client));
    print(&rows, args.output.output, "no tracked connections")
}

fn rows_of<A: Addr>(
    flows: &Hash<FlowKey<A>, Flow<A>>,
    backends: &MappedArray<Backend<A>>,
    names: &ServiceNames,
) -> Result<Vec<FlowRow>>
where
    FlowKey<A>: Plain,
    Flow<A>: Plain,
    Backend<A>: Plain,
{
    let now = flows::now();
    let service =
        |index| backends.read(index).map_or_else(|_| "?".into(), |backend| names.get(backend.service));
    let connections = pair(flows.dump()?);
    Ok(connections.iter().map(|connection| connection.row(now, service(connection.flow.backend))).collect())
}

/// A connection as its forward half has it, from whichever halves are there.
struct Connection<A> {
    key: FlowKey<A>,
    flow: Flow<A>,
    halves: &'static str,
}

fn pair<A: Addr>(entries: Vec<(FlowKey<A>, Flow<A>)>) -> Vec<Connection<A>> {
    let mut connections: HashMap<FlowKey<A>, Connection<A>> = HashMap::new();
    for (mut key, mut flow) in entries {
        let halves = if flow.kind == FlowKind::Forward as u8 {
            "forward"
        } else {
            let other = flow.peer_key(key.protocol);
            flow.turn(&key);
            key = other;
            "reverse"
        };
        let connection = connections.entry(key).or_insert(Connection { key, flow, halves });
        if connection.halves != halves {
            connection.halves = "both";
            connection.flow.last_seen = connection.flow.last_seen.max(flow.last_seen);
            connection.flow.state |= flow.state;
        }
    }
    connections.into_values().collect()
}

impl<A: Addr> Connection<A> {
    fn row(&self, now: u32, service: String) -> FlowRow {
        let Self { key, flow, halves } = self;
        // A unit of the clock is 2^30 ns.
        let idle = (u64::from(now.saturating_sub(flow.last_seen)) << 30) / 1_000_000_000;
        FlowRow {
            service,
            protocol: key.protocol.to_string(),
            client: SocketAddr::new(key.src.to_ip(), key.sport.get()),
            frontend: SocketAddr::new(key.dst.to_ip(), key.dport.get()),
            backend: SocketAddr::new(flow.dst.to_ip(), flow.dport.get()),
            source: SocketAddr::new(flow.src.to_ip(), flow.sport.get()),
            state: state(key.protocol, flow.state),
            idle_seconds: idle,
            halves,
        }
    }
}

fn state(protocol: Protocol, state: u8) -> &'static str {
    let replied = state & TcpState::REPLIED != 0;
    if protocol != Protocol::TCP {
        if replied { "replied" } else { "unreplied" }
    } else if state & TcpState::RST != 0 {
        "reset"
    } else if TcpState::is_over(state) {
        "closed"
    } else if state & (TcpState::FIN_CLIENT | TcpState::FIN_BACKEND) != 0 {
        "half-closed"
    } else if replied {
        "established"
    } else {
        "opening"
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use penstock_abi::{Addr4, Port};

    use super::*;

    fn halves() -> [(FlowKey<Addr4>, Flow<Addr4>); 2] {
        let ip = |last| Addr4::from(Ipv4Addr::new(10, 0, 0, last));
        let key = FlowKey::new(ip(1), ip(2), Port::new(40_000), Port::new(80), Protocol::TCP);
        let flow = Flow {
            tag: key.tag(),
            src: ip(1),
            dst: ip(3),
            sport: Port::new(2_000),
            dport: Port::new(8_080),
            last_seen: 5,
            ..Flow::default()
        };
        let mut replied = Flow { state: TcpState::REPLIED, last_seen: 9, ..flow };
        replied.turn(&key);
        [(key, flow), (flow.peer_key(Protocol::TCP), replied)]
    }

    #[test]
    fn both_halves_are_one_connection() {
        let connections = pair(halves().to_vec());
        assert_eq!(connections.len(), 1);
        let row = connections[0].row(16, "s".into());
        assert_eq!(
            (row.client.to_string(), row.frontend.to_string(), row.backend.to_string()),
            ("10.0.0.1:40000".into(), "10.0.0.2:80".into(), "10.0.0.3:8080".into())
        );
        assert_eq!((row.state, row.idle_seconds, row.halves), ("established", 7, "both"));
    }

    #[test]
    fn a_half_alone_tells_the_whole_connection_and_that_it_is_alone() {
        let [forward, reverse] = halves();
        for (half, name) in [(forward, "forward"), (reverse, "reverse")] {
            let row = pair(vec![half])[0].row(9, "s".into());
            assert_eq!(
                (row.client.to_string(), row.source.to_string()),
                ("10.0.0.1:40000".into(), "10.0.0.1:2000".into())
            );
            assert_eq!(row.halves, name);
        }
    }

    #[test]
    fn the_states_of_tcp_and_udp_have_names() {
        let tcp = |bits| state(Protocol::TCP, bits);
        assert_eq!(tcp(0), "opening");
        assert_eq!(tcp(TcpState::REPLIED | TcpState::FIN_CLIENT), "half-closed");
        assert_eq!(tcp(TcpState::REPLIED | TcpState::FIN_CLIENT | TcpState::FIN_BACKEND), "closed");
        assert_eq!(tcp(TcpState::REPLIED | TcpState::RST), "reset");
        assert_eq!(state(Protocol::UDP, TcpState::REPLIED), "replied");
    }
}
