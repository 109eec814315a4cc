//! Pods and Services of a test, by kubectl alone.

use anyhow::Result;
use penstock_tests::cluster::Cluster;
use serde_json::json;

const AGNHOST: &str = "agnhost";
const BUSYBOX: &str = "busybox";

/// What a test runs in a cluster.
pub(crate) struct Pods<'a> {
    cluster: &'a Cluster,
}

impl<'a> Pods<'a> {
    /// Nothing yet.
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        Self { cluster }
    }

    /// A Deployment of two servers, each telling its name under `/hostname`, and a Service of the same name, port 80. Returns
    /// when both are ready.
    pub(crate) fn serve(&self, name: &str) -> Result<()> {
        let image = self.cluster.image(AGNHOST)?;
        self.cluster.kubectl(&[
            "create",
            "deployment",
            name,
            "--image",
            &image,
            "--replicas=2",
            "--",
            "/agnhost",
            "netexec",
        ])?;
        self.cluster.kubectl(&["expose", "deployment", name, "--port=80", "--target-port=8080"])?;
        self.cluster.kubectl(&["rollout", "status", "deployment", name, "--timeout=120s"])?;
        Ok(())
    }

    /// A pod on a node that waits for commands.
    pub(crate) fn client(&self, name: &str, node: u8) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name },
            "spec": {
                "nodeName": self.cluster.node(node).name(),
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "client",
                    "image": self.cluster.image(BUSYBOX)?,
                    "command": ["sleep", "1000000"],
                }],
            },
        });
        self.cluster.apply(&pod.to_string()).map(drop)
    }

    /// Waits until a pod is ready.
    pub(crate) fn wait_ready(&self, name: &str) -> Result<()> {
        let pod = format!("pod/{name}");
        self.cluster.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=120s"]).map(drop)
    }

    /// Runs a command in a pod.
    pub(crate) fn exec(&self, name: &str, words: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["exec", name, "--"], words].concat())
    }
}
