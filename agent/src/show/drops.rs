//! `penstock drops`.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use penstock_abi::{Addr, Addr6, Event, EventKind, Port, Reason};
use penstock_kernel::{Pins, Tables, events};
use serde::Serialize;

use super::names::ServiceNames;
use super::render::{Row, line, print};
use crate::cli::Output;

/// How often the ring of events is looked at.
const POLL: Duration = Duration::from_millis(100);

/// What was dropped for one reason.
#[derive(Serialize)]
struct DropRow {
    reason: &'static str,
    packets: u64,
    bytes: u64,
    description: &'static str,
}

impl Row for DropRow {
    const TITLES: &'static [&'static str] = &["REASON", "#PACKETS", "#BYTES", "DESCRIPTION"];

    fn cells(&self) -> Vec<String> {
        vec![self.reason.into(), self.packets.to_string(), self.bytes.to_string(), self.description.into()]
    }
}

/// Prints each reason; people are spared those that never were.
pub(super) fn list(tables: &Tables, output: Output) -> Result<()> {
    let mut rows = Vec::new();
    for reason in Reason::ALL {
        let count = tables.drops.get(*reason as u32)?;
        if output == Output::Json || count.packets > 0 {
            rows.push(DropRow {
                reason: reason.label(),
                packets: count.packets,
                bytes: count.bytes,
                description: reason.description(),
            });
        }
    }
    print(&rows, output, "nothing was dropped")
}

/// One dropped packet, or refused call.
#[derive(Serialize)]
struct DropEvent {
    /// Since the machine started.
    seconds: f64,
    reason: &'static str,
    protocol: String,
    source: SocketAddr,
    destination: SocketAddr,
    device: u32,
    service: Option<String>,
}

/// Prints drops as they are recorded, until it is ended.
pub(super) fn follow(pins: &Pins, tables: &Tables, output: Output) -> Result<()> {
    if tables.config.read(0)?.event_sample == 0 {
        eprintln!("penstock: the agent records no events: start it with --event-sample 1");
    }
    let names = ServiceNames::read(tables)?;
    let mut ring = events(pins)?;
    loop {
        while let Some(event) = ring.next_record() {
            if event.kind == EventKind::Drop as u8 {
                let event = drop_event(&event, &names);
                line(&match output {
                    Output::Json => serde_json::to_string(&event)?,
                    Output::Table => event.in_words(),
                })?;
            }
        }
        thread::sleep(POLL);
    }
}

fn drop_event(event: &Event, names: &ServiceNames) -> DropEvent {
    DropEvent {
        seconds: Duration::from_nanos(event.time).as_secs_f64(),
        reason: Reason::ALL.get(usize::from(event.reason)).map_or("unknown", |reason| reason.label()),
        protocol: event.protocol.to_string(),
        source: socket_address(event.src, event.sport),
        destination: socket_address(event.dst, event.dport),
        device: event.ifindex,
        service: (event.service != 0).then(|| names.get(event.service)),
    }
}

impl DropEvent {
    fn in_words(&self) -> String {
        let Self { seconds, reason, protocol, source, destination, device, service } = self;
        let place = if *device == 0 { "socket".to_owned() } else { format!("device {device}") };
        let service = service.as_deref().unwrap_or("-");
        format!("{seconds:.6} {reason} {protocol} {source} -> {destination} {place} {service}")
    }
}

fn socket_address(address: Addr6, port: Port) -> SocketAddr {
    let ip: IpAddr = address.to_mapped().map_or_else(|| address.to_ip(), |mapped| mapped.to_ip());
    SocketAddr::new(ip, port.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_at_a_socket_is_told_in_one_line() {
        let event = DropEvent {
            seconds: 1.5,
            reason: Reason::NoEndpoints.label(),
            protocol: "TCP".into(),
            source: "10.0.0.1:4000".parse().unwrap(),
            destination: "10.96.0.1:80".parse().unwrap(),
            device: 0,
            service: Some("default/a".into()),
        };
        assert_eq!(
            event.in_words(),
            "1.500000 no-endpoints TCP 10.0.0.1:4000 -> 10.96.0.1:80 socket default/a"
        );
    }

    #[test]
    fn a_mapped_address_is_shown_as_ipv4() {
        let mapped = Addr6::from_mapped(std::net::Ipv4Addr::new(192, 0, 2, 1).into());
        assert_eq!(socket_address(mapped, Port::new(80)).to_string(), "192.0.2.1:80");
    }
}
