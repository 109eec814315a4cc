//! Which maps there are, of what form and size, and the typed tables over them.

use std::collections::BTreeMap;
use std::path::Path;

use aya_obj::Object;
use penstock_abi::{
    Addr4, Addr6, Backend, Config, DropCount, Event, Flow, FlowKey, FrontendKey, NextHop, Service,
    ServiceCount, ServiceName, maps,
};

use crate::Error;
use crate::bpffs::Pins;
use crate::error::OtherSchemas;
use crate::sys::{Map, MapInfo, MapSpec, kinds};
use crate::table::{Hash, MappedArray, PerCpuArray, RingBuffer};

/// The maps whose elements the agent writes. Their indices name one another, so they are carried over to other maps all
/// together or not at all, and what names their indices (flows) with them.
pub(crate) const WRITTEN_BY_AGENT: [&str; 11] = [
    maps::FRONTENDS4,
    maps::FRONTENDS6,
    maps::SERVICES,
    maps::SLOTS,
    maps::BACKENDS4,
    maps::BACKENDS6,
    maps::NEXT_HOPS,
    maps::ENDPOINTS4,
    maps::ENDPOINTS6,
    maps::CONFIG,
    maps::SERVICE_NAMES,
];

/// The maps of what connections need to go on.
pub(crate) const LIVE: [&str; 6] =
    [maps::FLOWS4, maps::FLOWS6, maps::UDP_PEERS4, maps::UDP_PEERS6, maps::SOCKETS4, maps::SOCKETS6];

/// The maps of what is counted and told.
pub(crate) const TOLD: [&str; 4] = [maps::SERVICE_COUNTS, maps::DROPS, maps::COUNTERS, maps::EVENTS];

/// Every map that is pinned.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    WRITTEN_BY_AGENT.into_iter().chain(LIVE).chain(TOLD)
}

/// How many elements the tables have. Both families' tables of one sort have the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSizes {
    /// Addresses and ports that Services are reached at.
    pub frontends: u32,
    /// Service ports.
    pub services: u32,
    /// Places in sets of endpoints: at least twice the backends, since a changed set is written beside the old one.
    pub slots: u32,
    /// Endpoints of Service ports.
    pub backends: u32,
    /// Ways that packets leave by.
    pub next_hops: u32,
    /// Pods of this node.
    pub endpoints: u32,
    /// Halves of tracked connections.
    pub flows: u32,
    /// Backends that unconnected UDP sockets talk to.
    pub udp_peers: u32,
}

impl Default for TableSizes {
    fn default() -> Self {
        Self {
            frontends: maps::MAX_FRONTENDS,
            services: maps::MAX_SERVICES,
            slots: maps::MAX_SLOTS,
            backends: maps::MAX_BACKENDS,
            next_hops: maps::MAX_NEXT_HOPS,
            endpoints: maps::MAX_ENDPOINTS,
            flows: maps::MAX_FLOWS,
            udp_peers: maps::MAX_UDP_PEERS,
        }
    }
}

impl TableSizes {
    /// The size of a map; `None` where the object's own is right.
    pub(crate) fn of(&self, map: &str) -> Option<u32> {
        Some(match map {
            maps::FRONTENDS4 | maps::FRONTENDS6 => self.frontends,
            maps::SERVICES | maps::SERVICE_COUNTS | maps::SERVICE_NAMES => self.services,
            maps::SLOTS => self.slots,
            maps::BACKENDS4 | maps::BACKENDS6 => self.backends,
            maps::NEXT_HOPS => self.next_hops,
            maps::ENDPOINTS4 | maps::ENDPOINTS6 => self.endpoints,
            maps::FLOWS4 | maps::FLOWS6 => self.flows,
            maps::UDP_PEERS4 | maps::UDP_PEERS6 => self.udp_peers,
            _ => return None,
        })
    }
}

/// What this build wants each pinned map to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Specs(BTreeMap<&'static str, MapSpec>);

impl Specs {
    /// From the object's declarations, with the sizes asked for.
    pub(crate) fn read(object: &[u8], sizes: &TableSizes) -> Result<Self, Error> {
        let object = Object::parse(object).map_err(|error| Error::bad_object(&error))?;
        let mut specs = BTreeMap::new();
        for name in all() {
            let mut spec = match object.maps.get(name) {
                Some(map) => MapSpec {
                    name: name.to_owned(),
                    kind: map.map_type(),
                    key_size: map.key_size(),
                    value_size: if map.map_type() == kinds::RINGBUF { 0 } else { map.value_size() },
                    max_entries: map.max_entries(),
                    flags: map.map_flags(),
                },
                None if name == maps::SERVICE_NAMES => service_names(),
                None => return Err(Error::BadObject { reason: format!("it has no map {name}") }),
            };
            if let Some(size) = sizes.of(name) {
                spec.max_entries = size;
            }
            specs.insert(name, spec);
        }
        Ok(Self(specs))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &MapSpec)> {
        self.0.iter().map(|(name, spec)| (*name, spec))
    }
}

/// For people only: no program has this map, so the object does not declare it.
pub(crate) fn service_names() -> MapSpec {
    MapSpec {
        name: maps::SERVICE_NAMES.to_owned(),
        kind: kinds::HASH,
        key_size: 4,
        value_size: ServiceName::MAX as u32,
        max_entries: maps::MAX_SERVICES,
        flags: kinds::NO_PREALLOC,
    }
}

/// How a map differs from what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) what: &'static str,
    pub(crate) wanted: u64,
    pub(crate) found: u64,
}

impl Difference {
    pub(crate) fn error(self, map: &str) -> Error {
        Error::SchemaMismatch { map: map.to_owned(), what: self.what, wanted: self.wanted, found: self.found }
    }
}

/// What makes a map's elements unusable by programs that want this: another type, key, value or flags.
pub(crate) fn form_difference(spec: &MapSpec, info: &MapInfo) -> Option<Difference> {
    let pairs = [
        ("type", spec.kind, info.kind),
        ("key size", spec.key_size, info.key_size),
        ("value size", spec.value_size, info.value_size),
        ("flags", spec.flags, info.flags),
    ];
    pairs.into_iter().find(|(_, wanted, found)| wanted != found).map(|(what, wanted, found)| Difference {
        what,
        wanted: wanted.into(),
        found: found.into(),
    })
}

/// Whether a map has the wanted number of elements.
pub(crate) fn same_size(spec: &MapSpec, info: &MapInfo) -> bool {
    // The kernel rounds a ring up to pages and a per-CPU LRU to the number of CPUs; neither size can be asked for.
    spec.kind == kinds::RINGBUF
        || spec.flags & kinds::NO_COMMON_LRU != 0
        || spec.max_entries == info.max_entries
}

/// The tables of the dataplane.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is told at the constant of its name in penstock_abi::maps")]
pub struct Tables {
    pub frontends4: Hash<FrontendKey<Addr4>, u32>,
    pub frontends6: Hash<FrontendKey<Addr6>, u32>,
    pub services: MappedArray<Service>,
    pub slots: MappedArray<u32>,
    pub backends4: MappedArray<Backend<Addr4>>,
    pub backends6: MappedArray<Backend<Addr6>>,
    pub next_hops: MappedArray<NextHop>,
    pub endpoints4: Hash<Addr4, u32>,
    pub endpoints6: Hash<Addr6, u32>,
    pub flows4: Hash<FlowKey<Addr4>, Flow<Addr4>>,
    pub flows6: Hash<FlowKey<Addr6>, Flow<Addr6>>,
    pub service_counts: PerCpuArray<ServiceCount>,
    pub drops: PerCpuArray<DropCount>,
    pub counters: PerCpuArray<u64>,
    pub config: MappedArray<Config>,
    pub service_names: Hash<u32, ServiceName>,
}

impl Tables {
    /// Opens the pinned tables of this build's schema, whether an agent runs or not.
    ///
    /// # Errors
    /// [`Error::NotPinned`] where there are none; [`Error::SchemaMismatch`] where one has another form.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let folder = pins.maps();
        if !folder.exists() {
            return Err(Error::NotPinned {
                path: folder,
                schema: pins.schema(),
                others: OtherSchemas(pins.schemas()?),
            });
        }
        Self::open_in(&folder)
    }

    fn open_in(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            frontends4: Hash::open(folder, maps::FRONTENDS4)?,
            frontends6: Hash::open(folder, maps::FRONTENDS6)?,
            services: MappedArray::open(folder, maps::SERVICES)?,
            slots: MappedArray::open(folder, maps::SLOTS)?,
            backends4: MappedArray::open(folder, maps::BACKENDS4)?,
            backends6: MappedArray::open(folder, maps::BACKENDS6)?,
            next_hops: MappedArray::open(folder, maps::NEXT_HOPS)?,
            endpoints4: Hash::open(folder, maps::ENDPOINTS4)?,
            endpoints6: Hash::open(folder, maps::ENDPOINTS6)?,
            flows4: Hash::open(folder, maps::FLOWS4)?,
            flows6: Hash::open(folder, maps::FLOWS6)?,
            service_counts: PerCpuArray::open(folder, maps::SERVICE_COUNTS)?,
            drops: PerCpuArray::open(folder, maps::DROPS)?,
            counters: PerCpuArray::open(folder, maps::COUNTERS)?,
            config: MappedArray::open(folder, maps::CONFIG)?,
            service_names: Hash::open(folder, maps::SERVICE_NAMES)?,
        })
    }
}

/// Opens the ring of sampled events.
///
/// # Errors
/// [`Error::System`] where it is not pinned.
pub fn events(pins: &Pins) -> Result<RingBuffer<Event>, Error> {
    RingBuffer::open(&pins.maps(), maps::EVENTS)
}

/// Each pinned map with its number of elements and the bytes of kernel memory that it takes.
///
/// # Errors
/// [`Error::System`].
pub fn memory(pins: &Pins) -> Result<Vec<MapMemory>, Error> {
    let mut sizes = Vec::new();
    for name in all() {
        let path = pins.map(name);
        if path.exists() {
            let map = Map::open(&path).map_err(Error::system("open pin", path.display()))?;
            let bytes = map.memory().map_err(Error::system("read fdinfo", name))?;
            sizes.push(MapMemory { name, elements: map.info().max_entries, bytes });
        }
    }
    Ok(sizes)
}

/// What a map takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapMemory {
    /// The map.
    pub name: &'static str,
    /// How many elements it may hold; bytes, for the ring.
    pub elements: u32,
    /// Kernel memory in bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(spec: &MapSpec) -> MapInfo {
        MapInfo {
            kind: spec.kind,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            ..MapInfo::default()
        }
    }

    #[test]
    fn every_property_of_a_form_is_compared() {
        let spec = service_names();
        assert_eq!(form_difference(&spec, &info(&spec)), None);
        for (what, found) in [
            ("type", MapInfo { kind: 2, ..info(&spec) }),
            ("key size", MapInfo { key_size: 8, ..info(&spec) }),
            ("value size", MapInfo { value_size: 8, ..info(&spec) }),
            ("flags", MapInfo { flags: 0, ..info(&spec) }),
        ] {
            assert_eq!(form_difference(&spec, &found).map(|difference| difference.what), Some(what));
        }
    }

    #[test]
    fn a_size_that_the_kernel_rounds_is_not_compared() {
        let spec = service_names();
        assert!(!same_size(&spec, &MapInfo { max_entries: 1, ..info(&spec) }));
        let ring = MapSpec { kind: kinds::RINGBUF, ..spec };
        assert!(same_size(&ring, &MapInfo { max_entries: 1, ..info(&ring) }));
    }

    #[test]
    fn names_fit_into_what_the_kernel_keeps_and_hold_no_dot() {
        for name in all() {
            assert!(name.len() <= 15 && !name.contains('.'), "{name}");
        }
    }
}
