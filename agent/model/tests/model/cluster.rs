//! A small cluster that changes at random.

use std::collections::BTreeMap;

use penstock_model::objects::{
    AddressType, Conditions, Endpoint, EndpointPort, EndpointSlice, Event, Kind, Labels, Metadata, Node,
    NodeAddress, NodeSpec, NodeStatus, Object, ObjectKey, Service, ServicePort, ServiceSpec, ServiceType,
    Timestamp,
};
use proptest::prelude::*;

/// One change of the cluster, or a chore of the agent.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A Service of so many ports, at one of few addresses, so that Services clash.
    Service { id: u8, vip: u8, ports: u8, created: Option<u8>, dual: bool },
    /// A slice of a Service: for each endpoint its state, 0 for none.
    Slice { id: u8, service: u8, v6: bool, states: Vec<u8> },
    /// A remote node's address.
    Node { address: u8 },
    /// Something goes.
    Delete { kind: u8, id: u8 },
    /// Everything of a kind is told anew.
    Relist { kind: u8 },
    /// What waits is reclaimed.
    Housekeeping,
}

pub(crate) fn actions(count: usize) -> impl Strategy<Value = Vec<Action>> {
    let service = (0..4_u8, 0..4_u8, 0..3_u8, proptest::option::of(0..3_u8), any::<bool>())
        .prop_map(|(id, vip, ports, created, dual)| Action::Service { id, vip, ports, created, dual });
    let states = prop::collection::vec(0..6_u8, 0..6);
    let slice = (0..6_u8, 0..4_u8, prop::bool::weighted(0.2), states)
        .prop_map(|(id, service, v6, states)| Action::Slice { id, service, v6, states });
    let action = prop_oneof![
        4 => service,
        8 => slice,
        1 => (2..4_u8).prop_map(|address| Action::Node { address }),
        3 => (0..3_u8, 0..6_u8).prop_map(|(kind, id)| Action::Delete { kind, id }),
        1 => (0..3_u8).prop_map(|kind| Action::Relist { kind }),
        2 => Just(Action::Housekeeping),
    ];
    prop::collection::vec(action, 1..count)
}

const KINDS: [Kind; 3] = [Kind::Service, Kind::EndpointSlice, Kind::Node];

/// The objects as they are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    objects: BTreeMap<ObjectKey, Object>,
}

impl Cluster {
    /// The event that an action comes to; `None` for a chore.
    pub(crate) fn apply(&mut self, action: &Action) -> Option<Event> {
        let object = match action {
            Action::Service { id, vip, ports, created, dual } => service(*id, *vip, *ports, *created, *dual),
            Action::Slice { id, service, v6, states } => slice(*id, *service, *v6, states),
            Action::Node { address } => node(*address),
            Action::Delete { kind, id } => {
                let kind = KINDS[usize::from(*kind)];
                let name = match kind {
                    Kind::Service => format!("s{id}"),
                    Kind::EndpointSlice => format!("e{id}"),
                    _ => "b".into(),
                };
                let key = ObjectKey::new(kind, "", &name);
                self.objects.remove(&key);
                return Some(Event::Delete(key));
            }
            Action::Relist { kind } => return Some(self.all(KINDS[usize::from(*kind)])),
            Action::Housekeeping => return None,
        };
        self.objects.insert(object.key(), object.clone());
        Some(Event::Upsert(object))
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, kind: Kind) -> Event {
        let objects = self.objects.values().filter(|object| object.kind() == kind).cloned().collect();
        Event::Replace { kind, objects, unread: Vec::new() }
    }

    /// All objects, in an order of kinds that makes slices wait for their Services.
    pub(crate) fn told_whole(&self) -> [Event; 3] {
        [self.all(Kind::EndpointSlice), self.all(Kind::Node), self.all(Kind::Service)]
    }
}

fn metadata(name: String) -> Metadata {
    Metadata { name: name.into(), ..Metadata::default() }
}

fn service(id: u8, vip: u8, ports: u8, created: Option<u8>, dual: bool) -> Object {
    let v4 = format!("10.96.0.{}", vip + 1);
    let v6 = format!("fd00:96::{}", vip + 1);
    let port =
        |name: &str, port, protocol: &str| ServicePort { name: name.into(), protocol: protocol.into(), port };
    let ports = match ports {
        0 => vec![port("a", 80, "TCP")],
        1 => vec![port("a", 80, "TCP"), port("b", 53, "UDP")],
        _ => vec![port("b", 80, "TCP"), port("a", 81, "TCP")],
    };
    Object::Service(Service {
        metadata: Metadata {
            creation_timestamp: created.map(|created| Timestamp(created.into())),
            ..metadata(format!("s{id}"))
        },
        spec: ServiceSpec {
            service_type: ServiceType::ClusterIp,
            cluster_ip: None,
            cluster_ips: if dual {
                vec![v4.as_str().into(), v6.as_str().into()]
            } else {
                vec![v4.as_str().into()]
            },
            ports,
        },
    })
}

fn slice(id: u8, service: u8, v6: bool, states: &[u8]) -> Object {
    // Some on this node, some on the other, some nowhere that is known; most of one Service alone.
    let s = service;
    let v4 = [
        format!("10.1.{s}.10"),
        format!("10.1.{s}.11"),
        format!("10.2.{s}.5"),
        format!("10.2.{s}.6"),
        "192.0.2.2".into(),
        format!("198.51.100.{s}"),
    ];
    let v6s = [
        format!("fd00:1:{s}::10"),
        format!("fd00:1:{s}::11"),
        format!("fd00:2:{s}::5"),
        format!("fd00:2:{s}::6"),
        "2001:db8::1".into(),
        format!("2001:db8:7::{s}"),
    ];
    let endpoints = if v6 { v6s } else { v4 }.into_iter().zip(states).filter(|(_, state)| **state > 0);
    let endpoints = endpoints.map(|(address, state)| Endpoint {
        address: Some(address.as_str().into()),
        conditions: match state {
            1 | 2 => Conditions::default(),
            3 => Conditions { ready: Some(false), ..Conditions::default() },
            4 => Conditions { ready: Some(false), serving: Some(true), terminating: Some(true) },
            _ => Conditions { ready: Some(false), serving: Some(false), terminating: Some(true) },
        },
    });
    let port = |name: &str, port, protocol: &str| EndpointPort {
        name: Some(name.into()),
        port: Some(port),
        protocol: protocol.into(),
    };
    Object::EndpointSlice(EndpointSlice {
        metadata: Metadata {
            labels: Labels { service_name: Some(format!("s{service}").into()), ..Labels::default() },
            ..metadata(format!("e{id}"))
        },
        address_type: if v6 { AddressType::Ipv6 } else { AddressType::Ipv4 },
        endpoints: endpoints.collect(),
        ports: vec![port("a", 8080, "TCP"), port("b", 5353, "UDP"), port("b", 8081, "TCP")],
    })
}

fn node(address: u8) -> Object {
    let internal =
        |address: String| NodeAddress { address_type: "InternalIP".into(), address: address.as_str().into() };
    Object::Node(Node {
        metadata: metadata("b".into()),
        spec: NodeSpec { pod_cidrs: vec!["10.2.0.0/16".into(), "fd00:2::/32".into()], ..NodeSpec::default() },
        status: NodeStatus {
            addresses: vec![internal(format!("192.0.2.{address}")), internal(format!("2001:db8::{address}"))],
        },
    })
}
