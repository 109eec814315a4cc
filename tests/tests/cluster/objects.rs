//! Objects as a user writes them.

use anyhow::{Context, Result};
pub(crate) use penstock_tests::cluster::dual_stack_service as service;
use penstock_tests::probe;
use serde_json::{Value, json};

use super::namespace::Namespace;

/// Where servers take HTTP, and where datagrams.
pub(crate) const HTTP: u16 = 8080;
pub(crate) const UDP: u16 = 8081;

/// This build's own client and server, in a pod.
pub(crate) const PROBE: &str = "/probe/pst-probe";

/// Objects to be applied together.
pub(crate) fn list(items: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

impl Namespace {
    /// A pod on a node that does nothing by itself: clients run in it by `kubectl exec`.
    pub(crate) fn client(&self, name: &str, node: &str) -> Result<Value> {
        self.pod(name, node, &json!({ "args": ["pause"] }))
    }

    /// A pod on a node that runs this build's server. Its label `app` is its name.
    pub(crate) fn probe_server(&self, name: &str, node: &str, port: u16) -> Result<Value> {
        let task = probe::Task::Serve(probe::Serve::on(name, port));
        let ready = json!({ "tcpSocket": { "port": port }, "periodSeconds": 1 });
        self.pod(
            name,
            node,
            &json!({ "command": [PROBE, serde_json::to_string(&task)?], "readinessProbe": ready }),
        )
    }

    fn pod(&self, name: &str, node: &str, runs: &Value) -> Result<Value> {
        let binary = probe::binary()?;
        let folder = binary.parent().context("a program is in a folder")?;
        let mut container = json!({
            "name": name,
            "image": self.image,
            "volumeMounts": [{ "name": "probe", "mountPath": "/probe", "readOnly": true }],
        });
        extend(&mut container, runs);
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "labels": { "app": name } },
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
                "volumes": [{ "name": "probe", "hostPath": { "path": folder, "type": "Directory" } }],
            },
        }))
    }

    /// A Deployment of upstream's test server, which tells its pod's name over HTTP (`/hostname`) and UDP (`hostname`). Its pods
    /// have the label `app` with its name, and what else their template is given.
    pub(crate) fn deployment(&self, name: &str, replicas: u32, template: &Value) -> Value {
        let labels = json!({ "app": name });
        let mut spec = json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "server",
                "image": self.image,
                "args": ["netexec", format!("--http-port={HTTP}"), format!("--udp-port={UDP}")],
                "readinessProbe": { "httpGet": { "path": "/healthz", "port": HTTP }, "periodSeconds": 1 },
            }],
        });
        extend(&mut spec, template);
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": name },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": spec },
            },
        })
    }
}

/// Adds the fields of one object to another.
fn extend(object: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key.as_str()] = value.clone();
    }
}
