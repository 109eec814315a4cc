//! The model's tables, kept in the kernel's.

use std::collections::BTreeSet;
use std::io;
use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use penstock_abi::{
    self as abi, Addr, Addr4, Addr6, FrontendKey, NextHop, Plain, Selection, ServiceName, maps,
};
use penstock_kernel::table::{Hash, MappedArray};
use penstock_kernel::{Error, Grace, flows};
use penstock_model::tables::{
    Backend, Dump, Family, Frontend, Names, Op, PerFamily, PlanError, Readers, Sizes, TableError, Tables,
};

/// What programs read, seen from the side: shared with the thread that waits for them.
#[derive(Debug)]
pub(crate) struct KernelReaders {
    tables: penstock_kernel::Tables,
    grace: Grace,
    flows: LastSeen,
}

/// Halves of flows at the last walk over them. A table may have a million, too many to count for whoever asks.
#[derive(Debug, Default)]
struct LastSeen {
    v4: AtomicUsize,
    v6: AtomicUsize,
}

/// The tables in the kernel, for the agent's only writer.
#[derive(Debug)]
pub(crate) struct KernelTables {
    shared: Arc<KernelReaders>,
    writes: u64,
}

impl KernelTables {
    pub(crate) fn new(tables: penstock_kernel::Tables, grace: Grace) -> Self {
        Self { shared: Arc::new(KernelReaders { tables, grace, flows: LastSeen::default() }), writes: 0 }
    }

    /// Their readers.
    pub(crate) fn readers(&self) -> Arc<KernelReaders> {
        Arc::clone(&self.shared)
    }

    /// How many operations were carried out so far.
    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    /// The tables themselves.
    pub(crate) fn kernel(&self) -> &penstock_kernel::Tables {
        &self.shared.tables
    }

    fn write(&self, op: &Op) -> Result<(), TableError> {
        let tables = self.kernel();
        match op {
            Op::WriteNextHop { index, next_hop } => {
                tables.next_hops.write(*index, next_hop).map_err(failed(maps::NEXT_HOPS))
            }
            Op::WriteBackend { index, backend } => match Family::of(backend.addr) {
                Family::V4 => write_backend(&tables.backends4, *index, backend, maps::BACKENDS4),
                Family::V6 => write_backend(&tables.backends6, *index, backend, maps::BACKENDS6),
            },
            Op::SetMember { family: Family::V4, index, member } => tables
                .backends4
                .store_u8(*index, offset_of!(abi::Backend<Addr4>, member), *member)
                .map_err(failed(maps::BACKENDS4)),
            Op::SetMember { family: Family::V6, index, member } => tables
                .backends6
                .store_u8(*index, offset_of!(abi::Backend<Addr6>, member), *member)
                .map_err(failed(maps::BACKENDS6)),
            Op::SetBackendHop { family: Family::V4, index, next_hop } => tables
                .backends4
                .store_u32(*index, offset_of!(abi::Backend<Addr4>, next_hop), *next_hop)
                .map_err(failed(maps::BACKENDS4)),
            Op::SetBackendHop { family: Family::V6, index, next_hop } => tables
                .backends6
                .store_u32(*index, offset_of!(abi::Backend<Addr6>, next_hop), *next_hop)
                .map_err(failed(maps::BACKENDS6)),
            Op::WriteSlots { base, backends } => {
                tables.slots.fill(*base, backends).map_err(failed(maps::SLOTS))
            }
            Op::Publish { service, word } => tables
                .services
                .store_u64(*service, offset_of!(abi::Service, cluster), word.0)
                .map_err(failed(maps::SERVICES)),
            Op::InsertFrontend { frontend, service } => match Family::of(frontend.addr) {
                Family::V4 => insert_frontend(&tables.frontends4, frontend, *service, maps::FRONTENDS4),
                Family::V6 => insert_frontend(&tables.frontends6, frontend, *service, maps::FRONTENDS6),
            },
            Op::RemoveFrontend { frontend } => match Family::of(frontend.addr) {
                Family::V4 => remove_frontend(&tables.frontends4, frontend, maps::FRONTENDS4),
                Family::V6 => remove_frontend(&tables.frontends6, frontend, maps::FRONTENDS6),
            },
            Op::NameService { service, name } => tables
                .service_names
                .insert(service, &ServiceName::new(name))
                .map_err(failed(maps::SERVICE_NAMES)),
            Op::UnnameService { service } => {
                tables.service_names.remove(service).map_err(failed(maps::SERVICE_NAMES))?;
                // The index will count for another Service, from zero. What was counted stays in the sum over all of them: index 0
                // is no Service's.
                tables.service_counts.move_to(*service, 0).map_err(failed(maps::SERVICE_COUNTS))
            }
            Op::InsertEndpoint { addr, next_hop } => match addr {
                IpAddr::V4(ip) => {
                    tables.endpoints4.insert(&(*ip).into(), next_hop).map_err(failed(maps::ENDPOINTS4))
                }
                IpAddr::V6(ip) => {
                    tables.endpoints6.insert(&(*ip).into(), next_hop).map_err(failed(maps::ENDPOINTS6))
                }
            },
            Op::RemoveEndpoint { addr } => match addr {
                IpAddr::V4(ip) => tables.endpoints4.remove(&(*ip).into()).map_err(failed(maps::ENDPOINTS4)),
                IpAddr::V6(ip) => tables.endpoints6.remove(&(*ip).into()).map_err(failed(maps::ENDPOINTS6)),
            }
            .map(drop),
        }
    }

    /// Carries out insertions of one kind, with one call for each table, and gives how many operations that were.
    fn write_row(&self, ops: &[Op]) -> Result<usize, TableError> {
        let tables = self.kernel();
        let (mut frontends4, mut frontends6, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let mut count = 0;
        for op in ops {
            match op {
                Op::InsertFrontend { frontend, service } if names.is_empty() => {
                    frontends4.extend(frontend.key::<Addr4>().map(|key| (key, *service)));
                    frontends6.extend(frontend.key::<Addr6>().map(|key| (key, *service)));
                }
                Op::NameService { service, name } if frontends4.is_empty() && frontends6.is_empty() => {
                    names.push((*service, ServiceName::new(name)));
                }
                _ => break,
            }
            count += 1;
        }
        if count > 1 {
            tables.frontends4.insert_all(&frontends4).map_err(failed(maps::FRONTENDS4))?;
            tables.frontends6.insert_all(&frontends6).map_err(failed(maps::FRONTENDS6))?;
            tables.service_names.insert_all(&names).map_err(failed(maps::SERVICE_NAMES))?;
            return Ok(count);
        }
        Ok(0)
    }
}

impl Readers for KernelTables {
    fn grace_period(&self) -> Result<(), TableError> {
        self.shared.grace_period()
    }

    fn flows_naming(&self, names: &Names) -> Result<Names, TableError> {
        self.shared.flows_naming(names)
    }
}

impl Readers for KernelReaders {
    fn grace_period(&self) -> Result<(), TableError> {
        self.grace.wait().map_err(readers)
    }

    fn flows_naming(&self, names: &Names) -> Result<Names, TableError> {
        let set = |names: &[u32]| names.iter().copied().collect::<BTreeSet<_>>();
        let (dead4, dead6) = (set(&names.backends.v4), set(&names.backends.v6));
        let swept = self.sweep(&dead4, &dead6).map_err(readers)?;
        let held = |names: &[u32], held: &BTreeSet<u32>| {
            names.iter().copied().filter(|name| held.contains(name)).collect()
        };
        Ok(Names {
            backends: PerFamily {
                v4: held(&names.backends.v4, &swept.backends4),
                v6: held(&names.backends.v6, &swept.backends6),
            },
            next_hops: held(&names.next_hops, &swept.next_hops),
        })
    }
}

impl KernelReaders {
    /// Removes flows that have expired. Gives how many halves are left.
    pub(crate) fn expire_flows(&self) -> Result<usize, Error> {
        let swept = self.sweep(&BTreeSet::new(), &BTreeSet::new())?;
        Ok(swept.left4 + swept.left6)
    }

    fn sweep(&self, dead4: &BTreeSet<u32>, dead6: &BTreeSet<u32>) -> Result<flows::Swept, Error> {
        let swept = flows::sweep(&self.tables, flows::now(), dead4, dead6)?;
        self.flows.v4.store(swept.left4, Ordering::Relaxed);
        self.flows.v6.store(swept.left6, Ordering::Relaxed);
        Ok(swept)
    }

    /// The tables themselves.
    pub(crate) fn kernel(&self) -> &penstock_kernel::Tables {
        &self.tables
    }

    /// How many halves of flows the last walk over them has left, 30 s ago at most.
    pub(crate) fn flows(&self) -> PerFamily<usize> {
        PerFamily { v4: self.flows.v4.load(Ordering::Relaxed), v6: self.flows.v6.load(Ordering::Relaxed) }
    }
}

impl Tables for KernelTables {
    fn sizes(&self) -> Sizes {
        let tables = self.kernel();
        Sizes {
            frontends: tables.frontends4.capacity().min(tables.frontends6.capacity()),
            services: tables.services.len(),
            slots: tables.slots.len(),
            backends: tables.backends4.len().min(tables.backends6.len()),
            next_hops: tables.next_hops.len(),
            endpoints: tables.endpoints4.capacity().min(tables.endpoints6.capacity()),
        }
    }

    fn dump(&self) -> Result<Dump, TableError> {
        dump(self.kernel())
    }

    fn apply(&mut self, op: &Op) -> Result<(), TableError> {
        self.write(op)?;
        self.writes += 1;
        Ok(())
    }

    fn apply_all(&mut self, ops: &[Op]) -> Result<(), PlanError> {
        let mut done = 0;
        while let Some(rest) = ops.get(done..).filter(|rest| !rest.is_empty()) {
            // A row that fails is written one by one, to find which of its operations it is that fails.
            match self.write_row(rest) {
                Ok(count) if count > 0 => {
                    done += count;
                    self.writes += count as u64;
                }
                _ => {
                    let Some(op) = rest.first() else { break };
                    self.apply(op).map_err(|error| PlanError { done, error })?;
                    done += 1;
                }
            }
        }
        Ok(())
    }
}

/// All that the kernel's tables hold, in the words of the model.
///
/// # Errors
/// [`TableError::Io`].
pub(crate) fn dump(tables: &penstock_kernel::Tables) -> Result<Dump, TableError> {
    let mut frontends = Vec::new();
    dump_frontends(&tables.frontends4, maps::FRONTENDS4, &mut frontends)?;
    dump_frontends(&tables.frontends6, maps::FRONTENDS6, &mut frontends)?;
    frontends.sort_unstable();
    let mut endpoints = Vec::new();
    dump_endpoints(&tables.endpoints4, maps::ENDPOINTS4, &mut endpoints)?;
    dump_endpoints(&tables.endpoints6, maps::ENDPOINTS6, &mut endpoints)?;
    endpoints.sort_unstable();
    let mut names = Vec::new();
    tables
        .service_names
        .for_each(|service, name| names.push((service, name.as_str().into())))
        .map_err(failed(maps::SERVICE_NAMES))?;
    names.sort_unstable();
    let services = used(&tables.services, &abi::Service::default(), maps::SERVICES)?;
    let mut slots = read(&tables.slots, maps::SLOTS)?;
    slots.truncate(slots.iter().rposition(|slot| *slot != 0).map_or(0, |last| last + 1));
    Ok(Dump {
        frontends,
        services: services
            .into_iter()
            .map(|(index, service)| (index, service.cluster))
            .collect::<Vec<(u32, Selection)>>(),
        slots,
        backends: PerFamily {
            v4: dump_backends(&tables.backends4, maps::BACKENDS4)?,
            v6: dump_backends(&tables.backends6, maps::BACKENDS6)?,
        },
        next_hops: used(&tables.next_hops, &NextHop::stack(), maps::NEXT_HOPS)?,
        endpoints,
        names,
    })
}

fn write_backend<A: Addr>(
    table: &MappedArray<abi::Backend<A>>,
    index: u32,
    backend: &Backend,
    name: &'static str,
) -> Result<(), TableError>
where
    abi::Backend<A>: Plain,
{
    match backend.value::<A>() {
        Some(value) => table.write(index, &value).map_err(failed(name)),
        None => Err(wrong_family(name)),
    }
}

fn insert_frontend<A: Addr>(
    table: &Hash<FrontendKey<A>, u32>,
    frontend: &Frontend,
    service: u32,
    name: &'static str,
) -> Result<(), TableError>
where
    FrontendKey<A>: Plain,
{
    let key = frontend.key::<A>().ok_or_else(|| wrong_family(name))?;
    table.insert(&key, &service).map_err(failed(name))
}

fn remove_frontend<A: Addr>(
    table: &Hash<FrontendKey<A>, u32>,
    frontend: &Frontend,
    name: &'static str,
) -> Result<(), TableError>
where
    FrontendKey<A>: Plain,
{
    let key = frontend.key::<A>().ok_or_else(|| wrong_family(name))?;
    table.remove(&key).map(drop).map_err(failed(name))
}

fn dump_frontends<A: Addr>(
    table: &Hash<FrontendKey<A>, u32>,
    name: &'static str,
    frontends: &mut Vec<(Frontend, u32)>,
) -> Result<(), TableError>
where
    FrontendKey<A>: Plain,
{
    table.for_each(|key, service| frontends.push((Frontend::from_key(&key), service))).map_err(failed(name))
}

fn dump_endpoints<A: Addr>(
    table: &Hash<A, u32>,
    name: &'static str,
    endpoints: &mut Vec<(IpAddr, u32)>,
) -> Result<(), TableError> {
    table.for_each(|addr, next_hop| endpoints.push((addr.to_ip(), next_hop))).map_err(failed(name))
}

fn dump_backends<A: Addr>(
    table: &MappedArray<abi::Backend<A>>,
    name: &'static str,
) -> Result<Vec<(u32, Backend)>, TableError>
where
    abi::Backend<A>: Plain + PartialEq,
{
    let elements = used(table, &abi::Backend::<A>::zeroed(), name)?;
    Ok(elements.into_iter().map(|(index, value)| (index, Backend::from_value(&value))).collect())
}

fn read<V: Plain>(table: &MappedArray<V>, name: &'static str) -> Result<Vec<V>, TableError> {
    (0..table.len()).map(|index| table.read(index).map_err(failed(name))).collect()
}

fn used<V: Plain + PartialEq>(
    table: &MappedArray<V>,
    zero: &V,
    name: &'static str,
) -> Result<Vec<(u32, V)>, TableError> {
    let mut elements = Vec::new();
    for index in 0..table.len() {
        let value = table.read(index).map_err(failed(name))?;
        if value != *zero {
            elements.push((index, value));
        }
    }
    Ok(elements)
}

fn failed(table: &'static str) -> impl FnOnce(Error) -> TableError {
    move |error| match error {
        Error::TableFull { size, .. } => TableError::Full { table, size },
        Error::System { cause, .. } => TableError::Io { table, source: cause },
        other => TableError::Io { table, source: io::Error::other(other) },
    }
}

fn readers(error: Error) -> TableError {
    TableError::Readers { source: io::Error::other(error) }
}

fn wrong_family(table: &'static str) -> TableError {
    TableError::Io {
        table,
        source: io::Error::new(io::ErrorKind::InvalidInput, "an address of the other family"),
    }
}
