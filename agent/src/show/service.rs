//! `penstock service list`.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use penstock_kernel::Tables;
use penstock_model::tables::{Family, Frontend};
use serde::Serialize;

use super::names::ServiceNames;
use super::render::{Row, print};
use crate::cli::Output;

/// One address and port that a Service is reached at.
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct ServiceRow {
    service: String,
    index: u32,
    family: String,
    address: IpAddr,
    port: u16,
    protocol: String,
    backends: u32,
    flows: u64,
    unserved: u64,
}

impl Row for ServiceRow {
    const TITLES: &'static [&'static str] =
        &["SERVICE", "ADDRESS", "PROTOCOL", "#BACKENDS", "#FLOWS", "#UNSERVED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.service.clone(),
            SocketAddr::new(self.address, self.port).to_string(),
            self.protocol.clone(),
            self.backends.to_string(),
            self.flows.to_string(),
            self.unserved.to_string(),
        ]
    }
}

pub(super) fn list(tables: &Tables, output: Output) -> Result<()> {
    print(&rows(tables)?, output, "no Services")
}

fn rows(tables: &Tables) -> Result<Vec<ServiceRow>> {
    let names = ServiceNames::read(tables)?;
    let mut frontends = Vec::new();
    tables.frontends4.for_each(|key, service| frontends.push((Frontend::from_key(&key), service)))?;
    tables.frontends6.for_each(|key, service| frontends.push((Frontend::from_key(&key), service)))?;
    let mut rows = Vec::with_capacity(frontends.len());
    for (frontend, index) in frontends {
        let count = tables.service_counts.get(index)?;
        rows.push(ServiceRow {
            service: names.get(index),
            index,
            family: Family::of(frontend.addr).to_string(),
            address: frontend.addr,
            port: frontend.port,
            protocol: frontend.protocol.to_string(),
            backends: tables.services.read(index)?.cluster.count(),
            flows: count.flows,
            unserved: count.unserved,
        });
    }
    rows.sort_unstable_by(|a, b| {
        (&a.service, a.address, a.port, &a.protocol).cmp(&(&b.service, b.address, b.port, &b.protocol))
    });
    Ok(rows)
}
