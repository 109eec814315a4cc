//! Objects as the watches of the Kubernetes API give them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use kube::api::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use penstock_model::objects::{self, Object};
use serde::de::{Deserialize, Deserializer, Error as _};

/// A kind of objects, as the Kubernetes API knows it.
pub(super) trait Kind: fmt::Debug + Clone + Send + Sync + 'static {
    /// The kind.
    const KIND: objects::Kind;
    /// The last part of the path of the API.
    const PLURAL: &'static str;
    /// Which of the objects to ask for; none: all.
    const LABELS: Option<&'static str>;
    /// Whether objects live in namespaces.
    type Scope;
}

/// Services, but for those that another proxy serves (KEP-2447).
#[derive(Debug, Clone)]
pub(super) struct Services;

impl Kind for Services {
    const KIND: objects::Kind = objects::Kind::Service;
    const PLURAL: &'static str = "services";
    const LABELS: Option<&'static str> = Some("!service.kubernetes.io/service-proxy-name");
    type Scope = NamespaceResourceScope;
}

/// EndpointSlices, but for those of Services without a cluster address.
#[derive(Debug, Clone)]
pub(super) struct EndpointSlices;

impl Kind for EndpointSlices {
    const KIND: objects::Kind = objects::Kind::EndpointSlice;
    const PLURAL: &'static str = "endpointslices";
    const LABELS: Option<&'static str> = Some("!service.kubernetes.io/headless");
    type Scope = NamespaceResourceScope;
}

/// Nodes.
#[derive(Debug, Clone)]
pub(super) struct Nodes;

impl Kind for Nodes {
    const KIND: objects::Kind = objects::Kind::Node;
    const PLURAL: &'static str = "nodes";
    const LABELS: Option<&'static str> = None;
    type Scope = ClusterResourceScope;
}

/// An object of a kind: what the model reads of it, and of its metadata what a watch needs to go on.
#[derive(Clone, Debug)]
pub(super) struct Watched<K> {
    meta: ObjectMeta,
    pub(super) object: Object,
    kind: PhantomData<K>,
}

impl<'de, K: Kind> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // The whole object lives no longer than this call.
        let value = serde_json::Value::deserialize(from)?;
        let resource_version = value.pointer("/metadata/resourceVersion").and_then(|text| text.as_str());
        let meta =
            ObjectMeta { resource_version: resource_version.map(str::to_owned), ..ObjectMeta::default() };
        let mut track = serde_path_to_error::Track::new();
        let deserializer = serde_path_to_error::Deserializer::new(value, &mut track);
        match K::KIND.deserialize(deserializer) {
            Ok(object) => Ok(Self { meta, object, kind: PhantomData }),
            Err(error) => Err(D::Error::custom(format!("{}: field {}: {error}", K::KIND, track.path()))),
        }
    }
}

impl<K: Kind> kube::Resource for Watched<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.as_str().into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::KIND.api_version().rsplit_once('/').map_or("", |(group, _)| group).into()
    }

    fn version((): &()) -> Cow<'_, str> {
        K::KIND.api_version().rsplit_once('/').map_or(K::KIND.api_version(), |(_, version)| version).into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use kube::Resource;

    use super::*;

    #[test]
    fn an_object_keeps_what_the_model_reads_and_its_version() {
        let json = r#"{"metadata": {"name": "a", "namespace": "n", "resourceVersion": "7",
            "managedFields": [{"manager": "kubectl"}]}, "addressType": "IPv4", "endpoints": null}"#;
        let watched: Watched<EndpointSlices> = serde_json::from_str(json).unwrap();
        assert_eq!(watched.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(watched.object.key().to_string(), "EndpointSlice n/a");
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        let error = serde_json::from_str::<Watched<Services>>(r#"{"metadata": {"name": 1}}"#).unwrap_err();
        assert!(error.to_string().contains("field metadata.name"), "{error}");
    }

    #[test]
    fn the_paths_of_the_api_are_those_of_kubernetes() {
        assert_eq!(Watched::<Services>::url_path(&(), None), "/api/v1/services");
        assert_eq!(Watched::<Nodes>::url_path(&(), None), "/api/v1/nodes");
        let slices = Watched::<EndpointSlices>::url_path(&(), None);
        assert_eq!(slices, "/apis/discovery.k8s.io/v1/endpointslices");
    }
}
