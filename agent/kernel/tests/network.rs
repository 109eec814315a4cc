//! Devices, addresses, routes and switches, by netlink.

mod common;

use std::net::IpAddr;

use common::{async_sandbox, ifindex, ip, output, sandbox, veth};
use penstock_kernel::Error;
use penstock_kernel::node::{Monitor, NodeNet};
use penstock_kernel::routes::{self, Route};
use penstock_kernel::sysctl::Switches;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn pods_are_found_by_their_host_routes_and_the_uplink_by_its_address() {
    async_sandbox(async |_| {
        let uplink = veth("pst-up", "pst-wire");
        let pod = veth("pst-pod", "pst-in");
        ip("address add 192.0.2.1/24 dev pst-up");
        ip("address add 2001:db8::1/64 dev pst-up nodad");
        ip("address add 2001:db8:1::1/128 dev pst-pod nodad");
        ip("link set pst-pod mtu 1400");
        ip("route add 10.1.0.5/32 dev pst-pod");
        ip("route add 2001:db8:1::5/128 dev pst-pod");
        ip("route add 10.2.0.0/24 via 192.0.2.2");
        ip("route add 10.1.0.9/32 via 192.0.2.2");
        ip("route add 10.1.0.8/32 dev pst-pod table 100");

        let node = NodeNet::read().await.unwrap();
        assert_eq!(node.device_of(address("192.0.2.1")).unwrap().ifindex, uplink);
        assert_eq!(node.device_of(address("2001:db8::1")).unwrap().name, "pst-up");
        assert_eq!(node.device_named("pst-pod").unwrap().mtu, 1400);
        let pods: Vec<_> = node.endpoints.iter().map(|(ip, device)| (ip.to_string(), *device)).collect();
        assert_eq!(pods, [("10.1.0.5".to_owned(), pod), ("2001:db8:1::5".to_owned(), pod)]);
    });
}

#[test]
fn a_change_of_routes_wakes_the_monitor() {
    async_sandbox(async |_| {
        veth("pst-pod", "pst-in");
        let mut monitor = Monitor::open().unwrap();
        let before = NodeNet::read().await.unwrap();
        ip("route add 10.1.0.5/32 dev pst-pod");
        while NodeNet::read().await.unwrap().endpoints == before.endpoints {
            monitor.changed().await.unwrap();
        }
        ip("link delete pst-pod");
        while NodeNet::read().await.unwrap().endpoint(address("10.1.0.5")).is_some() {
            monitor.changed().await.unwrap();
        }
    });
}

#[test]
fn routes_are_made_changed_and_removed_and_those_of_others_are_left_alone() {
    async_sandbox(async |_| {
        let device = veth("pst-up", "pst-wire");
        ip("address add 192.0.2.1/24 dev pst-up");
        ip("address add 2001:db8::1/64 dev pst-up nodad");
        let route = |destination: &str, prefix, gateway: &str| Route {
            destination: address(destination),
            prefix,
            gateway: address(gateway),
            ifindex: device,
        };
        let four = route("10.2.0.0", 24, "192.0.2.2");
        let six = route("2001:db8:2::", 64, "2001:db8::2");
        for route in [four, six] {
            routes::ensure(&route).await.unwrap();
            routes::ensure(&route).await.unwrap();
        }
        assert_eq!(routes::read().await.unwrap().own, [four, six]);

        let moved = [route("10.2.0.0", 24, "192.0.2.3"), route("2001:db8:2::", 64, "2001:db8::3")];
        for route in &moved {
            routes::ensure(route).await.unwrap();
        }
        assert_eq!(routes::read().await.unwrap().own, moved);

        ip("route add 10.3.0.0/24 via 192.0.2.9");
        let foreign = route("10.3.0.0", 24, "192.0.2.2");
        assert!(matches!(routes::ensure(&foreign).await, Err(Error::ForeignRoute { prefix: 24, .. })));
        routes::remove(&route("10.3.0.0", 24, "192.0.2.9")).await.unwrap();
        assert!(output("ip route show 10.3.0.0/24").contains("192.0.2.9"), "a route of others stays");

        for route in &moved {
            routes::remove(route).await.unwrap();
            routes::remove(route).await.unwrap();
        }
        assert_eq!(routes::read().await.unwrap().own, []);
    });
}

#[test]
fn a_gateway_that_is_not_on_the_link_is_an_error() {
    async_sandbox(async |_| {
        veth("pst-up", "pst-wire");
        let route = Route {
            destination: address("10.2.0.0"),
            prefix: 24,
            gateway: address("198.51.100.7"),
            ifindex: ifindex("pst-up"),
        };
        let error = routes::ensure(&route).await.unwrap_err();
        assert!(error.to_string().contains("10.2.0.0/24 via 198.51.100.7"), "{error}");
    });
}

#[test]
fn switches_are_set_in_this_namespace() {
    sandbox(|_| {
        veth("pst-pod", "pst-in");
        let switches = Switches::default();
        switches.enable_forwarding().unwrap();
        switches.disable_reverse_path_filter("pst-pod").unwrap();
        switches.disable_reverse_path_filter("pst-gone").unwrap();
        let read = |path: &str| std::fs::read_to_string(path).unwrap().trim().to_owned();
        assert_eq!(read("/proc/sys/net/ipv4/ip_forward"), "1");
        assert_eq!(read("/proc/sys/net/ipv6/conf/all/forwarding"), "1");
        assert_eq!(read("/proc/sys/net/ipv4/conf/pst-pod/rp_filter"), "0");
    });
}
