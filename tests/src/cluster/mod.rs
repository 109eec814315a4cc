//! A real Kubernetes on one machine, without Docker: etcd, API server, controllers, scheduler, and nodes with containerd,
//! runc and kubelet, each in namespaces of its own.
//!
//! ```text
//!   pst-<run>-control ──┐                      ┌── pst-<run>-client: outside the cluster
//!   172.30.1.1, fd30:0:0:1::1                  172.30.2.1, fd30:0:0:2::1
//!                       └── pst-<run>-router ──┘
//!                            bridge "nodes": 172.30.0.254, fd30::254
//!                              |              |
//!                           pst-<run>-n1   pst-<run>-n2      172.30.0.N, fd30::N on eth0; pods of 10.244.0.0/16, fd44::/48
//! ```
//!
//! Invariants:
//! - Everything is inside the run's namespaces and groups and below its directory, so [`Run::remove`] removes all of it.
//! - The machine is as before, also while a cluster is up: see [`keep`] for what a node may change.
//! - Clusters do not see each other, and have the same addresses.

mod access;
pub mod addresses;
mod certificates;
mod choice;
mod cni;
mod containerd;
mod control_plane;
mod daemon;
mod dns;
mod images;
mod keeper;
mod kube_proxy;
mod kubeconfig;
mod kubectl;
mod kubelet;
mod network;
mod node;
mod objects;
mod patience;
mod penstock;
mod store;
mod tools;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::lab::{self, Janitor, Place, Run, cgroup};

pub use access::program;
pub use choice::Choice;
pub use control_plane::ControlPlane;
pub use daemon::Daemon;
pub use images::{AGENT_IMAGE, IMAGES};
pub use keeper::{Keep, keep};
pub use kube_proxy::Mode;
pub use kubeconfig::server;
pub use kubectl::Kubectl;
pub use node::{Node, place};
pub use objects::dual_stack_service;
pub use patience::until;
pub use penstock::{MANIFESTS, NAMESPACE};
pub use tools::TOOLS;

use certificates::{Authority, Subject};
use images::Images;
use network::PodRanges;
use node::Site;
use tools::{Tools, search_path};

/// The most nodes that fit on one machine with some sense.
const MOST_NODES: u8 = 16;
/// How long things may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// What implements Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing: for whoever installs something.
    None,
    /// The real kube-proxy, on every node.
    KubeProxy(Mode),
    /// Penstock in its place, by its manifests.
    Penstock,
}

/// What a cluster is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of nodes.
    pub nodes: u8,
    /// What implements Services.
    pub proxy: Proxy,
    /// Is told of each step when it begins.
    pub progress: fn(&str),
}

impl Default for Options {
    /// Two nodes, no proxy, no word about it.
    fn default() -> Self {
        Self { nodes: 2, proxy: Proxy::None, progress: |_| {} }
    }
}

/// A cluster. Dropping it removes everything; so does the end of this process, whatever ends it.
#[derive(Debug)]
pub struct Cluster {
    run: Run,
    kubectl: Kubectl,
    images: Images,
    client: Place,
    nodes: Vec<Node>,
    control_plane: ControlPlane,
    // The last field: it is dropped last, when the handles of the processes that it ends are gone.
    janitor: Janitor,
}

impl Cluster {
    /// Makes a cluster and waits until its nodes are Ready, and its DNS where there is a proxy to reach it by. What dead
    /// runs have left is removed first.
    ///
    /// # Errors
    /// Names the programs and images that are missing, or what has ended by itself, with the end of its log.
    pub fn up(options: &Options) -> Result<Self> {
        ensure!(
            (1..=MOST_NODES).contains(&options.nodes),
            "a cluster has from 1 to {MOST_NODES} nodes, not {}",
            options.nodes
        );
        ensure!(nix::unistd::geteuid().is_root(), "a cluster is made of namespaces and needs root rights");
        lab::sweep_once()?;
        let images = Images::from_environment()?;
        let run = Run::new();
        let directory = run.directory();
        let logs = directory.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
        let janitor = Janitor::start(&run)?;

        let tools = Tools::collect(kubectl::programs(&run))?;
        let authority = Authority::new(&directory.join("pki"))?;
        let admin = Subject { name: "kubernetes-admin", group: Some("system:masters"), ..Subject::default() };
        kubeconfig::write(kubectl::kubeconfig(&run), &authority, &authority.issue("admin", &admin)?)?;
        network::build(&run, options.nodes)?;
        let control_place = single_group(&run, kubectl::CONTROL_PLANE)?;
        let client = single_group(&run, network::CLIENT)?;
        let kubectl = Kubectl::of(&run)?;

        let kube_proxy_credentials = kube_proxy::credentials(&directory, &authority)?;
        (options.progress)("starting etcd, the API server, and containerd on each node");
        let control_plane = ControlPlane::new(control_plane::Parts {
            directory: &directory,
            logs: &logs,
            place: &control_place,
            tools: &tools,
            authority: &authority,
            kubectl: kubectl.clone(),
        })?;
        let make = |number| {
            let site = Site {
                run: &run,
                number,
                name: node::name(number),
                directory: node::directory(&run, number),
                logs: &logs,
                tools: &tools,
                kube_proxy_credentials: &kube_proxy_credentials,
            };
            Node::new(&site, &authority, &images).with_context(|| format!("making the node {}", site.name))
        };
        let make = &make;
        let nodes = std::thread::scope(|scope| {
            let nodes: Vec<_> = (1..=options.nodes).map(|number| scope.spawn(move || make(number))).collect();
            let started = control_plane.start();
            let nodes: Result<Vec<Node>> = nodes
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            started.and(nodes)
        })?;
        let cluster = Self { run, kubectl, images, client, nodes, control_plane, janitor };
        cluster.join(options)?;
        cluster.settle(options)?;
        Ok(cluster)
    }

    /// Starts the kubelets and gives their nodes a network.
    fn join(&self, options: &Options) -> Result<()> {
        (options.progress)("starting kubelet on each node");
        self.nodes.iter().try_for_each(|node| node.kubelet().start())?;
        let mut ranges = Vec::new();
        self.poll("every node has its pod ranges", || {
            let objects = self.kubectl.json(&["get", "nodes"])?;
            ranges = self
                .nodes
                .iter()
                .filter_map(|node| PodRanges::of(node.number(), find(&objects, &node.name())?))
                .collect();
            Ok(ranges.len() == self.nodes.len())
        })?;
        network::route_pods(&self.run, &ranges)?;
        for (node, ranges) in self.nodes.iter().zip(&ranges) {
            node.configure_pods(&ranges.ranges)?;
        }
        Ok(())
    }

    /// Starts what implements Services, and DNS.
    fn settle(&self, options: &Options) -> Result<()> {
        if let Proxy::KubeProxy(mode) = options.proxy {
            self.kubectl.apply(&kube_proxy::config_map(mode)?.to_string())?;
            self.nodes.iter().try_for_each(|node| node.start_kube_proxy(mode))?;
        }
        if options.proxy == Proxy::Penstock {
            (options.progress)("applying Penstock's manifests");
            penstock::apply(&self.run.directory(), &self.kubectl, "replace-kube-proxy")?;
        }
        self.kubectl.apply(&dns::objects(self.images.named("coredns")?).to_string())?;
        (options.progress)("waiting for the nodes");
        self.poll("every node is Ready", || {
            let objects = self.kubectl.json(&["get", "nodes"])?;
            Ok(self.nodes.iter().all(|node| find(&objects, &node.name()).is_some_and(is_ready)))
        })?;
        if options.proxy == Proxy::Penstock {
            (options.progress)("waiting for Penstock on each node");
            self.poll("Penstock is ready on each node", || {
                let set = self.kubectl.json(&[
                    "get",
                    "daemonset",
                    "penstock",
                    "--namespace",
                    penstock::NAMESPACE,
                ])?;
                Ok(set["status"]["numberReady"] == self.nodes.len())
            })?;
        }
        if options.proxy != Proxy::None {
            (options.progress)("waiting for the cluster's DNS");
            self.poll("the cluster's DNS is up", || {
                let dns = self.kubectl.json(&["get", "deployment", "coredns", "--namespace=kube-system"])?;
                Ok(dns["status"]["readyReplicas"] == dns["spec"]["replicas"])
            })?;
        }
        Ok(())
    }

    /// Waits until a condition holds, asking a few times a second, while every program of the cluster runs.
    fn poll(&self, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !condition()? {
            self.check()?;
            if Instant::now() > deadline {
                let pods = self.kubectl.run(&["get", "pods", "--all-namespaces", "-o", "wide"]);
                bail!(
                    "after {LIMIT:?} it is still not so that {what}; the pods are:\n{}",
                    pods.unwrap_or_else(|error| format!("{error:#}"))
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// An error where a program of the cluster has ended by itself.
    pub fn check(&self) -> Result<()> {
        self.control_plane.check()?;
        self.nodes.iter().try_for_each(Node::check)
    }

    /// The cluster's name.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// kubectl as administrator, to be kept.
    pub fn kubectl_handle(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Runs kubectl as administrator and gives its output.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl.run(arguments)
    }

    /// The full name of an image that every node has, such as `agnhost`.
    pub fn image(&self, name: &str) -> Result<String> {
        self.images.named(name).map(str::to_owned)
    }

    /// Where the first container of a pod runs: programs that are started there are the pod's for everybody else, and
    /// go on whatever happens to kubelet and to the API server.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<Place> {
        let pod = self.kubectl.json(&["get", "pod", name, "--namespace", namespace])?;
        let node = self.nodes.iter().find(|node| pod["spec"]["nodeName"] == node.name());
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
        let id = id.and_then(|id| id.strip_prefix("containerd://"));
        let (node, id) = node.zip(id).with_context(|| format!("the pod {namespace}/{name} does not run"))?;
        node.container(name, id)
    }

    /// Applies manifests, YAML or JSON.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.kubectl.apply(manifests)
    }

    /// The node of this number, from 1.
    ///
    /// # Panics
    /// Where the cluster has no such node.
    pub fn node(&self, number: u8) -> &Node {
        &self.nodes[usize::from(number) - 1]
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A host outside the cluster, behind the router.
    pub fn client(&self) -> &Place {
        &self.client
    }

    /// etcd, API server, controllers and scheduler.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// Leaves everything up when the process ends. [`Run::remove`] is the way to remove it then.
    pub fn keep(self) -> Result<Run> {
        let Self { run, nodes, control_plane, janitor, .. } = self;
        run.mark_kept()?;
        control_plane.leave();
        nodes.into_iter().for_each(Node::leave);
        janitor.dismiss()?;
        Ok(run)
    }
}

/// The clusters that are there, whoever started them.
pub fn all() -> Result<Vec<Run>> {
    let mut runs = Run::all()?;
    runs.retain(|run| kubectl::kubeconfig(run).exists());
    Ok(runs)
}

/// The numbers of a cluster's nodes.
pub fn node_numbers(run: &Run) -> Vec<u8> {
    (1..=MOST_NODES).filter(|number| run.directory().join(node::name(*number)).exists()).collect()
}

/// A place with a network namespace that is there already and one group, in the version 2 tree.
fn single_group(run: &Run, thing: &str) -> Result<Place> {
    let name = run.name(thing);
    let group = cgroup::root()?.join(&name);
    cgroup::create(&group)?;
    Place::open(&name, &group, None)
}

/// The object of this name in a list.
fn find<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list["items"].as_array()?.iter().find(|item| item["metadata"]["name"] == name)
}

/// Whether a node says that it is Ready.
fn is_ready(node: &Value) -> bool {
    node["status"]["conditions"].as_array().is_some_and(|conditions| {
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}

/// The client outside a cluster that is up, whoever started it.
pub fn client(run: &Run) -> Result<Place> {
    let name = run.name(network::CLIENT);
    Place::open(&name, &cgroup::root()?.join(&name), None)
}

/// A command in a place of a cluster, with the cluster's programs in its search path; a shell where none is given.
pub fn shell(run: &Run, place: &Place, words: &[String]) -> Command {
    let (program, arguments) = words.split_first().map_or(("sh", &[][..]), |(first, rest)| (first, rest));
    let mut command = place.command(program);
    command
        .args(arguments)
        .env("PATH", search_path(&kubectl::programs(run)))
        .env("CONTAINERD_ADDRESS", containerd::SOCKET)
        .env("CONTAINERD_NAMESPACE", "k8s.io");
    command
}
