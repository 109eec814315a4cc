//! How full the tables are: read from the kernel's own, for `penstock status` and for metrics.

use std::collections::BTreeMap;

use penstock_abi::{self as abi, Addr, NextHop, Plain, maps};
use penstock_kernel::table::{Hash, MappedArray};
use penstock_kernel::{Error, Tables};
use penstock_model::tables::{Backend, PerFamily};

/// How many elements of a table there are and how many of them are in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Usage {
    pub(crate) used: u64,
    pub(crate) size: u32,
}

/// All tables, by name.
///
/// # Errors
/// A table cannot be read.
pub(crate) fn all(tables: &Tables, flows: PerFamily<u64>) -> Result<BTreeMap<&'static str, Usage>, Error> {
    let mut slots = 0;
    tables.services.for_each(|_, service| slots += u64::from(service.cluster.count()));
    let mut next_hops = 0;
    tables.next_hops.for_each(|_, hop| next_hops += u64::from(hop != NextHop::stack()));
    let services = count(&tables.service_names)?;
    let usage = |used, size| Usage { used, size };
    Ok(BTreeMap::from([
        (maps::FRONTENDS4, usage(count(&tables.frontends4)?, tables.frontends4.capacity())),
        (maps::FRONTENDS6, usage(count(&tables.frontends6)?, tables.frontends6.capacity())),
        (maps::SERVICES, usage(services, tables.services.len())),
        (maps::SLOTS, usage(slots, tables.slots.len())),
        (maps::BACKENDS4, usage(backends(&tables.backends4), tables.backends4.len())),
        (maps::BACKENDS6, usage(backends(&tables.backends6), tables.backends6.len())),
        (maps::NEXT_HOPS, usage(next_hops, tables.next_hops.len())),
        (maps::ENDPOINTS4, usage(count(&tables.endpoints4)?, tables.endpoints4.capacity())),
        (maps::ENDPOINTS6, usage(count(&tables.endpoints6)?, tables.endpoints6.capacity())),
        (maps::FLOWS4, usage(flows.v4, tables.flows4.capacity())),
        (maps::FLOWS6, usage(flows.v6, tables.flows6.capacity())),
        (maps::SERVICE_NAMES, usage(services, tables.service_names.capacity())),
    ]))
}

/// Halves of flows, counted one by one.
///
/// # Errors
/// A table cannot be read.
pub(crate) fn flows(tables: &Tables) -> Result<PerFamily<u64>, Error> {
    Ok(PerFamily { v4: count(&tables.flows4)?, v6: count(&tables.flows6)? })
}

fn count<K: Plain, V: Plain>(hash: &Hash<K, V>) -> Result<u64, Error> {
    let mut count = 0;
    hash.for_each(|_, _| count += 1)?;
    Ok(count)
}

fn backends<A: Addr>(table: &MappedArray<abi::Backend<A>>) -> u64
where
    abi::Backend<A>: Plain,
{
    let mut used = 0;
    table.for_each(|_, backend| used += u64::from(Backend::from_value(&backend).is_used()));
    used
}
