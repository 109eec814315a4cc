//! The whole lab.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::janitor::Janitor;
use super::manifest::{self, Service, ServicePort};
use super::node::{self, Node};
use super::run::Run;
use super::{AgentOptions, ip, place};

/// Nodes, a router between them, and a directory of manifests that describes them.
///
/// Dropping it removes everything; so does the end of this process, whatever ends it.
#[derive(Debug)]
pub struct Lab {
    run: Run,
    nodes: Vec<Node>,
    next_service: AtomicU8,
    // The last field: it is dropped last, when the handles of the processes that it ends are gone.
    janitor: Janitor,
}

impl Lab {
    /// Makes a lab of so many nodes, without agents. What dead runs have left is removed first.
    pub fn new(nodes: u8) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "the lab makes namespaces and needs root rights");
        super::sweep_once()?;

        let run = Run::new();
        std::fs::create_dir_all(manifest::directory(&run)).context("making the directory of manifests")?;
        let janitor = Janitor::start(&run)?;
        let mut lab = Self { run, nodes: Vec::new(), next_service: AtomicU8::new(1), janitor };
        lab.wire(nodes)?;
        for number in 1..=nodes {
            lab.nodes.push(Node::new(&lab.run, number).with_context(|| format!("making node {number}"))?);
        }
        manifest::write(&lab.run, "nodes", &manifest::nodes(&lab.nodes))?;
        Ok(lab)
    }

    /// Makes the network namespaces, the router's bridge and a wire from it to each node.
    fn wire(&self, nodes: u8) -> Result<()> {
        let net = self.run.name("net");
        let namespaces: Vec<String> = (1..=nodes).map(|number| node::namespace(&self.run, number)).collect();
        ip::add_namespaces(&[std::slice::from_ref(&net), &namespaces].concat())?;
        for namespace in std::iter::once(&net).chain(&namespaces) {
            prepare(namespace)?;
        }
        let mut lines = vec![
            "link set lo up".to_owned(),
            "link add br0 type bridge".to_owned(),
            format!("address add {}/24 dev br0", node::router4()),
            format!("address add {}/64 dev br0 nodad", node::router6()),
            "link set br0 up".to_owned(),
        ];
        for (number, namespace) in (1..).zip(&namespaces) {
            lines.push(format!("link add n{number} type veth peer name {} netns {namespace}", node::UPLINK));
            lines.push(format!("link set n{number} master br0 up"));
        }
        ip::batch(&net, &lines)
    }

    /// The run's name.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The node of this number, from 1.
    ///
    /// # Panics
    /// Where the lab has no such node.
    pub fn node(&self, number: u8) -> &Node {
        &self.nodes[usize::from(number) - 1]
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The directory that the agents watch.
    pub fn manifests(&self) -> PathBuf {
        manifest::directory(&self.run)
    }

    /// A Service with addresses of its own in both families, and no endpoints.
    pub fn service(&self, name: &str, ports: &[ServicePort]) -> Service {
        let number = self.next_service.fetch_add(1, Ordering::Relaxed);
        Service {
            name: name.to_owned(),
            ip4: Ipv4Addr::new(10, 96, 0, number),
            ip6: Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, number.into()),
            ports: ports.to_vec(),
            endpoints: Vec::new(),
        }
    }

    /// Writes the Service's manifest, replacing the one before at once.
    pub fn apply(&self, service: &Service) -> Result<PathBuf> {
        self.write(&service.name, &service.manifest())
    }

    /// Writes a manifest `NAME.yaml`, replacing the one before at once.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        manifest::write(&self.run, name, text)
    }

    /// Removes the manifest `NAME.yaml`.
    pub fn delete(&self, name: &str) -> Result<()> {
        let path = self.manifests().join(format!("{name}.yaml"));
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// Starts an agent on each node and waits until all have synced.
    pub fn start_agents(&self, options: &AgentOptions) -> Result<()> {
        for node in &self.nodes {
            node.start_agent(options)?;
        }
        self.nodes.iter().try_for_each(Node::wait_synced)
    }

    /// Leaves everything up when the process ends. [`Run::remove`] is the way to remove it then.
    pub fn keep(self) -> Result<Run> {
        let Self { run, nodes, janitor, .. } = self;
        run.mark_kept()?;
        // A dropped node would end its processes.
        std::mem::forget(nodes);
        janitor.dismiss()?;
        Ok(run)
    }
}

/// Sets what every network namespace of the lab has in common, before it gets its devices.
pub(crate) fn prepare(namespace: &str) -> Result<()> {
    place::set_sysctls(
        &place::namespace(namespace)?,
        &[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/default/forwarding", "1"),
            // The lab gives out the addresses: no second of waiting for somebody who has the same.
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
        ],
    )
}

/// Waits until a condition holds, with a limit that only a broken system reaches.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("after {limit:?} it is still not so that {what}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
