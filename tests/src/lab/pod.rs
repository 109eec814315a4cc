//! Pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::manifest::{Endpoint, Family};
use super::node::Node;
use super::place::{Place, Runs};
use super::run::Run;
use super::{cgroup, ip};

/// The MAC address of the node's end of every pod's wire, as Calico has it; [`GATEWAY6`] follows from it.
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";
/// The pod's gateway, which no device has: the node answers ARP for it (proxy ARP).
const GATEWAY4: &str = "169.254.1.1";
/// The pod's gateway: the link-local address of [`HOST_MAC`] (RFC 4291, appendix A).
const GATEWAY6: &str = "fe80::ecee:eeff:feee:eeee";

/// One pod: a network namespace with one device, and a cgroup below its node's.
#[derive(Debug)]
pub struct Pod {
    name: String,
    node: String,
    node_number: u8,
    index: u8,
    namespace: String,
    place: Place,
}

impl Pod {
    pub(crate) fn new(run: &Run, node: &Node, name: &str, index: u8) -> Result<Self> {
        let namespace = run.name(&format!("{}-{name}", node.name()));
        let group = cgroup::root()?.join(node.namespace()).join(name);
        cgroup::create(&group)?;
        ip::add_namespaces(std::slice::from_ref(&namespace))?;
        let place = Place::open(&namespace, &group, None)?;
        let pod = Self {
            name: name.to_owned(),
            node: node.name(),
            node_number: node.number(),
            index,
            namespace,
            place,
        };
        pod.wire(node)?;
        Ok(pod)
    }

    fn wire(&self, node: &Node) -> Result<()> {
        let device = self.host_device();
        super::cluster::prepare(&self.namespace)?;
        ip::batch(
            &node.namespace(),
            &[
                format!(
                    "link add {device} address {HOST_MAC} type veth peer name eth0 netns {}",
                    self.namespace
                ),
                format!("link set {device} up"),
            ],
        )?;
        ip::batch(
            &self.namespace,
            &[
                "link set lo up".to_owned(),
                "link set eth0 up".to_owned(),
                format!("address add {}/32 dev eth0", self.ip4()),
                format!("address add {}/128 dev eth0 nodad", self.ip6()),
                format!("route add {GATEWAY4} dev eth0 scope link"),
                format!("route add default via {GATEWAY4} dev eth0"),
                format!("route add default via {GATEWAY6} dev eth0"),
            ],
        )?;
        node.sysctl(&[
            (&format!("ipv4/conf/{device}/proxy_arp"), "1"),
            // Without it an answer for another's address is held back for up to 0.8 s.
            (&format!("ipv4/neigh/{device}/proxy_delay"), "0"),
        ])?;
        ip::batch(
            &node.namespace(),
            &[
                format!("route add {}/32 dev {device} scope link", self.ip4()),
                format!("route add {}/128 dev {device}", self.ip6()),
            ],
        )
    }

    /// Its name, unique on its node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The name of its network namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The device in the node's network namespace at the other end of its wire.
    pub fn host_device(&self) -> String {
        format!("pst{:04x}", self.index)
    }

    /// Its IPv4 address.
    pub fn ip4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.node_number, self.index)
    }

    /// Its IPv6 address.
    pub fn ip6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd44, self.node_number.into(), 0, 0, 0, 0, 0, self.index.into())
    }

    /// Its address of this family.
    pub fn ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.ip4().into(),
            Family::V6 => self.ip6().into(),
        }
    }

    /// The pod as an endpoint of a Service.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { ip4: self.ip4(), ip6: self.ip6(), node: self.node.clone(), ready: true }
    }
}

impl Runs for Pod {
    fn place(&self) -> &Place {
        &self.place
    }
}
