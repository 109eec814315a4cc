//! The resources that are watched, as the Kubernetes API names them.

use penstock_model::objects::Kind;

/// A resource of the API.
#[derive(Debug)]
pub(super) struct Resource {
    /// What its objects are.
    pub(super) kind: Kind,
    /// Its name in paths and in RBAC rules.
    pub(super) plural: &'static str,
    /// Which of the objects to ask for; none: all.
    pub(super) labels: Option<&'static str>,
    /// Servers that do not have it are served without.
    pub(super) optional: bool,
}

/// All that is watched, with kube-proxy's label selectors (1.36, `cmd/kube-proxy/app/server.go`).
///
/// No pod is watched: each agent would hold those of the whole cluster to call a few addresses by name.
pub(super) const RESOURCES: [Resource; 4] = [
    // Another proxy serves those that have the label (KEP-2447).
    Resource {
        kind: Kind::Service,
        plural: "services",
        labels: Some("!service.kubernetes.io/service-proxy-name"),
        optional: false,
    },
    // Those of Services without a cluster address have it.
    Resource {
        kind: Kind::EndpointSlice,
        plural: "endpointslices",
        labels: Some("!service.kubernetes.io/headless"),
        optional: false,
    },
    Resource { kind: Kind::Node, plural: "nodes", labels: None, optional: false },
    Resource { kind: Kind::ServiceCidr, plural: "servicecidrs", labels: None, optional: true },
];

impl Resource {
    /// The API group, empty for the core.
    pub(super) fn group(&self) -> &'static str {
        self.kind.api_version().rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// The path of the collection in all namespaces.
    pub(super) fn path(&self) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}/{}", self.kind.api_version(), self.plural)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize as _;
    use serde_yaml_ng::{Deserializer, Value};

    use super::*;

    /// What the manifests install.
    const ACCOUNT: &str = include_str!("../../../../manifests/base/account.yaml");

    /// The rights that the manifests' role gives, as group, resource and verb.
    fn granted() -> BTreeSet<(String, String, String)> {
        let objects = Deserializer::from_str(ACCOUNT).map(|document| Value::deserialize(document).unwrap());
        let role = objects.into_iter().find(|object| object["kind"] == "ClusterRole").unwrap();
        let texts = |value: &Value| -> Vec<String> {
            value.as_sequence().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let mut granted = BTreeSet::new();
        for rule in role["rules"].as_sequence().unwrap() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        granted.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
        granted
    }

    #[test]
    fn the_manifests_let_the_agent_read_what_it_watches_and_nothing_else() {
        let wanted: BTreeSet<_> = RESOURCES
            .iter()
            .flat_map(|resource| ["list", "watch"].map(|verb| (resource, verb)))
            .map(|(resource, verb)| {
                (resource.group().to_owned(), resource.plural.to_owned(), verb.to_owned())
            })
            .collect();
        let mut granted = granted();
        // Those it writes.
        granted.retain(|(_, resource, _)| resource != "events");
        assert_eq!(granted, wanted);
    }

    #[test]
    fn the_paths_are_those_of_kubernetes() {
        assert_eq!(
            RESOURCES.map(|resource| resource.path()),
            [
                "/api/v1/services",
                "/apis/discovery.k8s.io/v1/endpointslices",
                "/api/v1/nodes",
                "/apis/networking.k8s.io/v1/servicecidrs"
            ]
        );
    }
}
