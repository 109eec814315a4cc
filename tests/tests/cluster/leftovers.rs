//! What may remain of a run: looked for by other means than those that remove it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use penstock_tests::lab::{Run, wait_until};

/// Fails where a process, a namespace, a mount, a group or a file of the run is there.
pub(crate) fn nothing_is_left(run: &Run) -> Result<()> {
    // The janitor of a killed maker works on its own.
    wait_until("the run has been removed", Duration::from_secs(60), || Ok(!run.exists()))?;
    let name = run.name("");
    let directory = run.directory().display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&words).contains(&directory) {
            found.push(format!("process {}", entry.path().display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    found.extend(mounts.lines().filter(|line| line.contains(&name)).map(str::to_owned));
    let mut pending = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = pending.pop() {
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in below.map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if has_prefix(&path, &name) {
                found.push(format!("group {}", path.display()));
            }
            pending.push(path);
        }
    }
    for folder in ["/run/netns", "/tmp"] {
        let entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
        found.extend(entries.filter(|path| has_prefix(path, &name)).map(|path| path.display().to_string()));
    }
    ensure!(found.is_empty(), "left of {run}: {found:?}");
    Ok(())
}

fn has_prefix(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}
