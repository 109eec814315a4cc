//! A cluster with a Service of two servers on each of two nodes, so that whoever is given another server notices; and clients in pods and on a node itself.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::addresses::API_PORT;
use penstock_tests::cluster::{
    Cluster, MANIFESTS, NAMESPACE, Node, Options, Proxy, dual_stack_service, server, until,
};
use penstock_tests::lab::{Family, Place, Process, Runs};
use penstock_tests::probe::{Ask, Serve, Style};
use serde_json::{Value, json};

/// Where servers listen, and where Services do.
const TARGET_PORT: u16 = 8080;
const PORT: u16 = 80;
/// The port of each node that leads to the server on it.
pub(crate) const HOST_PORT: u16 = 9080;
/// The nodes.
const NODES: [&str; 2] = ["n1", "n2"];

/// The cluster, with two servers on each node, and a Service of both families for them.
pub(crate) struct World {
    /// Who asks, by what they are called in messages.
    pub(crate) clients: Vec<(&'static str, Place)>,
    /// Whom they ask: each Service in each family.
    pub(crate) services: Vec<SocketAddr>,
    manifests: PathBuf,
    _servers: Vec<Process>,
    pub(crate) cluster: Cluster,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// Makes it, once no other is there.
    pub(crate) fn new(proxy: Proxy) -> Result<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = Cluster::up(&Options { nodes: 2, proxy, ..Options::default() })?;
        let manifests = copy_manifests(cluster.run().directory())?;
        cluster.kubectl(&["wait", "--for=create", "serviceaccount/default", "--timeout=120s"])?;
        let mut objects = Vec::new();
        let image = cluster.image("agnhost")?;
        for node in NODES {
            let app = format!("server-{node}");
            objects.push(pod(&format!("client-{node}"), "client", node, &image, None));
            objects.push(pod(&format!("{app}-1"), &app, node, &image, Some(HOST_PORT)));
            objects.push(pod(&format!("{app}-2"), &app, node, &image, None));
            objects.push(dual_stack_service(&app, &app, TARGET_PORT, TARGET_PORT));
        }
        cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())?;
        cluster.kubectl(&["wait", "pods", "--all", "--for=condition=Ready", "--timeout=180s"])?;
        let mut servers = Vec::new();
        let mut services = Vec::new();
        for node in NODES {
            let app = format!("server-{node}");
            for server in ["1", "2"].map(|number| format!("{app}-{number}")) {
                servers.push(cluster.pod("default", &server)?.serve(&Serve::on(&server, TARGET_PORT))?);
            }
            for family in Family::BOTH {
                services.push(address(&cluster, &app, family)?);
            }
        }
        let clients = vec![
            ("a pod on n1", cluster.pod("default", "client-n1")?),
            ("a pod on n2", cluster.pod("default", "client-n2")?),
            ("n1 itself", cluster.node(1).place().clone()),
        ];
        Ok(Self { clients, services, manifests, _servers: servers, cluster, _turn: turn })
    }

    /// Waits until every client reaches every Service.
    pub(crate) fn served(&self) -> Result<()> {
        for (who, place) in &self.clients {
            for &target in &self.services {
                for style in [Style::TcpEach, Style::UdpEach] {
                    let ask = Ask::new(target, style);
                    until(&format!("{who} reaches {target}"), || {
                        Ok(place.ask(&ask)?.iter().all(|answer| answer.is_ok()))
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Applies an overlay as a user does, and waits until it has rolled out.
    pub(crate) fn apply(&self, overlay: &str) -> Result<()> {
        self.cluster.kubectl(&["apply", "-k", &self.overlay(overlay)?])?;
        self.system(&["rollout", "status", "daemonset/penstock", "--timeout=5m"]).map(drop).with_context(
            || {
                let pods = self.system(&["get", "pods", "-o", "wide"]).unwrap_or_default();
                let logs = self
                    .system(&["logs", "daemonset/penstock", "--all-pods", "--tail=20"])
                    .unwrap_or_default();
                format!("the pods are\n{pods}and have said\n{logs}")
            },
        )
    }

    /// Deletes what an overlay has.
    pub(crate) fn delete(&self, overlay: &str) -> Result<()> {
        self.cluster.kubectl(&["delete", "-k", &self.overlay(overlay)?]).map(drop)
    }

    fn overlay(&self, overlay: &str) -> Result<String> {
        let folder = self.manifests.join("overlays").join(overlay);
        Ok(folder.to_str().context("the run's directory is not UTF-8")?.to_owned())
    }

    /// kubectl in Penstock's namespace.
    pub(crate) fn system(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["--namespace", NAMESPACE], arguments].concat())
    }
}

/// What a path on a node itself answers, after its code: `200 ok`.
pub(crate) fn answer(node: &Node, url: &str) -> Result<String> {
    let (body, code) = {
        let words =
            ["curl", "--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}", url];
        let said = node.output(&words)?;
        let (body, code) = said.rsplit_once('\n').context("curl gave no code")?;
        (body.to_owned(), code.to_owned())
    };
    Ok(format!("{code} {body}"))
}

/// A copy of the manifests in which the one thing is edited that must be: the API server's address.
fn copy_manifests(directory: PathBuf) -> Result<PathBuf> {
    let original = std::env::var_os(MANIFESTS).with_context(|| format!("{MANIFESTS} is not set"))?;
    let copy = directory.join("edited-manifests");
    let status = Command::new("cp").arg("-r").arg(&original).arg(&copy).status().context("starting cp")?;
    ensure!(status.success(), "copying {} failed", Path::new(&original).display());
    let file = copy.join("overlays/replace-kube-proxy/apiserver.env");
    let text = format!("PENSTOCK_APISERVER={}\n", server(API_PORT));
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(copy)
}

/// A pod that does nothing by itself.
fn pod(name: &str, app: &str, node: &str, image: &str, host_port: Option<u16>) -> Value {
    let ports: Vec<_> =
        host_port.iter().map(|port| json!({ "containerPort": TARGET_PORT, "hostPort": port })).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": app } },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "pause", "image": image, "args": ["pause"], "ports": ports }],
        },
    })
}

/// A Service's address of a family, with its port.
fn address(cluster: &Cluster, service: &str, family: Family) -> Result<SocketAddr> {
    let object = cluster.kubectl_handle().json(&["get", "service", service])?;
    let addresses = object["spec"]["clusterIPs"].as_array().context("the Service has no addresses")?;
    let mut addresses = addresses.iter().filter_map(|address| address.as_str()?.parse().ok());
    let found = addresses.find(|address: &std::net::IpAddr| address.is_ipv6() == (family == Family::V6));
    Ok(SocketAddr::new(found.with_context(|| format!("{service} has no address of {family:?}"))?, PORT))
}
