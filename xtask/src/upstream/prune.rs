//! Builds that nobody has asked for in a long time, removed: each change of a version or a recipe leaves one behind, and so
//! does a build that was interrupted.
//!
//! A build's folder is marked by its time of modification whenever somebody asks for it. Whoever makes a build holds its
//! lock, and so does whoever removes it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

/// How long a build is kept after it was used last: longer than one works on one version, or on two by turns.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Notes that a build is used now. A cache that cannot be written to is left as it is.
pub(super) fn mark_used(build: &Path) {
    let _ = File::open(build).and_then(|folder| folder.set_modified(SystemTime::now()));
}

/// Removes what was not used for [`KEPT`] from a folder of builds. What cannot be removed stays and is named.
pub(super) fn prune(home: &Path) {
    for entry in folders(home) {
        if let Err(error) = remove_unused(&entry) {
            eprintln!("an old build stays: {error:#}");
        }
    }
}

/// The folders in a folder; none where it is not there.
fn folders(home: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn remove_unused(build: &Path) -> Result<()> {
    if !is_unused(build)? {
        return Ok(());
    }
    // The name of a build that was interrupted is the build's own with something behind it; its lock is the build's.
    let name = build.to_string_lossy();
    let name = name.strip_suffix(PARTIAL).unwrap_or(&name);
    // The lock's file stays: somebody may be waiting for it.
    let path = format!("{name}.lock");
    let lock = File::create(&path).with_context(|| format!("cannot make {path}"))?;
    // Somebody may also have begun to use it, or removed it, until the lock was taken.
    if lock.try_lock().is_err() || !build.exists() || !is_unused(build)? {
        return Ok(());
    }
    let partial = PathBuf::from(format!("{name}{PARTIAL}"));
    if build != partial {
        // From here on it is none any more, however far the removal comes.
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        }
        fs::rename(build, &partial).with_context(|| format!("cannot rename {}", build.display()))?;
    }
    fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    eprintln!("removed {}, which nobody has used for a month", build.display());
    Ok(())
}

/// What a build's name ends with until it is complete.
pub(super) const PARTIAL: &str = ".partial";

fn is_unused(build: &Path) -> Result<bool> {
    let used = fs::metadata(build).and_then(|metadata| metadata.modified());
    let used = used.with_context(|| format!("cannot look at {}", build.display()))?;
    Ok(used.elapsed().is_ok_and(|age| age > KEPT))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::{self, File};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{KEPT, folders, mark_used, prune};

    fn make(home: &Path, name: &str, age: Duration) {
        let build = home.join(name);
        fs::create_dir(&build).unwrap();
        fs::write(build.join("program"), "x").unwrap();
        File::open(&build).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }

    fn builds(home: &Path) -> BTreeSet<String> {
        let folders = folders(home);
        folders.iter().map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    const OLD: Duration = KEPT.saturating_add(Duration::from_secs(60));
    const RECENT: Duration = Duration::from_secs(60);

    #[test]
    fn builds_and_halves_of_builds_go_when_nobody_has_used_them_for_long() {
        let home = tempfile::tempdir().unwrap();
        make(home.path(), "etcd-v3.5.0-aa", OLD);
        make(home.path(), "etcd-v3.5.1-bb.partial", OLD);
        make(home.path(), "etcd-v3.6.8-cc", RECENT);
        make(home.path(), "etcd-v3.6.9-dd.partial", RECENT);
        prune(home.path());
        assert_eq!(
            builds(home.path()),
            ["etcd-v3.6.8-cc", "etcd-v3.6.9-dd.partial"].map(str::to_owned).into()
        );
    }

    #[test]
    fn a_build_that_is_used_now_and_then_stays() {
        let home = tempfile::tempdir().unwrap();
        make(home.path(), "etcd-v3.6.8-cc", OLD);
        mark_used(&home.path().join("etcd-v3.6.8-cc"));
        prune(home.path());
        assert_eq!(builds(home.path()).len(), 1);
    }

    #[test]
    fn an_old_build_that_somebody_makes_anew_at_this_moment_stays() {
        let home = tempfile::tempdir().unwrap();
        make(home.path(), "etcd-v3.6.8-cc.partial", OLD);
        let lock = File::create(home.path().join("etcd-v3.6.8-cc.lock")).unwrap();
        lock.lock().unwrap();
        prune(home.path());
        assert_eq!(builds(home.path()).len(), 1);
        lock.unlock().unwrap();
        prune(home.path());
        assert_eq!(builds(home.path()).len(), 0);
    }

    #[test]
    fn where_there_is_no_cache_there_is_nothing_to_remove() {
        let home = tempfile::tempdir().unwrap();
        prune(&home.path().join("missing"));
    }
}
