//! Where a process runs: the network namespace and the cgroup of a node or a pod.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

use super::cgroup;
use super::process::{Load, Process};
use super::run::{NETNS, Run};
use super::sys::{Doors, enter_on_exec};
use crate::probe::{self, Answer, Ask, Serve, Task};

/// The namespaces of a node beside that of its network, which a process of its own holds.
const KEPT: [(&str, CloneFlags); 3] = [
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// The network namespace and the cgroup of a node or a pod, and a node's mounts.
#[derive(Clone, Debug)]
pub struct Place {
    name: String,
    doors: Arc<Doors>,
}

impl Place {
    /// The place with this network namespace and cgroup; with the mounts and the other namespaces of `keeper`.
    pub(crate) fn open(namespace: &str, cgroup: &Path, keeper: Option<u32>) -> Result<Self> {
        Self::open_in(namespace, std::slice::from_ref(&cgroup), keeper)
    }

    /// As [`Place::open`], with a group in each of several trees.
    pub(crate) fn open_in(namespace: &str, groups: &[impl AsRef<Path>], keeper: Option<u32>) -> Result<Self> {
        let open = |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
        let mut namespaces = Vec::new();
        if let Some(pid) = keeper {
            let of_keeper = Path::new("/proc").join(pid.to_string()).join("ns");
            // The mounts last: what is opened above has been opened by then.
            for (file, kind) in KEPT {
                namespaces.push((open(&of_keeper.join(file))?, kind));
            }
        }
        let mut cgroups = Vec::new();
        for group in groups {
            let procs = group.as_ref().join("cgroup.procs");
            let file = OpenOptions::new().write(true).open(&procs);
            cgroups.push(file.with_context(|| format!("opening {}", procs.display()))?);
        }
        let doors = Doors { net: self::namespace(namespace)?, namespaces, cgroups };
        Ok(Self { name: namespace.to_owned(), doors: Arc::new(doors) })
    }

    /// The network namespace and the version 2 group of a process, and the mounts of this program.
    pub(crate) fn of_process(name: &str, pid: u32) -> Result<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let groups = fs::read_to_string(process.join("cgroup"))
            .with_context(|| format!("reading the groups of the process of {name}"))?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let group = group.with_context(|| format!("the process of {name} is in no group"))?;
        let procs = cgroup::root()?.join(group).join("cgroup.procs");
        let procs = OpenOptions::new()
            .write(true)
            .open(&procs)
            .with_context(|| format!("opening {}", procs.display()))?;
        let net = File::open(process.join("ns/net"))
            .with_context(|| format!("opening the network namespace of {name}"))?;
        let doors = Doors { net, namespaces: Vec::new(), cgroups: vec![procs] };
        Ok(Self { name: name.to_owned(), doors: Arc::new(doors) })
    }

    /// A node (`n1`) or a pod of a run that is up, whoever started it.
    pub fn of(run: &Run, node: &str, pod: Option<&str>) -> Result<Self> {
        let group = cgroup::root()?.join(run.name(node));
        match pod {
            Some(pod) => Self::open(&run.name(&format!("{node}-{pod}")), &group.join(pod), None),
            None => {
                // The keeper of the node's mounts is the only process of the group itself.
                let keeper = fs::read_to_string(group.join("cgroup.procs"))
                    .with_context(|| format!("reading {}", group.display()))?;
                let keeper = keeper.trim_end().parse().context("the node's keeper is gone")?;
                Self::open(&run.name(node), &group.join("host"), Some(keeper))
            }
        }
    }

    /// What it is called: the name of its network namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command whose process will run here.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.enter(&mut command);
        command
    }

    /// Makes the command's process run here.
    pub(crate) fn enter(&self, command: &mut Command) {
        enter_on_exec(command, Arc::clone(&self.doors));
    }
}

/// A network namespace by its name.
pub(crate) fn namespace(name: &str) -> Result<File> {
    let path = Path::new(NETNS).join(name);
    File::open(&path).with_context(|| format!("opening {}", path.display()))
}

/// Sets sysctls of a network namespace, named by their path below `/proc/sys/net`.
pub(crate) fn set_sysctls(net: &File, settings: &[(&str, &str)]) -> Result<()> {
    run_in(net, || {
        for (name, value) in settings {
            let path = Path::new("/proc/sys/net").join(name);
            fs::write(&path, value).with_context(|| format!("setting {}", path.display()))?;
        }
        Ok(())
    })
}

/// Runs a closure in a network namespace, on a thread of its own.
fn run_in<T: Send>(net: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(net, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Runs for Place {
    fn place(&self) -> &Place {
        self
    }
}

/// What processes can be started in: nodes and pods.
pub trait Runs {
    /// Where they run.
    fn place(&self) -> &Place;

    /// A command whose process runs here.
    fn command(&self, program: &str) -> Command {
        self.place().command(program)
    }

    /// Runs a command here to its end and gives its output; a failure is an error with what it said.
    fn output(&self, words: &[&str]) -> Result<String> {
        let [program, arguments @ ..] = words else { anyhow::bail!("no command given") };
        let output = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {words:?} in {}", self.place().name))?;
        ensure!(
            output.status.success(),
            "{} in {} failed: {}",
            words.join(" "),
            self.place().name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a closure in the network namespace, on a thread of its own. Sockets that it makes belong to this process's
    /// cgroup, so the node's socket hooks do not see them.
    fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        run_in(&self.place().doors.net, work).with_context(|| format!("in {}", self.place().name))
    }

    /// Sets sysctls of the network namespace, named by their path below `/proc/sys/net`.
    fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        set_sysctls(&self.place().doors.net, settings)
    }

    /// Starts a server here and waits until it listens.
    fn serve(&self, serve: &Serve) -> Result<Process> {
        let mut command = probe::command(&Task::Serve(serve.clone()))?;
        self.place().enter(&mut command);
        let mut process = Process::start(command, "the server")?;
        let line = process.line()?;
        ensure!(line.as_deref() == Some("ready"), "the server said {line:?} in place of \"ready\"");
        Ok(process)
    }

    /// Sends requests from here and gives their outcomes.
    fn ask(&self, ask: &Ask) -> Result<Vec<Answer>> {
        ensure!(ask.count > 0, "requests without an end are a load");
        let mut command = probe::command(&Task::Ask(ask.clone()))?;
        self.place().enter(&mut command);
        let output = command.stdin(Stdio::null()).output().context("starting the client")?;
        ensure!(
            output.status.success(),
            "the client failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("the client said {line:?}")))
            .collect()
    }

    /// Starts sending requests from here, one after the other, until the load is stopped.
    fn load(&self, ask: &Ask) -> Result<Load> {
        let mut command = probe::command(&Task::Ask(Ask { count: 0, ..ask.clone() }))?;
        self.place().enter(&mut command);
        Load::start(command)
    }
}
