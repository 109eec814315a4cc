//! `penstock backend list`.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use penstock_abi::{self as abi, Addr, MEMBER_CLUSTER, Plain};
use penstock_kernel::Tables;
use penstock_kernel::table::MappedArray;
use penstock_model::tables::{Backend, Family};
use serde::Serialize;

use super::names::{Hops, ServiceNames};
use super::render::{Row, print};
use crate::cli::Output;

/// One endpoint of one Service port.
#[derive(Serialize)]
struct BackendRow {
    service: String,
    index: u32,
    family: String,
    address: IpAddr,
    port: u16,
    protocol: String,
    /// It gets new connections; otherwise it only keeps those that it has.
    member: bool,
    next_hop: String,
    generation: u32,
}

impl Row for BackendRow {
    const TITLES: &'static [&'static str] =
        &["SERVICE", "BACKEND", "PROTOCOL", "STATE", "NEXT HOP", "#INDEX"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.service.clone(),
            SocketAddr::new(self.address, self.port).to_string(),
            self.protocol.clone(),
            if self.member { "serving" } else { "leaving" }.into(),
            self.next_hop.clone(),
            self.index.to_string(),
        ]
    }
}

pub(super) fn list(tables: &Tables, output: Output) -> Result<()> {
    let names = ServiceNames::read(tables)?;
    let hops = Hops::new(tables);
    let mut rows = Vec::new();
    rows.extend(rows_of(&tables.backends4, &names, &hops));
    rows.extend(rows_of(&tables.backends6, &names, &hops));
    rows.sort_unstable_by(|a, b| (&a.service, a.address, a.port).cmp(&(&b.service, b.address, b.port)));
    print(&rows, output, "no backends")
}

fn rows_of<A: Addr>(
    table: &MappedArray<abi::Backend<A>>,
    names: &ServiceNames,
    hops: &Hops<'_>,
) -> Vec<BackendRow>
where
    abi::Backend<A>: Plain,
{
    let row = |index: u32, backend: Backend| BackendRow {
        service: names.get(backend.service),
        index,
        family: Family::of(backend.addr).to_string(),
        address: backend.addr,
        port: backend.port,
        protocol: backend.protocol.to_string(),
        member: backend.member & MEMBER_CLUSTER != 0,
        next_hop: hops.get(backend.next_hop),
        generation: backend.generation,
    };
    let mut rows = Vec::new();
    table.for_each(|index, backend| {
        let backend = Backend::from_value(&backend);
        if backend.is_used() {
            rows.push(row(index, backend));
        }
    });
    rows
}
