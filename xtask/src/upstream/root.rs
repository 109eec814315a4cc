//! The root that the agnhost image stands on: the machine's own distribution, at its smallest, from its own package mirror.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{setup, shell};

/// What upstream's tests call inside a pod, beyond a shell and its usual tools.
const PACKAGES: &[&str] = &[
    "bind9-dnsutils",
    "ca-certificates",
    "conntrack",
    "curl",
    "iperf",
    "iproute2",
    "iptables",
    "iputils-ping",
    "netcat-openbsd",
    "procps",
    "wget",
];

/// What an image has no use for, or what tells of the machine that it was made on.
const LEFT_OUT: &[&str] = &[
    "dev",
    "etc/apt/sources.list",
    "etc/hostname",
    "etc/machine-id",
    "etc/resolv.conf",
    "proc",
    "run",
    "sys",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache",
    "var/lib/apt/lists",
    "var/log",
];

/// What must be there all the same.
const FOLDERS: &[&str] = &["dev", "proc", "run", "sys", "var/cache", "var/log"];

/// Makes the root at `root`, which must not be there yet.
pub(super) fn make(root: &Path) -> Result<()> {
    ensure!(
        shell::is_root(),
        "the agnhost image is made of packages that only root can unpack: run this as root"
    );
    let archive = setup::Apt::new()?.own_suite()?;
    eprintln!("unpacking {} for the agnhost image", archive.suite);
    // In a mount namespace of its own, so that what debootstrap mounts goes with it, even where it is killed.
    let mut debootstrap = Command::new("unshare");
    debootstrap.args(["--mount", "debootstrap", "--variant=minbase"]);
    debootstrap.arg(format!("--include={}", PACKAGES.join(",")));
    debootstrap.args(archive.signed_by.map(|keyring| format!("--keyring={keyring}")));
    shell::output(debootstrap.arg(&archive.suite).arg(root).arg(&archive.uri))?;
    clean(root)?;
    add_users(root)
}

fn clean(root: &Path) -> Result<()> {
    for name in LEFT_OUT {
        let path = root.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Err(_) => Ok(()),
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    for name in FOLDERS {
        let path = root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The user and the group that upstream's tests of security contexts expect (`test/images/agnhost/Dockerfile`).
fn add_users(root: &Path) -> Result<()> {
    for (file, line) in [
        ("etc/passwd", "user-defined-in-image:x:1000:1000::/:/bin/sh\n"),
        (
            "etc/group",
            "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n",
        ),
    ] {
        let path = root.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(&path, text + line).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{add_users, clean};

    #[test]
    fn nothing_of_the_machine_that_made_it_stays_in_a_root() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["etc/apt", "dev", "var/log/apt", "usr/bin"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["etc/resolv.conf", "etc/hostname", "dev/null", "var/log/apt/history.log", "usr/bin/nc"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        clean(root.path()).unwrap();
        let is_there = |path: &str| root.path().join(path).exists();
        assert!(!is_there("etc/resolv.conf") && !is_there("etc/hostname") && !is_there("var/log/apt"));
        assert!(is_there("usr/bin/nc") && is_there("var/log") && is_there("dev"));
        assert_eq!(fs::read_dir(root.path().join("dev")).unwrap().count(), 0);
    }

    #[test]
    fn the_users_of_upstreams_tests_come_after_those_of_the_distribution() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        for file in ["etc/passwd", "etc/group"] {
            fs::write(root.path().join(file), "root:x:0:\n").unwrap();
        }
        add_users(root.path()).unwrap();
        let group = fs::read_to_string(root.path().join("etc/group")).unwrap();
        assert!(group.starts_with("root:x:0:\n"));
        assert!(group.ends_with("group-defined-in-image:x:50000:user-defined-in-image\n"));
    }
}
