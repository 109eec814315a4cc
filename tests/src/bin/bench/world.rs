//! The Services that figures are taken with, in both families, in Penstock's tables and in the yardsticks'.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result};
use penstock_abi::{
    Addr, Addr4, Addr6, Backend, EmptySet, FrontendKey, MEMBER_CLUSTER, NextHop, Port, Protocol, Selection,
    Service, SetKind,
};
use penstock_kernel::table::{Hash, MappedArray};
use penstock_kernel::{Dataplane, Pins, Settings, TableSizes};
use yardsticks::{MinimalBackend, MinimalService};

use crate::sandbox::BPFFS;
use crate::yardstick::{MinimalTables, Yardsticks};

/// Endpoints of each Service.
pub(crate) const ENDPOINTS: u32 = 10;
/// Port of each Service.
pub(crate) const SERVICE_PORT: u16 = 80;
/// Port of each endpoint.
const TARGET_PORT: u16 = 8080;
/// The device that pods are said to be behind: the loopback of the benchmark's namespace, which no packet reaches.
const IFINDEX: u32 = 1;
/// Its MTU.
const MTU: u16 = 1_500;
/// The next hop of all backends.
const HOP: u32 = 1;

/// Penstock's programs and the yardsticks, with the same Services in the tables of both.
pub(crate) struct World {
    pub(crate) penstock: Dataplane,
    pub(crate) yardsticks: Yardsticks,
    /// The number of Services.
    pub(crate) services: u32,
}

/// The address of a Service.
pub(crate) fn frontend(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 0, 0).to_bits() + number).into(),
        Family::V6 => {
            Ipv6Addr::from_bits(Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 0).to_bits() + u128::from(number))
                .into()
        }
    }
}

/// The address of an endpoint, counted over all Services.
fn endpoint(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 0).to_bits() + number).into(),
        Family::V6 => {
            Ipv6Addr::from_bits(Ipv6Addr::new(0xfd44, 0, 0, 0, 0, 0, 0, 0).to_bits() + u128::from(number))
                .into()
        }
    }
}

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Opens Penstock's dataplane on the sandbox's bpffs, with empty tables. The object is the one that `PENSTOCK_BPF_OBJECT`
/// names at run time, so that a change of the programs is measured without building this again.
pub(crate) fn open_dataplane() -> Result<Dataplane> {
    let settings = Settings { pins: Pins::new(BPFFS), sizes: TableSizes::default() };
    match std::env::var_os("PENSTOCK_BPF_OBJECT").filter(|path| !path.is_empty()) {
        Some(path) => {
            let object = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            Dataplane::open_object(&object, &settings)
        }
        None => Dataplane::open(&settings),
    }
    .context("opening the dataplane")
}

impl World {
    /// Loads everything and fills all tables with so many Services of one port.
    pub(crate) fn new(services: u32, protocol: Protocol) -> Result<Self> {
        let penstock = open_dataplane()?;
        let yardsticks = Yardsticks::load(&Path::new(BPFFS).join("yardsticks"))?;
        let world = Self { penstock, yardsticks, services };
        world.fill_penstock(protocol)?;
        world.fill_minimal::<Addr4>(Family::V4, protocol)?;
        world.fill_minimal::<Addr6>(Family::V6, protocol)?;
        Ok(world)
    }

    fn fill_penstock(&self, protocol: Protocol) -> Result<()> {
        let tables = &self.penstock.tables;
        tables.next_hops.write(HOP, &NextHop::local(IFINDEX, MTU))?;
        let (first4, first6) = (1, 1 + self.services);
        self.fill_family(Family::V4, first4, protocol, &tables.frontends4, &tables.backends4)?;
        self.fill_family(Family::V6, first6, protocol, &tables.frontends6, &tables.backends6)
    }

    /// Service indices from `first` on; index 0 of a table is never given out.
    fn fill_family<A: Addr>(
        &self,
        family: Family,
        first: u32,
        protocol: Protocol,
        frontends: &Hash<FrontendKey<A>, u32>,
        backends: &MappedArray<Backend<A>>,
    ) -> Result<()>
    where
        Backend<A>: penstock_abi::Plain,
        FrontendKey<A>: penstock_abi::Plain,
    {
        let tables = &self.penstock.tables;
        let mut keys = Vec::new();
        for number in 0..self.services {
            let service = first + number;
            let set = service * ENDPOINTS;
            for position in 0..ENDPOINTS {
                let index = 1 + number * ENDPOINTS + position;
                backends.write(
                    index,
                    &Backend {
                        addr: addr(endpoint(family, index))?,
                        port: Port::new(TARGET_PORT),
                        protocol,
                        member: MEMBER_CLUSTER,
                        service,
                        next_hop: HOP,
                        generation: 1,
                    },
                )?;
                tables.slots.write(set + position, &index)?;
            }
            let word = Selection::new(set, ENDPOINTS, SetKind::Plain, EmptySet::Refuse)
                .context("a set of ten is too large")?;
            tables.services.write(service, &Service { cluster: word })?;
            keys.push((key(family, number, protocol)?, service));
        }
        frontends.insert_all(&keys)?;
        Ok(())
    }

    fn fill_minimal<A: Addr>(&self, family: Family, protocol: Protocol) -> Result<()>
    where
        Yardsticks: MinimalTables<A>,
        MinimalBackend<A>: penstock_abi::Plain,
        FrontendKey<A>: penstock_abi::Plain,
    {
        let mut keys = Vec::new();
        for number in 0..self.services {
            let first = 1 + number * ENDPOINTS;
            for index in first..first + ENDPOINTS {
                let backend = MinimalBackend {
                    addr: addr::<A>(endpoint(family, index))?,
                    port: Port::new(TARGET_PORT),
                    _pad: 0,
                    ifindex: IFINDEX,
                };
                self.yardsticks.backends().write(index, &backend)?;
            }
            keys.push((key::<A>(family, number, protocol)?, MinimalService { first, count: ENDPOINTS }));
        }
        self.yardsticks.frontends().insert_all(&keys)?;
        Ok(())
    }
}

fn key<A: Addr>(family: Family, number: u32, protocol: Protocol) -> Result<FrontendKey<A>> {
    Ok(FrontendKey::cluster(addr(frontend(family, number))?, Port::new(SERVICE_PORT), protocol))
}

fn addr<A: Addr>(ip: IpAddr) -> Result<A> {
    A::from_ip(ip).with_context(|| format!("{ip} is of the other family"))
}
