//! What a node's tables say of a Service: the agent's work is done when they say what the manifest says.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use penstock_abi::{Addr, Addr4, Addr6, Backend, FrontendKey, Plain, Port, Protocol as Number, SCHEMA, maps};
use penstock_kernel::table::{Hash, MappedArray};

use super::manifest::{Endpoint, Family, Protocol, Service};
use super::node::Node;

impl Node {
    /// The folder of the node's pinned tables, as this process reaches it.
    pub fn tables(&self) -> PathBuf {
        self.bpffs().join(format!("penstock/v{SCHEMA}"))
    }

    /// Whether every port of the Service leads to its endpoints and to no others, in both families.
    pub fn serves(&self, service: &Service) -> Result<bool> {
        let folder = self.tables();
        for port in &service.ports {
            let protocol = match port.protocol {
                Protocol::Tcp => Number::TCP,
                Protocol::Udp => Number::UDP,
            };
            let endpoints4 = service.endpoints.iter().map(|endpoint: &Endpoint| IpAddr::V4(endpoint.ip4));
            let found4 = addresses::<Addr4>(
                &folder,
                [maps::FRONTENDS4, maps::BACKENDS4],
                service.ip(Family::V4),
                port.port,
                protocol,
            )?;
            let endpoints6 = service.endpoints.iter().map(|endpoint: &Endpoint| IpAddr::V6(endpoint.ip6));
            let found6 = addresses::<Addr6>(
                &folder,
                [maps::FRONTENDS6, maps::BACKENDS6],
                service.ip(Family::V6),
                port.port,
                protocol,
            )?;
            if found4 != Some(endpoints4.collect()) || found6 != Some(endpoints6.collect()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The addresses of the backends that a frontend leads to; `None` where there is no such frontend.
fn addresses<A: Addr>(
    folder: &Path,
    [frontends, backends]: [&str; 2],
    address: IpAddr,
    port: u16,
    protocol: Number,
) -> Result<Option<BTreeSet<IpAddr>>>
where
    FrontendKey<A>: Plain,
    Backend<A>: Plain,
{
    let Some(address) = A::from_ip(address) else { return Ok(None) };
    let frontends = Hash::<FrontendKey<A>, u32>::open(folder, frontends)?;
    let key = FrontendKey::cluster(address, Port::new(port), protocol);
    let Some(index) = frontends.get(&key)? else { return Ok(None) };
    let services = MappedArray::<penstock_abi::Service>::open(folder, maps::SERVICES)?;
    let slots = MappedArray::<u32>::open(folder, maps::SLOTS)?;
    let backends = MappedArray::<Backend<A>>::open(folder, backends)?;
    let chosen = services.read(index)?.cluster;
    let mut found = BTreeSet::new();
    for slot in chosen.base()..chosen.base() + chosen.count() {
        found.insert(backends.read(slots.read(slot)?)?.addr.to_ip());
    }
    Ok(Some(found))
}
