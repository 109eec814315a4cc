//! Nodes.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::place::{Place, Runs};
use super::pod::Pod;
use super::process::Process;
use super::run::Run;
use super::{cgroup, ip, manifest};
use crate::probe::{self, Task};

/// The node's way out, inside its network namespace.
pub(crate) const UPLINK: &str = "eth0";

/// One node: network, mounts and cgroup of its own.
#[derive(Debug)]
pub struct Node {
    number: u8,
    run: Run,
    place: Place,
    next_pod: AtomicU8,
    pub(super) agent: Mutex<Option<Process>>,
    /// Holds the node's mount namespace open.
    keeper: Process,
}

impl Node {
    /// Sets up the node inside its network namespace, which exists already and has its uplink.
    pub(crate) fn new(run: &Run, number: u8) -> Result<Self> {
        let namespace = namespace(run, number);
        let group = cgroup::root()?.join(&namespace);
        cgroup::create(&group)?;
        cgroup::create(&group.join("host"))?;
        let mut command = probe::command(&Task::Keeper)?;
        Place::open(&namespace, &group, None)?.enter(&mut command);
        let mut keeper = Process::start(command, "the keeper of a node's mounts")?;
        let line = keeper.line()?;
        ensure!(line.as_deref() == Some("ready"), "the keeper of node {number} could not mount");
        let place = Place::open(&namespace, &group.join("host"), Some(keeper.pid()))?;
        let node = Self {
            number,
            run: run.clone(),
            place,
            next_pod: AtomicU8::new(1),
            agent: Mutex::new(None),
            keeper,
        };
        ip::batch(
            &namespace,
            &[
                "link set lo up".to_owned(),
                format!("address add {}/24 dev {UPLINK}", node.ip4()),
                format!("address add {}/64 dev {UPLINK} nodad", node.ip6()),
                format!("link set {UPLINK} up"),
                format!("route add default via {}", router4()),
                format!("route add default via {}", router6()),
            ],
        )?;
        Ok(node)
    }

    /// Its name, as in Kubernetes.
    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// Its number, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The name of its network namespace.
    pub fn namespace(&self) -> String {
        namespace(&self.run, self.number)
    }

    /// Its InternalIP of family IPv4.
    pub fn ip4(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, 0, self.number)
    }

    /// Its InternalIP of family IPv6.
    pub fn ip6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd30, 0, 0, 0, 0, 0, 0, self.number.into())
    }

    /// Its pod ranges.
    pub fn pod_cidrs(&self) -> [String; 2] {
        [format!("10.244.{}.0/24", self.number), format!("fd44:{:x}::/64", self.number)]
    }

    /// The process whose mount namespace is the node's.
    pub fn keeper_pid(&self) -> u32 {
        self.keeper.pid()
    }

    /// Makes a pod on the node and writes its manifest.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let index = self.next_pod.fetch_add(1, Ordering::Relaxed);
        ensure!(index < 250, "node {} is full", self.number);
        let pod = Pod::new(&self.run, self, name, index)
            .with_context(|| format!("making the pod {name} on {}", self.name()))?;
        manifest::write(&self.run, &format!("pod-{}-{name}", self.name()), &manifest::pod(self, &pod))?;
        Ok(pod)
    }

    /// Runs `penstock` on the node with these arguments and gives its standard output.
    pub fn penstock(&self, arguments: &[&str]) -> Result<String> {
        let binary = super::penstock_binary()?;
        let binary = binary.to_str().context("the path of penstock is not UTF-8")?;
        self.output(&[&[binary], arguments].concat())
    }

    /// The node's bpffs, as this process reaches it.
    pub fn bpffs(&self) -> PathBuf {
        // The way through the keeper's root leads into its mount namespace.
        PathBuf::from(format!("/proc/{}/root/sys/fs/bpf", self.keeper.pid()))
    }

    /// Where the agent of this node writes what it logs.
    pub fn agent_log(&self) -> PathBuf {
        self.run.directory().join(format!("agent-{}.log", self.name()))
    }

    pub(super) fn run_id(&self) -> &Run {
        &self.run
    }

    pub(super) fn agent(&self) -> MutexGuard<'_, Option<Process>> {
        // The guarded value is a process handle, whole at any time.
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runs for Node {
    fn place(&self) -> &Place {
        &self.place
    }
}

/// The router's addresses: every node's default gateway.
pub(crate) fn router4() -> Ipv4Addr {
    Ipv4Addr::new(172, 30, 0, 254)
}

/// See [`router4`].
pub(crate) fn router6() -> Ipv6Addr {
    Ipv6Addr::new(0xfd30, 0, 0, 0, 0, 0, 0, 0x254)
}

/// The name of a node's network namespace and cgroup.
pub(crate) fn namespace(run: &Run, number: u8) -> String {
    run.name(&format!("n{number}"))
}

/// The process that holds a node's mounts: it starts in the node's network namespace and cgroup, makes a mount and a
/// cgroup namespace, and stays until it is killed.
pub fn keeper() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP).context("unsharing mounts and cgroups")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    // With everything below it: a cgroup2 tree of the machine must not be found by what runs on the node.
    umount2("/sys", MntFlags::MNT_DETACH).context("unmounting /sys")?;
    let filesystems =
        [("sysfs", "/sys"), ("cgroup2", "/sys/fs/cgroup"), ("bpf", "/sys/fs/bpf"), ("tmpfs", "/run")];
    for (kind, target) in filesystems {
        mount(Some(kind), target, Some(kind), MsFlags::empty(), none)
            .with_context(|| format!("mounting {target}"))?;
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}
