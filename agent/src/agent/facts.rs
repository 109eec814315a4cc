//! What the model is told of this node: made of what netlink tells and of the node's own Node object. Pure.

use std::net::IpAddr;

use penstock_kernel::node::{Device, NodeNet};
use penstock_model::NodeFacts;
use penstock_model::objects::{Event, Kind, Node, Object};
use penstock_model::tables::{Family, PerFamily};

/// What the cluster says of this node.
#[derive(Debug, Default)]
pub(super) struct OwnNode {
    name: Box<str>,
    internal: Vec<IpAddr>,
    eligible: Option<bool>,
    has_pod_ranges: bool,
}

impl OwnNode {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The internal addresses, in the order of the Node object.
    pub(super) fn internal(&self) -> &[IpAddr] {
        &self.internal
    }

    /// Whether load balancers should send to this node; `None` while its object was never seen.
    pub(super) fn eligible(&self) -> Option<bool> {
        self.eligible
    }

    /// Looks for this node in an event; gives whether its addresses have changed. A Node object that is deleted leaves what it
    /// said last, as in kube-proxy: the node still runs, or this agent would not.
    pub(super) fn observe(&mut self, event: &Event) -> bool {
        let node = match event {
            Event::Upsert(Object::Node(node)) => Some(node).filter(|node| self.is(node)),
            Event::Replace { kind: Kind::Node, objects, .. } => {
                objects.iter().find_map(|object| match object {
                    Object::Node(node) => Some(node).filter(|node| self.is(node)),
                    _ => None,
                })
            }
            _ => None,
        };
        let Some(node) = node else { return false };
        self.has_pod_ranges = !node.spec.pod_cidrs.is_empty();
        let addresses = node.status.addresses.iter().filter(|address| address.is_internal());
        let internal: Vec<_> = addresses.filter_map(|address| address.address.ip()).collect();
        let changed = internal != self.internal;
        self.internal = internal;
        self.eligible = Some(node.is_eligible());
        changed
    }

    /// What the node's own object does not say, and what goes without it. Everything else goes on, Services above all.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match (self.eligible.is_some(), self.internal.is_empty(), self.has_pod_ranges) {
            (false, ..) => Some(
                "there is no Node object of this name, is --node right? Pods of other nodes are left to the kernel's routes",
            ),
            (true, true, _) => {
                Some("the Node object has no InternalIP: pods of other nodes are left to the kernel's routes")
            }
            (true, false, false) => {
                Some("the Node object has no podCIDRs: other nodes make no routes to the pods of this one")
            }
            (true, false, true) => None,
        }
    }

    fn is(&self, node: &Node) -> bool {
        node.metadata.name == self.name
    }
}

/// The devices towards the other nodes: the one that was named, or those that have the node's internal addresses.
pub(super) fn uplinks<'a>(
    net: &'a NodeNet,
    own: &OwnNode,
    named: Option<&str>,
) -> PerFamily<Option<&'a Device>> {
    if let Some(name) = named {
        let device = net.device_named(name);
        return PerFamily { v4: device, v6: device };
    }
    let mut uplinks = PerFamily { v4: None, v6: None };
    for address in own.internal() {
        let uplink = uplinks.get_mut(Family::of(*address));
        *uplink = uplink.or_else(|| net.device_of(*address));
    }
    uplinks
}

/// All that the model is told of the node.
pub(super) fn facts(net: &NodeNet, own: &OwnNode, uplinks: PerFamily<Option<&Device>>) -> NodeFacts {
    let endpoints = net.endpoints.keys().filter_map(|ip| Some((*ip, device(net.endpoint(*ip)?))));
    NodeFacts {
        node: own.name.clone(),
        addresses: net.addresses.keys().copied().collect(),
        uplink: PerFamily { v4: uplinks.v4.map(device), v6: uplinks.v6.map(device) },
        endpoints: endpoints.collect(),
    }
}

/// An MTU over 65,535 bytes, which the loopback has, carries every packet that there is.
fn device(device: &Device) -> penstock_model::Device {
    penstock_model::Device { ifindex: device.ifindex, mtu: u16::try_from(device.mtu).unwrap_or(u16::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net() -> NodeNet {
        let device = |ifindex, name: &str, veth| {
            let mtu = if ifindex == 1 { 65_536 } else { 1_500 };
            (ifindex, Device { ifindex, name: name.into(), mtu, veth })
        };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        NodeNet {
            devices: [device(1, "lo", false), device(2, "eth0", false), device(5, "veth5", true)].into(),
            addresses: [(ip("127.0.0.1"), 1), (ip("192.0.2.1"), 2), (ip("fd00::1"), 2)].into(),
            endpoints: [(ip("10.1.0.5"), 5)].into(),
        }
    }

    fn node(name: &str, addresses: &str) -> Event {
        let json =
            format!(r#"{{"metadata": {{"name": "{name}"}}, "status": {{"addresses": [{addresses}]}}}}"#);
        Event::Upsert(Object::Node(serde_json::from_str(&json).unwrap()))
    }

    const INTERNAL: &str =
        r#"{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "192.0.2.1"}"#;

    #[test]
    fn the_uplink_has_the_internal_address_of_the_nodes_own_object() {
        let (net, mut own) = (net(), OwnNode::new("n1"));
        assert_eq!(uplinks(&net, &own, None).v4, None);
        assert!(!own.observe(&node("n2", INTERNAL)));
        assert!(own.observe(&node("n1", INTERNAL)));
        assert!(!own.observe(&node("n1", INTERNAL)));
        let found = uplinks(&net, &own, None);
        assert_eq!(found.v4.map(|device| device.ifindex), Some(2));
        assert_eq!(found.v6, None);
    }

    #[test]
    fn a_node_that_is_tainted_or_deleted_is_not_eligible_and_one_never_seen_is_unknown() {
        let mut own = OwnNode::new("n1");
        assert_eq!(own.eligible(), None);
        let mut told = |metadata: &str, taints: &str| {
            let json =
                format!(r#"{{"metadata": {{"name": "n1"{metadata}}}, "spec": {{"taints": [{taints}]}}}}"#);
            own.observe(&Event::Upsert(Object::Node(serde_json::from_str(&json).unwrap())));
            own.eligible()
        };
        assert_eq!(told("", r#"{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}"#), Some(true));
        assert_eq!(told("", r#"{"key": "ToBeDeletedByClusterAutoscaler", "value": "1"}"#), Some(false));
        assert_eq!(told(r#", "deletionTimestamp": "2026-01-01T00:00:00Z""#, ""), Some(false));
        assert_eq!(told("", ""), Some(true));
        let gone = penstock_model::objects::ObjectKey::new(Kind::Node, "", "n1");
        assert!(!own.observe(&Event::Delete(gone)));
        assert_eq!(own.eligible(), Some(true));
    }

    #[test]
    fn what_the_nodes_own_object_does_not_say_is_told() {
        let mut own = OwnNode::new("n1");
        assert!(own.missing().unwrap().contains("no Node object"));
        own.observe(&node("n1", ""));
        assert!(own.missing().unwrap().contains("no InternalIP"));
        own.observe(&node("n1", INTERNAL));
        assert!(own.missing().unwrap().contains("no podCIDRs"));
        let whole = r#"{"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.1.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}"#;
        own.observe(&Event::Upsert(Object::Node(serde_json::from_str(whole).unwrap())));
        assert_eq!(own.missing(), None);
    }

    #[test]
    fn a_named_uplink_is_taken_for_both_families() {
        let (net, own) = (net(), OwnNode::new("n1"));
        let found = uplinks(&net, &own, Some("eth0"));
        assert_eq!((found.v4.map(|it| it.ifindex), found.v6.map(|it| it.ifindex)), (Some(2), Some(2)));
    }

    #[test]
    fn pods_come_with_the_device_that_they_are_behind() {
        let (net, own) = (net(), OwnNode::new("n1"));
        let facts = facts(&net, &own, PerFamily { v4: net.devices.get(&1), v6: None });
        let pod: IpAddr = "10.1.0.5".parse().unwrap();
        assert_eq!(facts.endpoints[&pod], penstock_model::Device { ifindex: 5, mtu: 1_500 });
        assert_eq!(facts.uplink.v4.unwrap().mtu, u16::MAX);
        assert_eq!(facts.addresses.len(), 3);
    }
}
