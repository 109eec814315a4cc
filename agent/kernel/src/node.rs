//! The node's devices and addresses, and which pods are behind which device.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt as _, StreamExt as _};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;

use crate::Error;
use crate::netlink::Netlink;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index: given to another device once this one is gone.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// The largest packet that it carries, in bytes from the IP header on.
    pub mtu: u32,
    /// Whether it is one end of a veth pair.
    pub veth: bool,
}

/// What netlink tells of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeNet {
    /// The devices by index.
    pub devices: BTreeMap<u32, Device>,
    /// The node's own addresses, each with the index of its device.
    pub addresses: BTreeMap<IpAddr, u32>,
    /// The pods of this node: the address of each host route (/32 or /128) of the main table that leads to a veth without
    /// a gateway, with the index of that veth.
    pub endpoints: BTreeMap<IpAddr, u32>,
}

impl NodeNet {
    /// Reads it all, in the network namespace of this thread.
    ///
    /// # Errors
    /// [`Error::System`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn read() -> Result<Self, Error> {
        let mut netlink = Netlink::open().map_err(Error::system("open", "netlink"))?;
        let mut node = Self::default();
        let failed = |what: &'static str| Error::system("netlink dump", what);
        let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
        for message in netlink.dump(links).await.map_err(failed("links"))? {
            if let RouteNetlinkMessage::NewLink(link) = message {
                node.add_link(link);
            }
        }
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        for message in netlink.dump(addresses).await.map_err(failed("addresses"))? {
            if let RouteNetlinkMessage::NewAddress(address) = message {
                node.add_address(address);
            }
        }
        for route in main_table(&mut netlink).await? {
            node.add_route(&route);
        }
        Ok(node)
    }

    /// The device of this name.
    #[must_use]
    pub fn device_named(&self, name: &str) -> Option<&Device> {
        self.devices.values().find(|device| device.name == name)
    }

    /// The device that has this address of the node's own.
    #[must_use]
    pub fn device_of(&self, address: IpAddr) -> Option<&Device> {
        self.devices.get(self.addresses.get(&address)?)
    }

    /// The veth behind which the pod of this address is.
    #[must_use]
    pub fn endpoint(&self, address: IpAddr) -> Option<&Device> {
        self.devices.get(self.endpoints.get(&address)?)
    }

    fn add_link(&mut self, link: LinkMessage) {
        let mut device = Device { ifindex: link.header.index, name: String::new(), mtu: 0, veth: false };
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name = name,
                LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                LinkAttribute::LinkInfo(infos) => {
                    device.veth |= infos.contains(&LinkInfo::Kind(InfoKind::Veth));
                }
                _ => {}
            }
        }
        self.devices.insert(device.ifindex, device);
    }

    fn add_address(&mut self, message: AddressMessage) {
        let ifindex = message.header.index;
        // On a point-to-point device `Address` is the peer's and `Local` the node's own.
        let mut own = None;
        for attribute in message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => own = Some(ip),
                AddressAttribute::Address(ip) => own = own.or(Some(ip)),
                _ => {}
            }
        }
        if let Some(ip) = own {
            self.addresses.insert(ip, ifindex);
            self.endpoints.remove(&ip);
        }
    }

    fn add_route(&mut self, route: &RouteMessage) {
        let Some((ip, ifindex)) = host_route(route) else { return };
        let to_veth = self.devices.get(&ifindex).is_some_and(|device| device.veth);
        // IPv6 gives an address of /128 on a device a route of its own in the main table.
        if to_veth && !self.addresses.contains_key(&ip) {
            self.endpoints.insert(ip, ifindex);
        }
    }
}

/// The routes of both families' main tables.
pub(crate) async fn main_table(netlink: &mut Netlink) -> Result<Vec<RouteMessage>, Error> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        let answers = match netlink.dump(RouteNetlinkMessage::GetRoute(request)).await {
            // A table is made with its first route.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            answers => answers.map_err(Error::system("netlink dump", "routes"))?,
        };
        routes.extend(answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        }));
    }
    Ok(routes)
}

/// The destination and device of a route to one address on the device itself.
fn host_route(route: &RouteMessage) -> Option<(IpAddr, u32)> {
    let (mut ip, mut ifindex) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(destination) => ip = to_ip(destination),
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::Table(table) if *table != u32::from(RouteHeader::RT_TABLE_MAIN) => return None,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => return None,
            _ => {}
        }
    }
    let (ip, ifindex) = (ip?, ifindex?);
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let header = &route.header;
    (header.kind == RouteType::Unicast && header.destination_prefix_length == whole).then_some((ip, ifindex))
}

/// An address of a route, if it is one of IP.
pub(crate) fn to_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

/// Tells when something of [`NodeNet`] may have changed.
pub struct Monitor {
    changes: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
}

impl Monitor {
    const GROUPS: [MulticastGroup; 5] = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv6Route,
    ];

    /// Starts to listen, in the network namespace of this thread. Open it before the first [`NodeNet::read`], so that
    /// nothing is missed between the two.
    ///
    /// # Errors
    /// [`Error::System`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open() -> Result<Self, Error> {
        let (connection, _, changes) = rtnetlink::new_multicast_connection(&Self::GROUPS)
            .map_err(Error::system("open", "netlink monitor"))?;
        tokio::spawn(connection);
        Ok(Self { changes })
    }

    /// Waits until something may have changed since the last call: read anew then. Takes in all that is waiting, and an
    /// overrun of the socket counts as a change. So does the end of its connection, for which a new one is opened. May be
    /// cancelled.
    ///
    /// # Errors
    /// [`Error::System`].
    pub async fn changed(&mut self) -> Result<(), Error> {
        if self.changes.next().await.is_none() {
            *self = Self::open()?;
        }
        while let Some(Some(_)) = self.changes.next().now_or_never() {}
        Ok(())
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(ip: &str, prefix: u8, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let ip: IpAddr = ip.parse().unwrap();
        let mut message = RouteMessage::default();
        message.header.destination_prefix_length = prefix;
        message.header.kind = RouteType::Unicast;
        message.attributes = attributes;
        message.attributes.push(RouteAttribute::Destination(ip.into()));
        message
    }

    fn node() -> NodeNet {
        let mut node = NodeNet::default();
        for (ifindex, veth) in [(2, false), (3, true)] {
            let device = Device { ifindex, name: format!("d{ifindex}"), mtu: 1500, veth };
            node.devices.insert(ifindex, device);
        }
        node
    }

    #[test]
    fn a_host_route_to_a_veth_makes_a_pod_known_and_no_other_route_does() {
        let mut node = node();
        let oif = |ifindex| RouteAttribute::Oif(ifindex);
        let gateway: IpAddr = "10.0.0.9".parse().unwrap();
        node.add_route(&route("10.1.0.5", 32, vec![oif(3)]));
        node.add_route(&route("fd00::5", 128, vec![oif(3)]));
        node.add_route(&route("10.1.0.6", 32, vec![oif(2)]));
        node.add_route(&route("10.1.0.0", 24, vec![oif(3)]));
        node.add_route(&route("10.1.0.7", 32, vec![oif(3), RouteAttribute::Gateway(gateway.into())]));
        node.add_route(&route("10.1.0.8", 32, vec![oif(3), RouteAttribute::Table(100)]));
        let known: Vec<_> = node.endpoints.iter().map(|(ip, ifindex)| (ip.to_string(), *ifindex)).collect();
        assert_eq!(known, [("10.1.0.5".to_owned(), 3), ("fd00::5".to_owned(), 3)]);
    }

    #[test]
    fn an_address_of_the_node_is_no_pod() {
        let mut node = node();
        node.addresses.insert("fd00::1".parse().unwrap(), 3);
        node.add_route(&route("fd00::1", 128, vec![RouteAttribute::Oif(3)]));
        assert_eq!(node.endpoints.len(), 0);
    }
}
