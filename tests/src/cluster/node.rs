//! Nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

use super::certificates::Authority;
use super::daemon::Daemon;
use super::images::Images;
use super::keeper::{BOUND, HOST_GROUP, KEEPER_GROUP, Keep};
use super::kube_proxy::{self, Mode};
use super::tools::Tools;
use super::{cni, containerd, kubelet};
use crate::lab::cgroup::{self, Version};
use crate::lab::{Place, Process, Run, Runs};
use crate::probe::{self, Task};

/// A node's name, as in Kubernetes.
pub(crate) fn name(number: u8) -> String {
    format!("n{number}")
}

/// Where a node is made, and from what.
pub(crate) struct Site<'a> {
    pub(crate) run: &'a Run,
    pub(crate) number: u8,
    pub(crate) name: String,
    /// The node's files on the machine.
    pub(crate) directory: PathBuf,
    pub(crate) logs: &'a Path,
    pub(crate) tools: &'a Tools,
    /// kube-proxy's kubeconfig.
    pub(crate) kube_proxy_credentials: &'a Path,
}

impl<'a> Site<'a> {
    /// What one of its programs is called in messages.
    pub(crate) fn what(&self, program: &str) -> String {
        format!("{program} of {}", self.name)
    }

    /// Where one of its programs writes what it says.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.logs.join(format!("{}-{program}.log", self.name))
    }
}

/// A node's files on the machine.
pub(crate) fn directory(run: &Run, number: u8) -> PathBuf {
    run.directory().join(name(number))
}

/// One node: namespaces and groups of its own, with containerd and kubelet in them.
#[derive(Debug)]
pub struct Node {
    number: u8,
    place: Place,
    directory: PathBuf,
    tools: Tools,
    containerd: Daemon,
    kubelet: Daemon,
    kube_proxy: Mutex<Option<Daemon>>,
    kube_proxy_credentials: PathBuf,
    kube_proxy_log: PathBuf,
    /// Holds the node's namespaces open.
    keeper: Process,
}

impl Node {
    /// Makes the node inside its network namespace, which has its wires already, and starts containerd with the images.
    pub(crate) fn new(site: &Site<'_>, authority: &Authority, images: &Images) -> Result<Self> {
        for folder in BOUND.map(|(folder, _)| folder).into_iter().chain(["sysctl"]) {
            let folder = site.directory.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        cni::install(site)?;
        let (place, keeper) = enclose(site)?;
        let containerd = containerd::start(site, &place, images)?;
        Ok(Self {
            number: site.number,
            directory: site.directory.clone(),
            tools: site.tools.clone(),
            kubelet: kubelet::daemon(site, &place, authority)?,
            containerd,
            place,
            kube_proxy: Mutex::new(None),
            kube_proxy_credentials: site.kube_proxy_credentials.to_owned(),
            kube_proxy_log: site.log("kube-proxy"),
            keeper,
        })
    }

    /// Its name, as in Kubernetes.
    pub fn name(&self) -> String {
        name(self.number)
    }

    /// Its number, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// kubelet, to be stopped and started again.
    pub fn kubelet(&self) -> &Daemon {
        &self.kubelet
    }

    /// containerd.
    pub fn containerd(&self) -> &Daemon {
        &self.containerd
    }

    /// Starts the real kube-proxy.
    pub fn start_kube_proxy(&self, mode: Mode) -> Result<()> {
        let mut kube_proxy = self.kube_proxy();
        ensure!(kube_proxy.is_none(), "kube-proxy of {} runs already", self.name());
        let config = kube_proxy::configure(&self.directory, &self.kube_proxy_credentials, mode)?;
        let arguments =
            vec![format!("--config={}", config.display()), format!("--hostname-override={}", self.name())];
        let what = format!("kube-proxy of {}", self.name());
        let program = self.tools.program("kube-proxy");
        let path = match mode {
            Mode::IptablesNft => self.tools.search_path_with_nft(),
            Mode::Iptables | Mode::Nftables => self.tools.search_path(),
        };
        let daemon =
            Daemon::new(what, &self.place, program, arguments, self.kube_proxy_log.clone()).env("PATH", path);
        daemon.start()?;
        *kube_proxy = Some(daemon);
        Ok(())
    }

    /// Ends the real kube-proxy. Its rules stay, as they do when its pod is deleted.
    pub fn stop_kube_proxy(&self) -> Result<()> {
        self.kube_proxy().take().with_context(|| format!("{} has no kube-proxy", self.name()))?.stop()
    }

    /// Removes what kube-proxy has left, by its own `--cleanup`.
    pub fn clean_kube_proxy(&self) -> Result<()> {
        let program = self.tools.program("kube-proxy");
        let mut command = self.place.command(program);
        let output = command
            .arg("--cleanup")
            .env("PATH", self.tools.search_path())
            .stdin(Stdio::null())
            .output()
            .context("starting kube-proxy")?;
        ensure!(
            output.status.success(),
            "kube-proxy --cleanup on {} failed: {}",
            self.name(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    fn kube_proxy(&self) -> MutexGuard<'_, Option<Daemon>> {
        // The guarded value is a process handle, whole at any time.
        self.kube_proxy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's root folder, as this process reaches it.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.keeper.pid()))
    }

    /// The place of a container of a pod: its network namespace and its group. Neither kubelet nor the API server is asked to
    /// start anything there.
    pub(crate) fn container(&self, name: &str, id: &str) -> Result<Place> {
        let file = self.root().join(containerd::TASKS).join(id).join("init.pid");
        let pid = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Place::of_process(name, pid.trim_end().parse().context("containerd wrote no process id")?)
    }

    /// Gives the node the images of an archive.
    pub fn import(&self, archive: &Path) -> Result<()> {
        containerd::import(&self.place, &self.tools, archive)
            .with_context(|| format!("giving {} an image", self.name()))
    }

    /// Configures the network of its pods.
    pub(crate) fn configure_pods(&self, ranges: &[String]) -> Result<()> {
        cni::configure(&self.directory, ranges)
    }

    /// An error where one of its programs has ended by itself.
    pub fn check(&self) -> Result<()> {
        self.containerd.check()?;
        self.kubelet.check()?;
        self.kube_proxy().as_ref().map_or(Ok(()), Daemon::check)
    }

    /// Lets everything go on after this program's end.
    pub(crate) fn leave(self) {
        self.containerd.leave();
        self.kubelet.leave();
        if let Some(kube_proxy) = self.kube_proxy().take() {
            kube_proxy.leave();
        }
        self.keeper.leave();
    }
}

impl Runs for Node {
    fn place(&self) -> &Place {
        &self.place
    }
}

/// Makes the node's groups and namespaces; gives the place of its programs and what holds it.
fn enclose(site: &Site<'_>) -> Result<(Place, Process)> {
    let namespace = site.run.name(&site.name);
    let trees = cgroup::trees()?;
    let groups: Vec<_> = trees.iter().map(|tree| tree.group(&namespace)).collect();
    let recorded: Vec<_> = trees
        .iter()
        .zip(&groups)
        .filter(|(tree, _)| tree.version == Version::One)
        .map(|(_, group)| group.clone())
        .collect();
    site.run.record_groups(&recorded)?;
    for (tree, group) in trees.iter().zip(&groups) {
        tree.create(group)?;
        tree.create(&group.join(HOST_GROUP))?;
        tree.create(&group.join(KEEPER_GROUP))?;
    }
    let keep = Keep { hostname: site.name.clone(), directory: site.directory.clone() };
    let mut command = probe::command(&Task::Keep(keep))?;
    Place::open_in(&namespace, &groups, None)?.enter(&mut command);
    // Not this program's own: whoever reads that to its end would wait for the node's end.
    let log = site.log("keeper");
    command.stderr(fs::File::create(&log).with_context(|| format!("making {}", log.display()))?);
    let mut keeper = Process::start(command, "the keeper of a node's namespaces")?;
    let line = keeper.line()?;
    ensure!(
        line.as_deref() == Some("ready"),
        "the namespaces of {} could not be made: {}",
        site.name,
        fs::read_to_string(&log).unwrap_or_default().trim()
    );
    let groups: Vec<_> = groups.iter().map(|group| group.join(HOST_GROUP)).collect();
    let place = Place::open_in(&namespace, &groups, Some(keeper.pid()))?;
    Ok((place, keeper))
}

/// The place of a node's programs, in a cluster that is up, whoever started it.
pub fn place(run: &Run, number: u8) -> Result<Place> {
    let namespace = run.name(&name(number));
    let group = cgroup::root()?.join(&namespace);
    ensure!(group.exists(), "the cluster {run} has no node {number}");
    let keeper = fs::read_to_string(group.join(KEEPER_GROUP).join("cgroup.procs"))
        .with_context(|| format!("reading {}", group.display()))?;
    let keeper = keeper.trim_end().parse().context("the node's keeper is gone")?;
    let mut groups = run.recorded_groups();
    groups.retain(|group| group.file_name().is_some_and(|name| *name == *namespace));
    groups.push(group);
    let groups: Vec<_> = groups.iter().map(|group| group.join(HOST_GROUP)).collect();
    Place::open_in(&namespace, &groups, Some(keeper))
}
