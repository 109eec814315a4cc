//! The name of one lab, and the removal of everything that bears it.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

use super::{cgroup, ip};

/// Where `ip netns` keeps the names of network namespaces.
pub(crate) const NETNS: &str = "/run/netns";

const PREFIX: &str = "pst-";

/// One lab's identity: the process that made it and a number within that process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    pid: u32,
    number: u32,
}

impl Run {
    /// A name that no other lab of this machine bears.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self { pid: std::process::id(), number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// The name of one of the run's things: a namespace, a cgroup.
    pub fn name(&self, thing: &str) -> String {
        format!("{PREFIX}{self}-{thing}")
    }

    /// Where the run keeps files: manifests, logs.
    pub fn directory(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{PREFIX}{self}"))
    }

    fn keep_mark(&self) -> PathBuf {
        self.directory().join("keep")
    }

    /// Lets [`sweep`] leave the run alone although its process is gone.
    pub(crate) fn mark_kept(&self) -> Result<()> {
        fs::write(self.keep_mark(), "").context("marking the run as kept")
    }

    /// Remembers groups outside the version 2 tree, for [`Run::remove`]. To be called before they are made.
    pub(crate) fn record_groups(&self, groups: &[PathBuf]) -> Result<()> {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.groups_file())
            .context("opening the run's list of groups")?;
        let lines: String = groups.iter().map(|group| format!("{}\n", group.display())).collect();
        // In one piece: nodes are made side by side, and what each writes stays together only within one call.
        file.write_all(lines.as_bytes()).context("writing the run's list of groups")
    }

    /// What [`Run::record_groups`] was told.
    pub(crate) fn recorded_groups(&self) -> Vec<PathBuf> {
        fs::read_to_string(self.groups_file()).unwrap_or_default().lines().map(PathBuf::from).collect()
    }

    fn groups_file(&self) -> PathBuf {
        self.directory().join("groups")
    }

    /// The runs of which anything is left.
    pub fn all() -> Result<Vec<Self>> {
        found()
    }

    /// Whether anything of the run is left.
    pub fn exists(&self) -> bool {
        found().is_ok_and(|runs| runs.contains(self))
    }

    /// Ends the run's processes and removes its cgroups, namespaces (with their devices and mounts) and files.
    ///
    /// What is gone already is no error.
    pub fn remove(&self) -> Result<()> {
        let prefix = self.name("");
        let root = cgroup::root()?;
        for group in names_in(&root)?.iter().filter(|name| name.starts_with(&prefix)) {
            cgroup::remove(&root.join(group))?;
        }
        // Last made, first removed: a group is empty only when those below it are gone.
        for group in self.recorded_groups().iter().rev() {
            cgroup::remove_emptied(group)?;
        }
        let namespaces: Vec<String> =
            names_in(Path::new(NETNS))?.into_iter().filter(|name| name.starts_with(&prefix)).collect();
        ip::delete_namespaces(&namespaces)?;
        match fs::remove_dir_all(self.directory()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.directory().display()))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.pid, self.number)
    }
}

impl FromStr for Run {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((pid, number)) = text.split_once('-') else {
            bail!("{text:?} names no run; one looks like 1234-1");
        };
        let read = |digits: &str| digits.parse().with_context(|| format!("{text:?} names no run"));
        Ok(Self { pid: read(pid)?, number: read(number)? })
    }
}

/// Removes what dead runs have left, unless they were asked to keep it.
pub fn sweep() -> Result<()> {
    for run in found()? {
        let alive = Path::new("/proc").join(run.pid.to_string()).exists();
        if !alive && !run.keep_mark().exists() {
            run.remove().with_context(|| format!("removing the leftovers of run {run}"))?;
        }
    }
    Ok(())
}

/// As [`sweep`], the first time that this process asks.
pub(crate) fn sweep_once() -> Result<()> {
    static SWEEP: Once = Once::new();
    let mut swept = Ok(());
    SWEEP.call_once(|| swept = sweep());
    swept
}

/// The runs of which a namespace, a cgroup or a directory is left.
fn found() -> Result<Vec<Run>> {
    let mut names = names_in(Path::new(NETNS))?;
    names.extend(names_in(&cgroup::root()?)?);
    names.extend(names_in(&std::env::temp_dir())?);
    let mut runs: Vec<Run> = Vec::new();
    for run in names.iter().filter_map(|name| run_of(name)) {
        if !runs.contains(&run) {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The run that a name bears: `pst-<pid>-<number>`, alone or with a further part.
fn run_of(name: &str) -> Option<Run> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    Some(Run { pid: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? })
}

fn names_in(directory: &Path) -> Result<Vec<String>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("listing {}", directory.display())),
        Ok(entries) => Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_labs_own_names_belong_to_a_run() {
        let run = Run { pid: 1234, number: 2 };
        assert_eq!(run_of(&run.name("n1-client")), Some(run.clone()));
        assert_eq!(run_of("pst-1234-2"), Some(run));
        assert_eq!(run_of("pst-kernel-test"), None);
        assert_eq!(run_of("cni-1234-2-n1"), None);
    }

    #[test]
    fn groups_that_several_nodes_record_at_one_time_are_all_remembered() {
        let run = Run::new();
        fs::create_dir(run.directory()).unwrap();
        let groups = |node: u32| -> Vec<PathBuf> {
            (0..9)
                .map(|tree| PathBuf::from(format!("/groups/{tree}/{}", run.name(&format!("n{node}")))))
                .collect()
        };
        let mut expected: Vec<_> = (0..200).flat_map(groups).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (run, groups) = (&run, &groups);
                scope.spawn(move || {
                    for node in (thread..200).step_by(4) {
                        run.record_groups(&groups(node)).unwrap();
                    }
                });
            }
        });
        let mut recorded = run.recorded_groups();
        fs::remove_dir_all(run.directory()).unwrap();
        recorded.sort_unstable();
        expected.sort_unstable();
        assert_eq!(recorded, expected);
    }

    #[test]
    fn one_runs_prefix_is_no_prefix_of_another_runs_names() {
        let (one, other) = (Run { pid: 12, number: 1 }, Run { pid: 12, number: 11 });
        assert!(!other.name("n1").starts_with(&one.name("")));
    }
}
