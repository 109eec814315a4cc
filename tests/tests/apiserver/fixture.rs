//! A real cluster of one node whose only proxy is an agent of this build, with the account of the manifests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use penstock_tests::cluster::{Cluster, Daemon, NAMESPACE, Options};
use penstock_tests::lab::{Process, Runs, penstock_binary, wait_until};
use serde_json::{Value, json};

/// How long things may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(150);
/// The account of the agent, with the rights that it has where it is installed.
const ACCOUNT: &str = include_str!("../../../manifests/base/account.yaml");
/// Where the agent tells its metrics.
const METRICS: &str = "http://127.0.0.1:10249/metrics";
/// The API server.
pub(crate) const FIRST: &str = "https://172.30.1.1:6443";
/// The other one, where a test has started it.
pub(crate) const SECOND: &str = "https://172.30.1.1:6444";
/// The name of the account and of its role.
pub(crate) const NAME: &str = "penstock";

/// The cluster. Tests take turns with it.
pub(crate) struct Api {
    pub(crate) cluster: Cluster,
    agents: u32,
}

/// The cluster that all tests share, made by the first that asks.
pub(crate) fn api() -> Result<MutexGuard<'static, Api>> {
    static API: OnceLock<Result<Mutex<Api>, String>> = OnceLock::new();
    let make = || {
        let cluster = Cluster::up(&Options { nodes: 1, ..Options::default() });
        cluster.map(|cluster| Mutex::new(Api { cluster, agents: 0 })).map_err(|error| format!("{error:#}"))
    };
    let api = API.get_or_init(make).as_ref().map_err(|error| anyhow!("{error}"))?;
    // A test that failed may have left objects behind, which the next one does not mind.
    Ok(api.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Api {
    pub(crate) fn server(&self) -> &Daemon {
        self.cluster.control_plane().api_server()
    }

    /// Ends the API server and starts it with further arguments.
    pub(crate) fn restart_with(&self, arguments: &[&str]) -> Result<()> {
        self.server().end(Signal::SIGKILL)?;
        self.server().start_with(arguments)?;
        self.cluster.control_plane().wait_ready()
    }

    /// Makes the account as the manifests have it.
    pub(crate) fn account(&self) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        self.cluster.apply(&namespace.to_string())?;
        self.cluster.kubectl_handle().feed(&["apply", "--namespace", NAMESPACE, "-f", "-"], ACCOUNT)?;
        Ok(())
    }

    /// A kubeconfig with a token of the account, that trusts the cluster's authority or that of `authority`.
    pub(crate) fn kubeconfig(&self, authority: Option<&Path>) -> Result<PathBuf> {
        let token = self.token(&[])?;
        self.kubeconfig_of(&json!({"token": token}), authority)
    }

    /// A kubeconfig with these credentials.
    pub(crate) fn kubeconfig_of(&self, user: &Value, authority: Option<&Path>) -> Result<PathBuf> {
        let directory = self.cluster.run().directory();
        let admin = fs::read_to_string(directory.join("admin.kubeconfig"))?;
        let mut config: Value = serde_json::from_str(&admin)?;
        config["users"][0]["user"] = user.clone();
        if let Some(authority) = authority {
            config["clusters"][0]["cluster"]["certificate-authority"] = json!(authority);
        }
        let path = directory.join("agent.kubeconfig");
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// A token of the account, made with further arguments of `kubectl create token`.
    pub(crate) fn token(&self, more: &[&str]) -> Result<String> {
        let words = ["create", "token", NAME, "--namespace", NAMESPACE];
        Ok(self.cluster.kubectl(&[&words, more].concat())?.trim().to_owned())
    }

    /// An agent with its account, which has told everything when this returns.
    pub(crate) fn agent(&mut self) -> Result<Agent<'_>> {
        self.account()?;
        let kubeconfig = self.kubeconfig(None)?;
        let agent = self.agent_with(&kubeconfig)?;
        agent.wait("the agent has synced", |status| status["synced"] == true)?;
        Ok(agent)
    }

    /// An agent with this kubeconfig.
    pub(crate) fn agent_with(&mut self, kubeconfig: &Path) -> Result<Agent<'_>> {
        let node = self.cluster.node(1).name();
        self.agent_of(&node, kubeconfig, &[])
    }

    /// An agent on the node that takes a Node object of this name for its own, with further arguments.
    pub(crate) fn agent_of(&mut self, name: &str, kubeconfig: &Path, more: &[&str]) -> Result<Agent<'_>> {
        self.agents += 1;
        let log = self.cluster.run().directory().join(format!("logs/agent-{}.log", self.agents));
        let file = File::create(&log)?;
        let node = self.cluster.node(1);
        let mut command = node.place().command(penstock_binary()?);
        command.args(["agent", "--node", name, "--source", "kubernetes", "--kubeconfig"]);
        command.arg(kubeconfig).args(["--log", "penstock=debug"]).args(more);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let process = Process::adopt(command.spawn().context("starting the agent")?, "the agent");
        Ok(Agent { api: self, process, log })
    }
}

/// An agent on the node. It ends with its handle.
pub(crate) struct Agent<'a> {
    pub(crate) api: &'a Api,
    process: Process,
    log: PathBuf,
}

impl Agent<'_> {
    fn command(&self, arguments: &[&str]) -> Result<Value> {
        let binary = penstock_binary()?;
        let mut words = vec![binary.to_str().context("the path of the agent is no text")?];
        words.extend_from_slice(arguments);
        words.extend(["-o", "json"]);
        Ok(serde_json::from_str(&self.api.cluster.node(1).output(&words)?)?)
    }

    /// Waits until the agent's status is as wanted.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        wait_until(what, LIMIT, || Ok(self.command(&["status"]).is_ok_and(|status| wanted(&status))))
            .with_context(|| format!("its log:\n{}", self.said().unwrap_or_default()))
    }

    /// Waits until the API is well.
    pub(crate) fn wait_well(&self) -> Result<()> {
        self.wait("the agent has no problem", |status| status["source_problems"] == json!([]))
    }

    /// Waits for a problem that has all these words.
    pub(crate) fn wait_problem(&self, words: &[&str]) -> Result<()> {
        self.wait(&format!("the agent tells of {words:?}"), |status| {
            let problems = status["source_problems"].as_array().into_iter().flatten();
            let mut problems = problems.filter_map(Value::as_str);
            problems.any(|problem| words.iter().all(|word| problem.contains(word)))
        })
    }

    /// How many backends a Service's port has in the tables; `None` where the Service is not there.
    pub(crate) fn backends(&self, name: &str) -> Result<Option<u64>> {
        let services = self.command(&["service", "list"])?;
        let services = services.as_array().context("services are a list")?;
        let found = services.iter().find(|service| service["service"] == name);
        Ok(found.map(|service| service["backends"].as_u64().unwrap_or_default()))
    }

    /// Waits until a Service's port has so many backends.
    pub(crate) fn wait_backends(&self, name: &str, count: Option<u64>) -> Result<()> {
        wait_until(&format!("{name} has {count:?} backends"), LIMIT, || Ok(self.backends(name)? == count))
            .with_context(|| format!("the agent's log:\n{}", self.said().unwrap_or_default()))
    }

    /// Waits until one line of its log has all these words.
    pub(crate) fn wait_said(&self, words: &[&str]) -> Result<()> {
        wait_until(&format!("the agent's log has {words:?}"), LIMIT, || {
            Ok(self.said()?.lines().any(|line| words.iter().all(|word| line.contains(word))))
        })
    }

    /// The value of one of its metrics; 0 where it was not counted yet.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let text = self.api.cluster.node(1).output(&["curl", "--silent", METRICS])?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Ok(value.unwrap_or_default())
    }

    /// Its log.
    pub(crate) fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Makes a Service `default/NAME` of one port with so many endpoints.
    pub(crate) fn service(&self, name: &str, endpoints: u8) -> Result<()> {
        self.service_by(FIRST, name, endpoints)
    }

    /// The same by way of this API server.
    pub(crate) fn service_by(&self, server: &str, name: &str, endpoints: u8) -> Result<()> {
        let addresses: Vec<_> =
            (1..=endpoints).map(|i| json!({"addresses": [format!("10.99.0.{i}")]})).collect();
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": addresses,
        });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"ipFamilies": ["IPv4"], "ports": [{"name": "http", "port": 80}]},
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [service, slice]});
        let server = format!("--server={server}");
        let kubectl = self.api.cluster.kubectl_handle();
        kubectl.feed(&["apply", "-f", "-", &server], &list.to_string()).map(drop)
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Result<()> {
        ensure!(self.process.is_running(), "the agent has ended by itself:\n{}", self.said()?);
        self.process.end(Signal::SIGTERM).map(drop)
    }
}
