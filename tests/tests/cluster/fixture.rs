//! The cluster that tests share, with Penstock as its only Service proxy.

use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::{Cluster, NAMESPACE, Options, Proxy, until};
use serde_json::Value;

/// kubectl's own limit, as it is given on its command line.
pub(crate) const TIMEOUT: &str = "--timeout=180s";

static CLUSTER: LazyLock<RwLock<Fixture>> = LazyLock::new(|| match Fixture::new() {
    Ok(fixture) => RwLock::new(fixture),
    Err(error) => panic!("the cluster that the tests share cannot be made: {error:#}"),
});

/// The cluster, for a test that leaves agents, their rights and their nodes alone.
pub(crate) fn shared() -> RwLockReadGuard<'static, Fixture> {
    // A test that fails may leave objects behind, and those are in a namespace of its own.
    CLUSTER.read().unwrap_or_else(PoisonError::into_inner)
}

/// The cluster, for a test that keeps agents from their work for a while.
pub(crate) fn alone() -> RwLockWriteGuard<'static, Fixture> {
    CLUSTER.write().unwrap_or_else(PoisonError::into_inner)
}

/// Two nodes, Penstock by its manifests, CoreDNS.
pub(crate) struct Fixture {
    pub(crate) cluster: Cluster,
}

impl Fixture {
    fn new() -> Result<Self> {
        let options = Options { nodes: 2, proxy: Proxy::Penstock, ..Options::default() };
        Ok(Self { cluster: Cluster::up(&options)? })
    }

    /// kubectl in Penstock's namespace.
    pub(crate) fn system(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["--namespace", NAMESPACE], arguments].concat())
    }

    /// The agents' pods, by node.
    pub(crate) fn agents(&self) -> Result<Vec<Agent>> {
        let pods = self.cluster.kubectl_handle().json(&["get", "pods", "--namespace", NAMESPACE])?;
        let items = pods["items"].as_array().context("kubectl gave no list")?;
        let mut agents: Vec<Agent> = items
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(Agent::of)
            .collect();
        agents.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(agents)
    }

    /// The agent of a node, once there is a pod of it that answers commands.
    pub(crate) fn agent(&self, node: &str) -> Result<Agent> {
        let mut found = None;
        until(&format!("an agent runs on {node}"), || {
            found = self.agents()?.into_iter().find(|agent| agent.node == node && agent.running);
            Ok(found.is_some())
        })?;
        found.context("there is none")
    }

    /// What a command of Penstock's says in an agent's pod.
    pub(crate) fn penstock(&self, agent: &Agent, words: &[&str]) -> Result<String> {
        self.system(&[&["exec", &agent.pod, "--", "penstock"], words].concat())
    }

    /// What an agent has logged.
    pub(crate) fn log(&self, agent: &Agent) -> Result<String> {
        self.system(&["logs", &agent.pod, "--container=agent"])
    }

    /// Waits until the DaemonSet's pods are those of its template, and ready.
    pub(crate) fn rolled_out(&self) -> Result<()> {
        self.system(&["rollout", "status", "daemonset/penstock", TIMEOUT]).map(drop)
    }
}

/// The agent's pod on a node.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) pod: String,
    pub(crate) node: String,
    pub(crate) image: String,
    /// Its container runs, ready or not.
    pub(crate) running: bool,
    pub(crate) ready: bool,
}

impl Agent {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let container = &pod["status"]["containerStatuses"][0];
        Self {
            pod: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            image: text(&pod["spec"]["containers"][0]["image"]),
            running: container["state"]["running"].is_object(),
            ready: container["ready"] == true,
        }
    }
}

/// Waits until a text has all of these parts, asking for it again and again.
pub(crate) fn until_told(parts: &[&str], mut text: impl FnMut() -> Result<String>) -> Result<()> {
    let mut last = String::new();
    let told = until(&format!("{parts:?} is told"), || {
        last = text()?;
        Ok(parts.iter().all(|part| last.contains(part)))
    });
    ensure!(
        told.is_ok(),
        "{:#}; what is told is:\n{last}",
        told.err().unwrap_or_else(|| anyhow::anyhow!("nothing"))
    );
    Ok(())
}
