//! The group below which sockets are served.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The file that every group has.
const MEMBERS: &str = "cgroup.procs";

/// Where the cgroup2 tree is mounted.
///
/// # Errors
/// It is not mounted.
pub(super) fn mounted() -> Result<PathBuf> {
    find(&mounts()?, Path::new("/"))
        .context("no cgroup2 is mounted: mount one, name a group with --cgroup, or use --socket-lb off")
}

/// The group that a path names: itself, or the first cgroup2 tree that is mounted below it, as `/sys/fs/cgroup/unified` is where
/// most controllers are still of version 1.
///
/// # Errors
/// There is none.
pub(super) fn at(path: &Path) -> Result<PathBuf> {
    if path.join(MEMBERS).exists() {
        return Ok(path.to_path_buf());
    }
    find(&mounts()?, path)
        .filter(|found| found.join(MEMBERS).exists())
        .with_context(|| format!("--cgroup {}: no cgroup2 group, and none is mounted below", path.display()))
}

fn mounts() -> Result<String> {
    fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")
}

/// The first mount of cgroup2 at or below a path, in the form of fstab(5).
fn find(mounts: &str, below: &Path) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let place = PathBuf::from(unescape(fields.nth(1)?));
        (fields.next()? == "cgroup2" && place.starts_with(below)).then_some(place)
    })
}

/// The kernel writes what would end a field as `\` and three octal digits.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_cgroup2_is_found_among_those_of_version_1_and_of_other_places() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/uni\\040fied cgroup2 rw,nosuid 0 0\n\
                      cgroup2 /host/cgroup/unified cgroup2 ro 0 0\n";
        let below = |path: &str| find(mounts, Path::new(path));
        assert_eq!(below("/"), Some("/sys/fs/cgroup/uni fied".into()));
        assert_eq!(below("/sys/fs/cgroup"), Some("/sys/fs/cgroup/uni fied".into()));
        assert_eq!(below("/host/cgroup"), Some("/host/cgroup/unified".into()));
        assert_eq!(below("/host/cgr"), None);
        assert_eq!(find("proc /proc proc rw 0 0\n", Path::new("/")), None);
    }
}
