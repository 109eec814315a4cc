//! Direct routes to the pods of other nodes.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};

use crate::Error;
use crate::netlink::Netlink;
use crate::node::{main_table, to_ip};

/// `rtm_protocol` of every route that Penstock makes, and the mark by which it knows them: the letter p, 112. Neither
/// `include/uapi/linux/rtnetlink.h` nor iproute2's `rt_protos` has another use for it.
pub const PROTOCOL: u8 = 0x70;

/// A route to the pods of another node on the same link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The first address of the range.
    pub destination: IpAddr,
    /// The length of the range's prefix.
    pub prefix: u8,
    /// The other node's address.
    pub gateway: IpAddr,
    /// The device that leads there.
    pub ifindex: u32,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { destination, prefix, gateway, ifindex } = self;
        write!(f, "{destination}/{prefix} via {gateway} on device {ifindex}")
    }
}

/// The routes of the main table that have a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Those that Penstock made, of this agent or one before.
    pub own: Vec<Route>,
    /// Where those lead that someone else made: first address and length of the prefix.
    pub foreign: BTreeSet<(IpAddr, u8)>,
}

/// Reads the routes.
///
/// # Errors
/// [`Error::System`].
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn read() -> Result<Routes, Error> {
    let mut routes = Routes::default();
    for (route, protocol) in all(&mut open()?).await? {
        if protocol == PROTOCOL {
            routes.own.push(route);
        } else {
            routes.foreign.insert((route.destination, route.prefix));
        }
    }
    routes.own.sort_unstable();
    Ok(routes)
}

/// Makes a route, or changes ours to the same destination. That it is there already is no error.
///
/// # Errors
/// [`Error::ForeignRoute`] where someone else made a route to that destination; [`Error::System`] where the kernel
/// refuses, `ENETUNREACH` where the gateway is not on the device's link.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn ensure(route: &Route) -> Result<(), Error> {
    let mut netlink = open()?;
    let failed = || Error::system("add route", route);
    let message = message(route)?;
    match netlink.done(netlink.routes().add(message.clone()).execute()).await {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        result => return result.map_err(failed()),
    }
    let there: Vec<(Route, u8)> = all(&mut netlink)
        .await?
        .into_iter()
        .filter(|(other, _)| (other.destination, other.prefix) == (route.destination, route.prefix))
        .collect();
    if let Some((_, protocol)) = there.iter().find(|(_, protocol)| *protocol != PROTOCOL) {
        let Route { destination, prefix, .. } = *route;
        return Err(Error::ForeignRoute { destination, prefix, protocol: *protocol });
    }
    if there.iter().any(|(other, _)| other == route) {
        return Ok(());
    }
    netlink.done(netlink.routes().add(message).replace().execute()).await.map_err(failed())
}

/// Removes a route of ours; that it is gone is no error.
///
/// # Errors
/// [`Error::System`].
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn remove(route: &Route) -> Result<(), Error> {
    // The kernel compares the protocol in the request with the route's, so this takes away none but ours.
    let netlink = open()?;
    match netlink.done(netlink.routes().del(message(route)?).execute()).await {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENODEV)) => Ok(()),
        result => result.map_err(Error::system("delete route", route)),
    }
}

fn open() -> Result<Netlink, Error> {
    Netlink::open().map_err(Error::system("open", "netlink"))
}

/// A route of the main table, for the builder takes that where no other is named.
fn message(route: &Route) -> Result<RouteMessage, Error> {
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .output_interface(route.ifindex)
        .protocol(RouteProtocol::from(PROTOCOL))
        .destination_prefix(route.destination, route.prefix)
        .and_then(|builder| builder.gateway(route.gateway))
        .map_err(io::Error::other)
        .map_err(Error::system("describe route", route))?;
    Ok(builder.build())
}

/// The routes of the main table that have a destination, those without gateway with their destination for one, each with
/// its protocol.
async fn all(netlink: &mut Netlink) -> Result<Vec<(Route, u8)>, Error> {
    Ok(main_table(netlink).await?.iter().filter_map(parse).collect())
}

fn parse(message: &RouteMessage) -> Option<(Route, u8)> {
    let (mut destination, mut gateway, mut ifindex) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = to_ip(address),
            RouteAttribute::Gateway(address) => gateway = to_ip(address),
            RouteAttribute::Oif(index) => ifindex = *index,
            RouteAttribute::Table(table) if *table != u32::from(RouteHeader::RT_TABLE_MAIN) => return None,
            _ => {}
        }
    }
    let destination = destination?;
    let prefix = message.header.destination_prefix_length;
    let gateway = gateway.unwrap_or(destination);
    Some((Route { destination, prefix, gateway, ifindex }, message.header.protocol.into()))
}
