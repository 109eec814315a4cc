//! README's section "Install", followed word by word, in a cluster that has kube-proxy as a DaemonSet.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use penstock_tests::cluster::addresses::{API_PORT, control_plane};
use penstock_tests::cluster::{
    self, AGENT_IMAGE, Cluster, MANIFESTS, NAMESPACE, Options, Proxy, TOOLS, server, until,
};
use penstock_tests::lab::{Family, Runs as _};
use penstock_tests::needs;
use serde_json::{Value, json};

use super::clients::Client;
use super::fixture::TIMEOUT;
use super::namespace::Namespace;
use super::objects::{HTTP, UDP, service};

const README: &str = include_str!("../../../README.md");

/// The folder of Penstock's manifests, as `cargo xtask` names it.
pub(crate) fn manifests() -> Result<PathBuf> {
    std::env::var_os(MANIFESTS).map(PathBuf::from).with_context(|| format!("{MANIFESTS} is not set"))
}

/// The commands of a section, in their order, each in one line. They are what is indented by four characters and more, beyond
/// the three of a numbered paragraph.
fn commands(readme: &str, section: &str) -> Vec<String> {
    let heading = format!("\n## {section}\n");
    let body = readme.split_once(&heading).map_or("", |(_, rest)| rest);
    let body = body.split("\n## ").next().unwrap_or_default();
    let mut commands = Vec::new();
    let mut open = false;
    for line in body.lines().filter(|line| line.starts_with("    ")) {
        let (text, goes_on) = match line.trim().strip_suffix('\\') {
            Some(text) => (text.trim_end(), true),
            None => (line.trim(), false),
        };
        match commands.last_mut() {
            Some(last) if open => *last = format!("{last} {text}"),
            _ => commands.push(text.to_owned()),
        }
        open = goes_on;
    }
    commands
}

/// Where the commands are typed: a checkout, with kubectl and the cluster's credentials.
struct Desk {
    cluster: Cluster,
    checkout: PathBuf,
}

impl Desk {
    fn new() -> Result<Self> {
        let cluster = Cluster::up(&Options { nodes: 2, proxy: Proxy::None, ..Options::default() })?;
        let checkout = cluster.run().directory().join("checkout");
        copy(&manifests()?, &checkout.join("manifests"))?;
        // The one thing that the reader is told to edit.
        let file = checkout.join("manifests/overlays/replace-kube-proxy/apiserver.env");
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let own = server(API_PORT);
        let edited = text.replace("https://api.cluster.example:6443", &own);
        ensure!(edited != text, "there is nothing to edit in {}", file.display());
        fs::write(&file, edited).with_context(|| format!("writing {}", file.display()))?;
        Ok(Self { cluster, checkout })
    }

    fn follow(&self, command: &str) -> Result<()> {
        let what = || format!("`{command}` of the README");
        match command.split_whitespace().next() {
            // `cargo xtask test` has done just that.
            Some("cargo") => {
                ensure!(command == "cargo xtask image", "{command:?} is another chore than expected");
                Ok(())
            }
            Some("ctr") => {
                let archive =
                    std::env::var_os(AGENT_IMAGE).with_context(|| format!("{AGENT_IMAGE} is not set"))?;
                let folder = Path::new(&archive).parent().context("an archive is in a folder")?;
                for node in self.cluster.nodes() {
                    let line = format!("cd {} && {command}", folder.display());
                    let words = ["sh".to_owned(), "-c".to_owned(), line];
                    run(&mut cluster::shell(self.cluster.run(), node.place(), &words)).with_context(what)?;
                }
                Ok(())
            }
            Some("kubectl") => {
                let mut shell = self.cluster.kubectl_handle().shell(command);
                run(shell.current_dir(&self.checkout)).with_context(what)
            }
            _ => bail!("{command:?} is no command that this test knows"),
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("starting a shell")?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("copying {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// kube-proxy as kubeadm installs it, but for its image: upstream's test image has the tools that it calls, and the program
/// comes from where it was built.
fn kube_proxy(image: &str) -> Result<Value> {
    let tools = std::env::var_os(TOOLS).with_context(|| format!("{TOOLS} is not set"))?;
    let folder = std::env::split_paths(&tools).find(|folder| folder.join("kube-proxy").is_file());
    let folder = folder.with_context(|| format!("{TOOLS} has no kube-proxy"))?;
    let name = json!({ "name": "kube-proxy", "namespace": "kube-system" });
    let labels = json!({ "k8s-app": "kube-proxy" });
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": name },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "kubeadm:node-proxier" },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": "kube-proxy", "namespace": "kube-system" }],
        },
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": name,
            "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": {
                    "serviceAccountName": "kube-proxy",
                    "priorityClassName": "system-node-critical",
                    "hostNetwork": true,
                    "tolerations": [{ "operator": "Exists" }],
                    "containers": [{
                        "name": "kube-proxy",
                        "image": image,
                        "command": [
                            "/program/kube-proxy", "--proxy-mode=iptables", "--conntrack-max-per-core=0",
                            "--hostname-override=$(NODE)",
                        ],
                        "env": [
                            { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
                            { "name": "KUBERNETES_SERVICE_HOST", "value": control_plane().v4 },
                            { "name": "KUBERNETES_SERVICE_PORT", "value": API_PORT.to_string() },
                        ],
                        "securityContext": { "privileged": true },
                        "readinessProbe": { "httpGet": { "path": "/healthz", "port": 10256 }, "periodSeconds": 1 },
                        "volumeMounts": [
                            { "name": "program", "mountPath": "/program", "readOnly": true },
                            { "name": "lock", "mountPath": "/run/xtables.lock" },
                        ],
                    }],
                    "volumes": [
                        { "name": "program", "hostPath": { "path": folder, "type": "Directory" } },
                        { "name": "lock", "hostPath": { "path": "/run/xtables.lock", "type": "FileOrCreate" } },
                    ],
                } },
            },
        },
    ] }))
}

#[test]
fn the_readmes_installation_is_followed_word_by_word_and_back_again() -> Result<()> {
    needs!(Cluster);
    let desk = Desk::new()?;
    let image = desk.cluster.image("agnhost")?;
    desk.cluster.apply(&kube_proxy(&image)?.to_string())?;
    desk.cluster.kubectl(&[
        "--namespace=kube-system",
        "rollout",
        "status",
        "daemonset/kube-proxy",
        TIMEOUT,
    ])?;
    let namespace = Namespace::new(&desk.cluster, "reader")?;
    namespace.apply(&[
        namespace.client("client", "n1")?,
        namespace.deployment("web", 2, &json!({})),
        service("web", "web", HTTP, UDP),
    ])?;
    namespace.ready("app")?;
    let client = Client { namespace: &namespace, pod: "client" };
    let served = |when: &str| {
        Family::BOTH.into_iter().try_for_each(|family| {
            until(&format!("the Service answers {when} ({family:?})"), || {
                Ok(client.http(family, "web", 80)?.len() == 2 && !client.udp(family, "web", 80)?.is_empty())
            })
        })
    };
    served("before anything is installed")?;

    let commands = commands(README, "Install");
    ensure!(commands.len() > 10, "the section has changed: {commands:?}");
    for command in &commands {
        desk.follow(command)?;
        served(&format!("after `{command}`"))?;
    }

    // The last command has removed Penstock, and kube-proxy serves.
    let left = desk.cluster.kubectl(&["get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name"])?;
    ensure!(left.trim().is_empty(), "{left} is there still");
    for node in desk.cluster.nodes() {
        ensure!(!node.root().join("sys/fs/bpf/penstock").exists(), "tables remain on {}", node.name());
        let mode = node.output(&["curl", "--silent", "http://127.0.0.1:10249/proxyMode"])?;
        assert_eq!(mode, "iptables", "on {}", node.name());
        let about = format!("--field-selector=reason=TakenOver,involvedObject.name={}", node.name());
        let told = desk.cluster.kubectl(&["get", "events", "--all-namespaces", &about])?;
        ensure!(told.contains("TakenOver"), "no Event tells of the takeover on {}: {told}", node.name());
    }
    Ok(())
}

#[test]
fn commands_of_a_section_are_found_with_their_further_lines() {
    let text = "# A\n\n## Install\n\n1. First:\n\n       cargo a\n\n2. Then `b`:\n\n       kubectl b \\\n         --c\n\n    ctr d\n\n## E\n\n    f\n";
    assert_eq!(commands(text, "Install"), ["cargo a", "kubectl b --c", "ctr d"]);
}
