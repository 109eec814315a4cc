//! A namespace for each test, which goes with the test.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::{Cluster, Kubectl};
use penstock_tests::lab::Family;
use serde_json::Value;

use super::fixture::TIMEOUT;
use super::objects;

/// A namespace of a cluster, and kubectl in it.
pub(crate) struct Namespace {
    name: String,
    kubectl: Kubectl,
    /// Upstream's all-round test program, over a small Debian.
    pub(crate) image: String,
}

impl Namespace {
    /// Makes it.
    pub(crate) fn new(cluster: &Cluster, name: &str) -> Result<Self> {
        let kubectl = cluster.kubectl_handle().clone();
        kubectl.run(&["create", "namespace", name])?;
        let namespace = Self { name: name.to_owned(), kubectl, image: cluster.image("agnhost")? };
        // Pods are refused before.
        namespace.kubectl(&["wait", "--for=create", "serviceaccount/default", TIMEOUT])?;
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// kubectl in this namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["--namespace", &self.name], arguments].concat())
    }

    /// An object as JSON.
    pub(crate) fn get(&self, object: &str) -> Result<Value> {
        self.kubectl.json(&["--namespace", &self.name, "get", object])
    }

    /// Applies objects.
    pub(crate) fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = objects::list(objects).to_string();
        self.kubectl.feed(&["--namespace", &self.name, "apply", "-f", "-"], &list).map(drop)
    }

    /// Makes an object without kubectl's record of it, which has room for small ones alone.
    pub(crate) fn create(&self, object: &Value) -> Result<()> {
        self.kubectl.feed(&["--namespace", &self.name, "create", "-f", "-"], &object.to_string()).map(drop)
    }

    /// Waits until every pod with these labels is ready.
    pub(crate) fn ready(&self, selector: &str) -> Result<()> {
        let selector = format!("--selector={selector}");
        self.kubectl(&["wait", "pods", &selector, "--for=condition=Ready", TIMEOUT]).map(drop)
    }

    /// The ClusterIP of a Service.
    pub(crate) fn address(&self, service: &str, family: Family) -> Result<String> {
        let service = self.get(&format!("service/{service}"))?;
        let addresses = service["spec"]["clusterIPs"].as_array().context("the Service has no addresses")?;
        let mut texts = addresses.iter().filter_map(Value::as_str);
        let found = texts.find(|text| text.contains(':') == (family == Family::V6));
        found.map(str::to_owned).with_context(|| format!("the Service has no address of {family:?}"))
    }

    /// A command in a pod.
    pub(crate) fn command(&self, pod: &str, words: &[&str]) -> Command {
        self.kubectl.command(&[&["--namespace", &self.name, "exec", "--stdin", pod, "--"], words].concat())
    }

    /// Runs a command in a pod to its end.
    pub(crate) fn try_exec(&self, pod: &str, words: &[&str]) -> Result<Output> {
        self.command(pod, words).stdin(Stdio::null()).output().context("starting kubectl")
    }

    /// What a command in a pod says; where it fails, that is an error.
    pub(crate) fn exec(&self, pod: &str, words: &[&str]) -> Result<String> {
        let output = self.try_exec(pod, words)?;
        ensure!(
            output.status.success(),
            "{words:?} in {pod} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cluster goes at the end in any case.
        let _ = self.kubectl.run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}
