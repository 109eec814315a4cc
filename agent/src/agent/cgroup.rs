//! The group below which sockets are served.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where the cgroup2 tree is mounted.
///
/// # Errors
/// It is not mounted.
pub(super) fn mounted() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    find(&mounts)
        .context("no cgroup2 is mounted: mount one, name a group with --cgroup, or use --socket-lb off")
}

/// The first mount of cgroup2 in the form of fstab(5).
fn find(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| unescape(place).into())
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
    fn the_mount_of_cgroup2_is_found_among_those_of_version_1() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/uni\\040fied cgroup2 rw,nosuid 0 0\n";
        assert_eq!(find(mounts), Some("/sys/fs/cgroup/uni fied".into()));
        assert_eq!(find("proc /proc proc rw 0 0\n"), None);
    }
}
