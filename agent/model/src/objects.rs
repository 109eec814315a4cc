//! Kubernetes objects, reduced to what the dataplane needs of them.
//!
//! The types read the JSON (or YAML) of the Kubernetes API: unknown fields are ignored and never kept, since an agent
//! holds a whole cluster of them. Reading is lenient on purpose: what a field of the right type says wrongly (port 0, an
//! address that is none) survives reading and is judged when the object enters the view, so that one bad part does not cost the
//! whole object.

mod meta;
mod node;
mod pod;
mod service;
mod service_cidr;
mod slice;
mod text;

use std::fmt;

use serde::{Deserialize, Deserializer};

pub use meta::{Annotations, Labels, Metadata, Timestamp, TriggerTime};
pub use node::{Node, NodeAddress, NodeSpec, NodeStatus, Taint};
pub use pod::{Pod, PodIp, PodSpec, PodStatus};
pub use service::{Service, ServicePort, ServiceSpec, ServiceType};
pub use service_cidr::{ServiceCidr, ServiceCidrSpec};
pub use slice::{AddressType, Conditions, Endpoint, EndpointPort, EndpointSlice};
pub use text::{AddressText, ProtocolText};

/// The kinds of objects that the model reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Node.
    Node,
    /// `v1` Pod.
    Pod,
    /// `networking.k8s.io/v1` ServiceCIDR, stable since Kubernetes 1.33.
    ServiceCidr,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Service, Self::EndpointSlice, Self::Node, Self::Pod, Self::ServiceCidr];

    /// The kind that a manifest's `apiVersion` and `kind` name; `None` for all that the model does not read.
    pub fn from_manifest(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.api_version() == api_version && known.as_str() == kind)
    }

    /// The `apiVersion` of the objects.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::ServiceCidr => "networking.k8s.io/v1",
            Self::Service | Self::Node | Self::Pod => "v1",
        }
    }

    /// The `kind` of the objects.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::ServiceCidr)
    }

    /// Reads an object of this kind.
    ///
    /// # Errors
    /// The deserializer's own: a required field that is missing, a field of another type.
    pub fn deserialize<'de, D: Deserializer<'de>>(self, from: D) -> Result<Object, D::Error> {
        Ok(match self {
            Self::Service => Object::Service(Service::deserialize(from)?),
            Self::EndpointSlice => Object::EndpointSlice(EndpointSlice::deserialize(from)?),
            Self::Node => Object::Node(Node::deserialize(from)?),
            Self::Pod => Object::Pod(Pod::deserialize(from)?),
            Self::ServiceCidr => Object::ServiceCidr(ServiceCidr::deserialize(from)?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An object of one of the kinds that the model reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// A slice of a Service's endpoints.
    EndpointSlice(EndpointSlice),
    /// A node.
    Node(Node),
    /// A pod.
    Pod(Pod),
    /// Ranges that the cluster addresses of Services are taken from.
    ServiceCidr(ServiceCidr),
}

impl Object {
    /// The kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::ServiceCidr(_) => Kind::ServiceCidr,
        }
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::ServiceCidr(object) => &object.metadata,
        }
    }

    /// What the object is known by. An object of a namespaced kind that names no namespace is in `default`.
    pub fn key(&self) -> ObjectKey {
        let metadata = self.metadata();
        ObjectKey::new(self.kind(), &metadata.namespace, &metadata.name)
    }
}

/// What an object is known by.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for kinds that have none.
    pub namespace: Box<str>,
    /// The name.
    pub name: Box<str>,
}

impl ObjectKey {
    /// A key. An empty namespace of a namespaced kind stands for `default`.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = match (kind.is_namespaced(), namespace) {
            (true, "") => "default",
            (true, namespace) => namespace,
            (false, _) => "",
        };
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// What a source of objects tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The object exists, and this is how it is now.
    Upsert(Object),
    /// The object is gone. Nothing happens where it was not known.
    Delete(ObjectKey),
    /// The objects of this kind are exactly these now: the others are gone (a list after a watch was lost). It also says
    /// that the kind has synced.
    Replace {
        /// The kind.
        kind: Kind,
        /// How they are now.
        objects: Vec<Object>,
        /// Those that are there and cannot be read: they stay as they were told last, where they were.
        unread: Vec<ObjectKey>,
    },
    /// All objects of this kind that exist have been told once.
    Synced(Kind),
}

impl Event {
    /// The kind of object that it is about.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Upsert(object) => object.kind(),
            Self::Delete(key) => key.kind,
            Self::Replace { kind, .. } | Self::Synced(kind) => *kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(json: &str) -> EndpointSlice {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn unknown_fields_are_ignored_and_null_lists_are_empty() {
        let slice = slice(
            r#"{"metadata": {"name": "a", "namespace": "n", "managedFields": [{"manager": "x"}], "labels": null},
                "addressType": "IPv4", "endpoints": null, "ports": null}"#,
        );
        assert_eq!((slice.endpoints.len(), slice.ports.len()), (0, 0));
    }

    #[test]
    fn an_endpoint_keeps_its_first_address_only() {
        let slice = slice(
            r#"{"metadata": {"name": "a"}, "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"], "conditions": {"ready": false}}, {"addresses": []}],
                "ports": [{"name": "", "port": 80}]}"#,
        );
        let addresses: Vec<_> = slice.endpoints.iter().map(|endpoint| endpoint.address.clone()).collect();
        assert_eq!(addresses, [Some("10.0.0.1".into()), None]);
        assert_eq!(slice.ports[0].protocol, ProtocolText::default());
    }

    #[test]
    fn what_a_field_says_wrongly_survives_reading() {
        let service: Service = serde_yaml_ng::from_str(
            "{metadata: {name: a}, spec: {clusterIP: nonsense, ports: [{port: 70000, protocol: QUIC}]}}",
        )
        .unwrap();
        assert_eq!(service.spec.cluster_ip, Some(AddressText::Other("nonsense".into())));
        assert_eq!(service.spec.ports[0].port, 70_000);
        assert_eq!(service.spec.ports[0].protocol, ProtocolText::Other("QUIC".into()));
    }

    #[test]
    fn a_namespaced_object_without_a_namespace_is_in_default() {
        let key = |kind| ObjectKey::new(kind, "", "a").to_string();
        assert_eq!(key(Kind::Service), "Service default/a");
        assert_eq!(key(Kind::Node), "Node a");
    }

    #[test]
    fn only_the_kinds_and_versions_that_the_model_reads_are_known() {
        assert_eq!(Kind::from_manifest("discovery.k8s.io/v1", "EndpointSlice"), Some(Kind::EndpointSlice));
        assert_eq!(Kind::from_manifest("discovery.k8s.io/v1beta1", "EndpointSlice"), None);
        assert_eq!(Kind::from_manifest("v1", "Secret"), None);
    }
}
