//! The way to an address: which next hop leads there from this node.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use penstock_abi::NextHop;

use crate::facts::{Device, NodeFacts};
use crate::tables::{Family, PerFamily};
use crate::view::NodeView;

/// A route of the node's main table that Penstock wants: a remote node's pods, by way of that node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DesiredRoute {
    /// The range of the remote pods.
    pub dest: IpNetwork,
    /// The remote node's internal address of the same family.
    pub gateway: IpAddr,
    /// The uplink.
    pub ifindex: u32,
}

/// The ways from this node, made of what the node and the cluster tell.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    facts: NodeFacts,
    own: HashSet<IpAddr>,
    /// Addresses of remote nodes, and the address that each is reached at.
    peers: HashMap<IpAddr, IpAddr>,
    ranges: PerFamily<Ranges>,
}

/// Ranges of remote pods, looked up longest prefix first. A cluster has very few lengths: one of a family as a rule.
#[derive(Debug, Default)]
struct Ranges {
    by_length: BTreeMap<std::cmp::Reverse<u8>, HashMap<IpNetwork, IpAddr>>,
}

impl Ranges {
    fn gateway(&self, addr: IpAddr) -> Option<IpAddr> {
        self.by_length.iter().find_map(|(length, ranges)| {
            let range = IpNetwork::new(addr, length.0).ok()?;
            let range = IpNetwork::new(range.network(), length.0).ok()?;
            ranges.get(&range).copied()
        })
    }
}

impl Routing {
    /// Of two nodes that claim one range or address, the first by name has it.
    pub(crate) fn new(facts: NodeFacts, nodes: &BTreeMap<Box<str>, NodeView>) -> Self {
        let mut routing = Self { own: facts.addresses.iter().copied().collect(), facts, ..Self::default() };
        for (name, node) in nodes {
            if *name == routing.facts.node {
                routing.own.extend(&node.addresses);
                continue;
            }
            for addr in &node.addresses {
                if let Some(gateway) = node.internal.get(Family::of(*addr)) {
                    routing.peers.entry(*addr).or_insert(*gateway);
                }
            }
            for range in &node.pod_cidrs {
                let family = Family::of(range.ip());
                if let Some(gateway) = node.internal.get(family) {
                    let ranges = &mut routing.ranges.get_mut(family).by_length;
                    let ranges = ranges.entry(std::cmp::Reverse(range.prefix())).or_default();
                    ranges.entry(*range).or_insert(*gateway);
                }
            }
        }
        routing
    }

    pub(crate) fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// The next hop to an endpoint's address.
    pub(crate) fn resolve(&self, addr: IpAddr) -> NextHop {
        if let Some(device) = self.facts.endpoints.get(&addr) {
            return local(*device);
        }
        if self.own.contains(&addr) {
            return NextHop::host();
        }
        let family = Family::of(addr);
        let gateway = self.peers.get(&addr).copied().or_else(|| self.ranges.get(family).gateway(addr));
        match (self.facts.uplink.get(family), gateway) {
            (Some(uplink), Some(gateway)) => NextHop::direct(uplink.ifindex, uplink.mtu, gateway),
            _ => NextHop::stack(),
        }
    }

    /// The routes to the other nodes' pods, ascending.
    pub(crate) fn routes(&self) -> Vec<DesiredRoute> {
        let mut routes = Vec::new();
        for family in Family::ALL {
            let Some(uplink) = self.facts.uplink.get(family) else { continue };
            for (dest, gateway) in self.ranges.get(family).by_length.values().flatten() {
                routes.push(DesiredRoute { dest: *dest, gateway: *gateway, ifindex: uplink.ifindex });
            }
        }
        routes.sort_unstable();
        routes
    }
}

/// The next hop to a pod on this node.
pub(crate) fn local(device: Device) -> NextHop {
    NextHop::local(device.ifindex, device.mtu)
}

/// The addresses whose ways differ between two sets of facts; `None`: any may.
pub(crate) fn changed(old: &NodeFacts, new: &NodeFacts) -> Option<Vec<IpAddr>> {
    if (&old.node, &old.uplink) != (&new.node, &new.uplink) {
        return None;
    }
    let before: HashSet<IpAddr> = old.addresses.iter().copied().collect();
    let after: HashSet<IpAddr> = new.addresses.iter().copied().collect();
    let mut changed: Vec<IpAddr> = before.symmetric_difference(&after).copied().collect();
    changed.extend(differs(old, new));
    changed.extend(differs(new, old));
    Some(changed)
}

/// The pods of one that the other does not have behind the same device.
fn differs(one: &NodeFacts, other: &NodeFacts) -> impl Iterator<Item = IpAddr> {
    let endpoints = one.endpoints.iter();
    endpoints.filter(|(addr, device)| other.endpoints.get(*addr) != Some(*device)).map(|(addr, _)| *addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn node(address: &str, range: &str) -> NodeView {
        NodeView {
            addresses: [ip(address)].into(),
            internal: PerFamily { v4: Some(ip(address)), v6: None },
            pod_cidrs: [range.parse().unwrap()].into(),
        }
    }

    fn routing() -> Routing {
        let pod = Device { ifindex: 7, mtu: 1400 };
        let facts = NodeFacts {
            node: "a".into(),
            addresses: vec![ip("192.0.2.1")],
            uplink: PerFamily { v4: Some(Device { ifindex: 2, mtu: 1500 }), v6: None },
            endpoints: [(ip("10.1.0.5"), pod)].into(),
        };
        let nodes = BTreeMap::from([
            ("a".into(), node("192.0.2.1", "10.1.0.0/24")),
            ("b".into(), node("192.0.2.2", "10.2.0.0/24")),
            ("c".into(), node("192.0.2.3", "10.2.0.128/25")),
        ]);
        Routing::new(facts, &nodes)
    }

    #[test]
    fn each_kind_of_address_has_its_way() {
        let routing = routing();
        assert_eq!(routing.resolve(ip("10.1.0.5")), NextHop::local(7, 1400));
        assert_eq!(routing.resolve(ip("192.0.2.1")), NextHop::host());
        assert_eq!(routing.resolve(ip("192.0.2.2")), NextHop::direct(2, 1500, ip("192.0.2.2")));
        assert_eq!(routing.resolve(ip("10.2.0.9")), NextHop::direct(2, 1500, ip("192.0.2.2")));
        assert_eq!(routing.resolve(ip("10.1.0.6")), NextHop::stack());
        assert_eq!(routing.resolve(ip("198.51.100.1")), NextHop::stack());
    }

    #[test]
    fn the_longest_prefix_wins() {
        assert_eq!(routing().resolve(ip("10.2.0.200")), NextHop::direct(2, 1500, ip("192.0.2.3")));
    }

    #[test]
    fn only_remote_ranges_have_routes() {
        let dests: Vec<String> = routing().routes().iter().map(|route| route.dest.to_string()).collect();
        assert_eq!(dests, ["10.2.0.0/24", "10.2.0.128/25"]);
    }

    #[test]
    fn without_an_uplink_of_the_family_the_kernel_routes() {
        let mut facts = routing().facts.clone();
        facts.uplink.v4 = None;
        let nodes = BTreeMap::from([("b".into(), node("192.0.2.2", "10.2.0.0/24"))]);
        let routing = Routing::new(facts, &nodes);
        assert_eq!(routing.resolve(ip("10.2.0.9")), NextHop::stack());
        assert_eq!(routing.routes(), []);
    }
}
