//! What the tables should hold for one Service: a pure function of the view.
//!
//! The rules are kube-proxy's (1.36, `pkg/proxy/endpointslicecache.go` and `topology.go`): all slices of a Service are
//! merged by family; a port is matched by name and protocol; of one endpoint in several slices the copy that is not
//! terminating counts; ready endpoints serve, and where there is none, those that still serve while they terminate.

use std::net::IpAddr;

use crate::port::DesiredPort;
use crate::tables::{Family, Frontend};
use crate::view::{Endpoint, Port, QualifiedName, Service, Slice};

/// The frontends that a Service claims, in no order that means anything.
pub(crate) fn claims(service: &Service) -> impl Iterator<Item = Frontend> {
    service.ports.iter().flat_map(|port| {
        service.addresses.iter().map(|addr| Frontend {
            addr: *addr,
            port: port.port,
            protocol: port.protocol,
        })
    })
}

/// The ports of a Service that have a frontend which `owns` grants, in the order of the Service and of the families.
pub(crate) fn ports(service: &Service, owns: impl Fn(&Frontend) -> bool) -> Vec<DesiredPort> {
    let mut ports = Vec::with_capacity(service.ports.len() * service.addresses.len());
    for port in &service.ports {
        for family in Family::ALL {
            let mut frontends: Vec<Frontend> = service
                .addresses
                .iter()
                .filter(|addr| Family::of(**addr) == family)
                .map(|addr| Frontend { addr: *addr, port: port.port, protocol: port.protocol })
                .filter(&owns)
                .collect();
            if frontends.is_empty() {
                continue;
            }
            frontends.sort_unstable();
            let (name, protocol) = (port.name.clone(), port.protocol);
            ports.push(DesiredPort { name, family, protocol, frontends: frontends.into() });
        }
    }
    ports
}

/// `namespace/name:port`, or `namespace/name` for a port without a name.
pub(crate) fn full_name(service: &QualifiedName, port: &str) -> Box<str> {
    if port.is_empty() { service.as_str().into() } else { format!("{service}:{port}").into() }
}

/// Whether this is [`full_name`] of the two.
pub(crate) fn is_full_name(name: &str, service: &QualifiedName, port: &str) -> bool {
    match name.strip_prefix(service.as_str()) {
        Some("") => port.is_empty(),
        Some(rest) => !port.is_empty() && rest.strip_prefix(':') == Some(port),
        None => false,
    }
}

/// Where a port leads, ascending. None: there is no endpoint anywhere, and clients are refused.
pub(crate) fn endpoints<'a>(
    slices: impl Iterator<Item = &'a Slice> + Clone,
    port: &DesiredPort,
) -> Vec<(IpAddr, u16)> {
    let slices = slices.filter(|slice| slice.family == port.family);
    let matched = slices.clone().flat_map(|slice| {
        let own = |known: &&Port| (&known.name, known.protocol) == (&port.name, port.protocol);
        let numbers = slice.ports.iter().filter(own).map(|known| known.port);
        numbers.flat_map(|number| slice.endpoints.iter().map(move |endpoint| (*endpoint, number)))
    });
    // As large as it can become: filters tell no size, and growing step by step is what a full load would be made of.
    let mut all = Vec::with_capacity(slices.map(|slice| slice.endpoints.len()).sum());
    all.extend(matched);
    // The copy to keep comes first; its other conditions make the order total, whatever the order of the slices.
    all.sort_unstable_by_key(|(endpoint, number): &(Endpoint, u16)| {
        (endpoint.addr, *number, endpoint.terminating, !endpoint.ready, !endpoint.serving)
    });
    all.dedup_by_key(|(endpoint, number)| (endpoint.addr, *number));
    let usable = |usable: fn(&Endpoint) -> bool| {
        let chosen = all.iter().filter(move |(endpoint, _)| usable(endpoint));
        let mut places = Vec::with_capacity(all.len());
        places.extend(chosen.map(|(endpoint, number)| (endpoint.addr, *number)));
        places
    };
    let ready = usable(|endpoint| endpoint.ready);
    if ready.is_empty() { usable(|endpoint| endpoint.serving && endpoint.terminating) } else { ready }
}

#[cfg(test)]
mod tests {
    use penstock_abi::Protocol;
    use smallvec::smallvec;

    use super::*;
    fn endpoint(last: u8, ready: bool, serving: bool, terminating: bool) -> Endpoint {
        Endpoint { addr: IpAddr::from([10, 0, 0, last]), ready, serving, terminating }
    }

    fn port(name: &str, port: u16) -> Port {
        Port { name: name.into(), protocol: Protocol::TCP, port }
    }

    /// The last octets of the endpoints of port `http` for slices of these endpoints.
    fn chosen(slices: &[&[Endpoint]]) -> Vec<u8> {
        let slices = slices.iter().enumerate().map(|(i, endpoints)| Slice {
            name: i.to_string().into(),
            family: Family::V4,
            ports: smallvec![port("metrics", 9090), port("http", 8080)],
            endpoints: (*endpoints).into(),
        });
        let slices: Vec<Slice> = slices.collect();
        let http = DesiredPort {
            name: "http".into(),
            family: Family::V4,
            protocol: Protocol::TCP,
            frontends: Box::default(),
        };
        let endpoints = endpoints(slices.iter(), &http);
        assert!(endpoints.iter().all(|(_, port)| *port == 8080));
        let last = |addr| match addr {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        endpoints.iter().map(|(addr, _)| last(*addr)).collect()
    }

    #[test]
    fn a_full_name_is_known_again() {
        let service = QualifiedName::new("default", "web");
        for port in ["", "http"] {
            assert!(is_full_name(&full_name(&service, port), &service, port));
        }
        for name in ["default/web:", "default/web:https", "default/web", "default/webhttp", "default/we:http"]
        {
            assert!(!is_full_name(name, &service, "http"), "{name}");
        }
    }

    #[test]
    fn the_slices_of_a_service_are_merged() {
        let ready = |last| endpoint(last, true, true, false);
        assert_eq!(chosen(&[&[ready(3), ready(1)], &[ready(2), ready(1)]]), [1, 2, 3]);
    }

    #[test]
    fn ready_endpoints_alone_serve_where_there_are_any() {
        assert_eq!(
            chosen(&[&[
                endpoint(1, true, true, false),
                endpoint(2, false, true, true),
                endpoint(3, false, false, false)
            ]]),
            [1]
        );
    }

    #[test]
    fn endpoints_that_end_but_still_serve_are_the_last_resort() {
        assert_eq!(
            chosen(&[&[
                endpoint(1, false, true, false),
                endpoint(2, false, true, true),
                endpoint(3, false, false, true)
            ]]),
            [2]
        );
    }

    #[test]
    fn of_two_copies_of_an_endpoint_the_one_that_is_not_terminating_counts() {
        let (stays, ends) = (endpoint(1, true, true, false), endpoint(1, false, true, true));
        assert_eq!(chosen(&[&[ends, endpoint(2, false, true, true)], &[stays]]), [1]);
        assert_eq!(chosen(&[&[stays], &[ends, endpoint(2, false, true, true)]]), [1]);
    }
}
