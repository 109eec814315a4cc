//! What tables mean to a client, whatever indices they use for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use penstock_abi::NextHop;
use penstock_model::tables::{Dump, Family};

/// Endpoints and the way to each.
type Endpoints = BTreeSet<(SocketAddr, String)>;

/// The Service port and the endpoints that each frontend leads to, and by what way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Meaning {
    pub(crate) frontends: BTreeMap<String, (Option<Box<str>>, Endpoints)>,
    pub(crate) endpoints: BTreeMap<IpAddr, String>,
}

impl Meaning {
    pub(crate) fn of(dump: &Dump) -> Self {
        let next_hops: BTreeMap<u32, NextHop> = dump.next_hops.iter().copied().collect();
        let way = |index: u32| format!("{:?}", next_hops.get(&index).copied().unwrap_or_default());
        let names: BTreeMap<u32, Box<str>> = dump.names.iter().cloned().collect();
        let words: BTreeMap<_, _> = dump.services.iter().copied().collect();
        let mut meaning = Self::default();
        for (frontend, service) in &dump.frontends {
            let family = Family::of(frontend.addr);
            let backends: BTreeMap<_, _> = dump.backends.get(family).iter().copied().collect();
            let word = words.get(service).copied().unwrap_or_default();
            let slots = dump.slots.iter().skip(word.base() as usize).take(word.count() as usize);
            let set = slots.map(|slot| {
                let backend = backends[slot];
                (SocketAddr::new(backend.addr, backend.port), way(backend.next_hop))
            });
            meaning.frontends.insert(frontend.to_string(), (names.get(service).cloned(), set.collect()));
        }
        meaning.endpoints = dump.endpoints.iter().map(|(addr, index)| (*addr, way(*index))).collect();
        meaning
    }
}
