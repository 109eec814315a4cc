//! The cluster as it was told last, in the compact form that desired state is computed from.
//!
//! An event names what it makes stale and nothing else: a slice its own Service, a Node the ways to its addresses. An
//! event that changes nothing makes nothing stale.

mod kept;
mod name;
mod pods;
mod triggers;
mod validate;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use hashbrown::HashMap;
use hashbrown::hash_map::{EntryRef, OccupiedEntry};
use ipnetwork::IpNetwork;
use penstock_abi::Protocol;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::objects::{Event, Kind, Object, ObjectKey, Timestamp, TriggerTime};
use crate::port::OwnedPort;
use crate::tables::{Family, PerFamily};
use crate::warning::Warning;
use name::NameParts;
pub use name::QualifiedName;
use pods::Pods;
use triggers::Triggers;

/// A Service that is to be served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Service {
    pub(crate) created: Option<Timestamp>,
    pub(crate) addresses: Box<[IpAddr]>,
    pub(crate) ports: Box<[Port]>,
}

/// One port of a Service, or of the endpoints of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Port {
    pub(crate) name: SmolStr,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// A slice of the endpoints of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slice {
    pub(crate) name: SmolStr,
    pub(crate) family: Family,
    pub(crate) ports: SmallVec<[Port; 1]>,
    pub(crate) endpoints: Box<[Endpoint]>,
}

/// One endpoint, its conditions resolved: what is not told is ready, serving and not terminating.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    pub(crate) addr: IpAddr,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
}

/// All that is known of one Service. Its slices may come before it does.
///
/// Of many Services each is out of the processor's caches when it changes, and a change costs little but waiting for them. So
/// what one with a slice and a port needs is side by side: one look-up by name finds all but the endpoints.
#[derive(Debug, Default)]
pub(crate) struct ServiceView {
    pub(crate) service: Option<Service>,
    /// In no order that means anything.
    pub(crate) slices: SmallVec<[Slice; 1]>,
    /// The API's own Service alone: slices of before, of families in which `slices` have no endpoint at all ([`kept`]).
    pub(crate) kept: Vec<Slice>,
    /// Where it is reached, by ports. The view keeps them and asks only whether there are any.
    pub(crate) ports: SmallVec<[OwnedPort; 1]>,
}

impl ServiceView {
    /// Whether there is nothing left to keep.
    fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty() && self.kept.is_empty() && self.ports.is_empty()
    }
}

/// What a Node says of the ways to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NodeView {
    /// Every internal address.
    pub(crate) addresses: Box<[IpAddr]>,
    /// The first internal address of each family.
    pub(crate) internal: PerFamily<Option<IpAddr>>,
    /// The ranges of its pods.
    pub(crate) pod_cidrs: Box<[IpNetwork]>,
}

/// How much of a Service something concerns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Extent {
    /// Where it leads.
    Endpoints,
    /// Where it is reached, too.
    Whole,
}

/// What events have made stale.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Services, and how much of them.
    pub(crate) services: BTreeMap<QualifiedName, Extent>,
    /// Addresses and ranges whose ways may have changed.
    pub(crate) ways: Vec<IpNetwork>,
    /// What was skipped.
    pub(crate) warnings: Vec<Warning>,
}

impl Changes {
    fn service(&mut self, name: &QualifiedName, extent: Extent) {
        let known = self.services.entry(name.clone()).or_insert(extent);
        *known = extent.max(*known);
    }

    fn node(&mut self, node: &NodeView) {
        self.ways.extend(node.addresses.iter().map(|addr| IpNetwork::from(*addr)));
        self.ways.extend(node.pod_cidrs.iter().copied());
    }
}

/// The cluster as it was told last.
#[derive(Debug, Default)]
pub struct ClusterView {
    services: HashMap<QualifiedName, Box<ServiceView>>,
    /// The Service of each slice.
    slices: HashMap<QualifiedName, QualifiedName>,
    nodes: BTreeMap<Box<str>, NodeView>,
    pods: Pods,
    service_cidrs: BTreeMap<Box<str>, Box<[IpNetwork]>>,
    synced: [bool; Kind::ALL.len()],
    triggers: Triggers,
    /// How many Services are to be served.
    served: usize,
}

impl ClusterView {
    /// Takes an event in, and adds to `changes` what it makes stale.
    pub(crate) fn apply(&mut self, event: Event, changes: &mut Changes) {
        match event {
            Event::Upsert(object) => self.upsert(object, changes),
            Event::Delete(key) => self.delete(&key, changes),
            Event::Replace { kind, objects, unread } => self.replace(kind, objects, unread, changes),
            Event::Synced(kind) => self.set_synced(kind),
        }
    }

    /// Whether all objects of every kind that decides over traffic have been told once. Pods only lend their names.
    pub fn is_synced(&self) -> bool {
        [Kind::Service, Kind::EndpointSlice, Kind::Node].into_iter().all(|kind| self.synced[kind as usize])
    }

    /// `namespace/name` of the pod that has an address of its own.
    pub fn pod_name(&self, addr: IpAddr) -> Option<&QualifiedName> {
        self.pods.name(addr)
    }

    /// How many objects of a kind there are, of those that mean something here: Services with an address to serve, slices of such
    /// Services or of ones that are not known.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Service => self.served,
            Kind::EndpointSlice => self.slices.len(),
            Kind::Node => self.nodes.len(),
            Kind::Pod => self.pods.len(),
            Kind::ServiceCidr => self.service_cidrs.len(),
        }
    }

    /// What set off the changes of slices that were told and not committed.
    pub(crate) fn triggers(&mut self) -> &mut Triggers {
        &mut self.triggers
    }

    /// The ranges that the cluster addresses of Services are taken from, ascending. None where the cluster does not tell.
    pub fn service_cidrs(&self) -> Vec<IpNetwork> {
        let mut ranges: Vec<_> = self.service_cidrs.values().flatten().copied().collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }

    pub(crate) fn service(&self, name: &QualifiedName) -> Option<&ServiceView> {
        self.services.get(name).map(Box::as_ref)
    }

    pub(crate) fn service_mut(&mut self, name: &QualifiedName) -> Option<&mut ServiceView> {
        self.services.get_mut(name).map(Box::as_mut)
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &QualifiedName> {
        self.services.keys()
    }

    pub(crate) fn nodes(&self) -> &BTreeMap<Box<str>, NodeView> {
        &self.nodes
    }

    fn set_synced(&mut self, kind: Kind) {
        self.synced[kind as usize] = true;
    }

    fn upsert(&mut self, object: Object, changes: &mut Changes) {
        match object {
            Object::Service(service) => {
                let view = validate::service(&service, &mut changes.warnings);
                self.set_service(NameParts::of(&service.metadata), view, changes);
            }
            Object::EndpointSlice(slice) => {
                let name = NameParts::of(&slice.metadata);
                let owner = validate::slice_owner(&slice, &mut changes.warnings);
                let trigger = slice.metadata.annotations.last_change_trigger_time;
                let view = validate::slice(&slice, &mut changes.warnings);
                match (owner, view) {
                    (Some(owner), Some(view)) => self.set_slice(name, owner, view, trigger, changes),
                    _ => self.remove_slice(name, changes),
                }
            }
            Object::Node(node) => {
                let view = validate::node(&node, &mut changes.warnings);
                self.set_node(&node.metadata.name, Some(view), changes);
            }
            Object::Pod(pod) => self.pods.set(NameParts::of(&pod.metadata).into(), validate::pod(&pod)),
            Object::ServiceCidr(cidr) => {
                let ranges = validate::service_cidr(&cidr, &mut changes.warnings);
                self.service_cidrs.insert(cidr.metadata.name, ranges);
            }
        }
    }

    fn delete(&mut self, key: &ObjectKey, changes: &mut Changes) {
        match key.kind {
            Kind::Service => self.set_service(key.into(), None, changes),
            Kind::EndpointSlice => self.remove_slice(key.into(), changes),
            Kind::Node => self.set_node(&key.name, None, changes),
            Kind::Pod => self.pods.set(QualifiedName::new(&key.namespace, &key.name), Box::default()),
            Kind::ServiceCidr => drop(self.service_cidrs.remove(&key.name)),
        }
    }

    fn replace(&mut self, kind: Kind, objects: Vec<Object>, unread: Vec<ObjectKey>, changes: &mut Changes) {
        let there: HashSet<ObjectKey> = objects.iter().map(Object::key).chain(unread).collect();
        let gone = self.keys(kind).into_iter().filter(|key| !there.contains(key));
        for key in gone.collect::<Vec<_>>() {
            self.delete(&key, changes);
        }
        for object in objects.into_iter().filter(|object| object.kind() == kind) {
            self.upsert(object, changes);
        }
        self.set_synced(kind);
    }

    fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
        match kind {
            Kind::Service => {
                let known = self.services.iter().filter(|(_, view)| view.service.is_some());
                known.map(|(name, _)| name.key(kind)).collect()
            }
            Kind::EndpointSlice => self.slices.keys().map(|name| name.key(kind)).collect(),
            Kind::Node => self.nodes.keys().map(|name| ObjectKey::new(kind, "", name)).collect(),
            Kind::Pod => self.pods.names().map(|name| name.key(kind)).collect(),
            Kind::ServiceCidr => {
                self.service_cidrs.keys().map(|name| ObjectKey::new(kind, "", name)).collect()
            }
        }
    }

    fn set_service(&mut self, name: NameParts<'_>, service: Option<Service>, changes: &mut Changes) {
        let known = self.services.get(&name).and_then(|view| view.service.as_ref());
        if known == service.as_ref() {
            return;
        }
        self.served = self.served + usize::from(service.is_some()) - usize::from(known.is_some());
        let mut entry = self.entry(name);
        entry.get_mut().service = service;
        changes.service(entry.key(), Extent::Whole);
    }

    /// What is known of a Service; a new name gets its place.
    fn entry(&mut self, name: NameParts<'_>) -> OccupiedEntry<'_, QualifiedName, Box<ServiceView>> {
        match self.services.entry_ref(&name) {
            EntryRef::Occupied(entry) => entry,
            EntryRef::Vacant(entry) => entry.insert_entry_with_key(name.into(), Box::default()),
        }
    }

    /// Forgets a Service that is neither there nor waited for by slices, once nothing leads to it.
    pub(crate) fn forget_if_empty(&mut self, name: &QualifiedName) {
        if self.services.get(name).is_some_and(|view| view.is_empty()) {
            self.services.remove(name);
        }
    }

    fn set_slice(
        &mut self,
        name: NameParts<'_>,
        owner: NameParts<'_>,
        slice: Slice,
        trigger: Option<TriggerTime>,
        changes: &mut Changes,
    ) {
        let mut entry = self.entry(owner);
        let owner = entry.key().clone();
        let view = entry.get_mut();
        let before = kept::before(&owner, view);
        let family = slice.family;
        let is_new = match view.slices.iter_mut().find(|known| known.name == slice.name) {
            Some(known) if *known == slice => return,
            Some(known) => {
                *known = slice;
                false
            }
            None => {
                view.slices.push(slice);
                true
            }
        };
        kept::keep(&owner, view, before, changes);
        if let Some(time) = trigger {
            self.triggers.add(&owner, family, time);
        }
        changes.service(&owner, Extent::Endpoints);
        if is_new && let Some(other) = self.slices.insert(name.into(), owner) {
            self.take_slice(name, &other, changes);
        }
    }

    fn remove_slice(&mut self, name: NameParts<'_>, changes: &mut Changes) {
        if let Some(owner) = self.slices.remove(&name) {
            self.take_slice(name, &owner, changes);
        }
    }

    /// Takes a slice away from a Service that had it.
    fn take_slice(&mut self, name: NameParts<'_>, owner: &QualifiedName, changes: &mut Changes) {
        if let Some(view) = self.services.get_mut(owner) {
            let before = kept::before(owner, view);
            view.slices.retain(|slice| slice.name != name.name);
            kept::keep(owner, view, before, changes);
        }
        self.forget_if_empty(owner);
        self.triggers.forget(owner);
        changes.service(owner, Extent::Endpoints);
    }

    fn set_node(&mut self, name: &str, node: Option<NodeView>, changes: &mut Changes) {
        let known = self.nodes.get(name);
        if known == node.as_ref() {
            return;
        }
        known.into_iter().chain(&node).for_each(|node| changes.node(node));
        match node {
            Some(node) => drop(self.nodes.insert(name.into(), node)),
            None => drop(self.nodes.remove(name)),
        }
    }
}
