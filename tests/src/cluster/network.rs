//! The wires: a router between the nodes' network, the control plane and a client outside the cluster.

use std::fmt::Display;

use anyhow::Result;
use serde_json::Value;

use super::addresses::{self, Addresses, Segment};
use super::kubectl::CONTROL_PLANE;
use super::node;
use crate::lab::{Run, ip, prepare};

/// The thing of a run that has the router's devices.
const ROUTER: &str = "router";
/// The thing of a run that is the client outside the cluster.
pub(crate) const CLIENT: &str = "client";
/// Everybody's way out, inside their network namespaces.
const UPLINK: &str = "eth0";

/// Makes all network namespaces and their wires: the nodes on one bridge, each of the others on a wire of its own.
pub(crate) fn build(run: &Run, nodes: u8) -> Result<()> {
    let router = run.name(ROUTER);
    let mut hosts = vec![
        (CONTROL_PLANE.to_owned(), Segment::ControlPlane, addresses::control_plane()),
        (CLIENT.to_owned(), Segment::Outside, addresses::client()),
    ];
    hosts.extend((1..=nodes).map(|number| (node::name(number), Segment::Nodes, addresses::node(number))));

    let mut namespaces = vec![router.clone()];
    namespaces.extend(hosts.iter().map(|(thing, ..)| run.name(thing)));
    ip::add_namespaces(&namespaces)?;
    namespaces.iter().try_for_each(|namespace| prepare(namespace))?;

    let mut lines = vec!["link set lo up".to_owned(), "link add nodes type bridge".to_owned()];
    for (thing, segment, _) in &hosts {
        lines.push(format!("link add {thing} type veth peer name {UPLINK} netns {}", run.name(thing)));
        match segment {
            Segment::Nodes => lines.push(format!("link set {thing} master nodes up")),
            Segment::ControlPlane | Segment::Outside => lines.extend(up(thing, segment.router())),
        }
    }
    lines.extend(up("nodes", Segment::Nodes.router()));
    ip::batch(&router, &lines)?;

    for (thing, segment, own) in hosts {
        let gateway = segment.router();
        let mut lines = vec!["link set lo up".to_owned()];
        lines.extend(up(UPLINK, own));
        lines.push(format!("route add default via {}", gateway.v4));
        lines.push(format!("route add default via {}", gateway.v6));
        ip::batch(&run.name(&thing), &lines)?;
    }
    Ok(())
}

/// Commands that bring a device up with these addresses.
fn up(device: impl Display, addresses: Addresses) -> [String; 3] {
    [
        format!("address add {}/24 dev {device}", addresses.v4),
        format!("address add {}/64 dev {device} nodad", addresses.v6),
        format!("link set {device} up"),
    ]
}

/// A node's pod ranges, as the Node object has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodRanges {
    /// The node's number.
    pub(crate) node: u8,
    /// One of each family.
    pub(crate) ranges: Vec<String>,
}

impl PodRanges {
    /// What the object says; `None` before it says anything.
    pub(crate) fn of(number: u8, node: &Value) -> Option<Self> {
        let ranges = node["spec"]["podCIDRs"].as_array()?;
        let ranges = ranges.iter().filter_map(|range| range.as_str().map(str::to_owned)).collect();
        Some(Self { node: number, ranges })
    }
}

/// Sets the routes to the pods, on the router and from each node straight to the others.
pub(crate) fn route_pods(run: &Run, all: &[PodRanges]) -> Result<()> {
    let routes_around = |own: Option<u8>| -> Vec<String> {
        let others = all.iter().filter(|other| Some(other.node) != own);
        others
            .flat_map(|other| {
                let gateway = addresses::node(other.node);
                other.ranges.iter().map(move |range| {
                    let gateway: &dyn Display = if range.contains(':') { &gateway.v6 } else { &gateway.v4 };
                    format!("route replace {range} via {gateway}")
                })
            })
            .collect()
    };
    ip::batch(&run.name(ROUTER), &routes_around(None))?;
    all.iter().try_for_each(|own| ip::batch(&run.name(&node::name(own.node)), &routes_around(Some(own.node))))
}
