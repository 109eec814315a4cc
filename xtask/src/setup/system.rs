//! Programs of the system that chores run, and the Debian packages that hold them.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// A program and the Debian package that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Its name, or its path where it is not for people to call.
    program: &'static str,
    package: &'static str,
}

/// `ip` and `tc`: the lab's nodes and wires.
const IPROUTE2: Tool = Tool { program: "ip", package: "iproute2" };
/// Turns checksum and segmentation offloads on and off in tests.
const ETHTOOL: Tool = Tool { program: "ethtool", package: "ethtool" };
/// Shows that no rule is anywhere, and is what the benchmark compares with.
const NFTABLES: Tool = Tool { program: "nft", package: "nftables" };
/// Boots other kernels.
const QEMU: Tool = Tool { program: "qemu-system-x86_64", package: "qemu-system-x86" };
/// The userland inside those machines.
const BUSYBOX: Tool = Tool { program: "busybox", package: "busybox-static" };
/// Makes programs fit into their memory.
const STRIP: Tool = Tool { program: "strip", package: "binutils" };
/// Unpacks kernel modules.
const XZ: Tool = Tool { program: "xz", package: "xz-utils" };
/// Runs containers. A build of it by Go alone, without libseccomp, refuses pods.
const RUNC: Tool = Tool { program: "runc", package: "runc" };
/// Wires pods: `ptp`, `bridge`, `host-local`, `portmap` and `loopback` come together.
const CNI: Tool = Tool { program: "/usr/lib/cni/ptp", package: "containernetworking-plugins" };
/// What kube-proxy works with in its mode iptables, and what it leaves is removed with.
const IPTABLES: Tool = Tool { program: "xtables-legacy-multi", package: "iptables" };
/// What kube-proxy forgets stale flows with.
const CONNTRACK: Tool = Tool { program: "conntrack", package: "conntrack" };
/// What kube-proxy works with in its mode ipvs.
const IPSET: Tool = Tool { program: "ipset", package: "ipset" };
/// Unpacks a distribution, for images.
const DEBOOTSTRAP: Tool = Tool { program: "debootstrap", package: "debootstrap" };
/// Compiles the program of the pause image.
const CC: Tool = Tool { program: "cc", package: "build-essential" };

/// What the lab needs.
pub(crate) const LAB: &[Tool] = &[IPROUTE2, ETHTOOL, NFTABLES, IPTABLES];
/// What virtual machines need.
pub(crate) const VM: &[Tool] = &[QEMU, BUSYBOX, STRIP, XZ, IPROUTE2, ETHTOOL, NFTABLES];
/// What nodes of a real cluster need.
pub(crate) const CLUSTER: &[Tool] = &[IPROUTE2, ETHTOOL, NFTABLES, RUNC, CNI, IPTABLES, CONNTRACK, IPSET];
/// What making the images of their pods needs.
pub(crate) const IMAGES: &[Tool] = &[DEBOOTSTRAP, BUSYBOX, CC];
/// What any chore needs.
pub(crate) const ALL: &[&[Tool]] = &[LAB, VM, CLUSTER, IMAGES];

/// Sees to it that the tools are there: installs what is missing where this process may, else says what to install.
pub(crate) fn require(tools: &[Tool]) -> Result<()> {
    let missing = packages_missing(tools, shell::exists);
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::is_root() || !shell::exists("apt-get") {
        bail!("this chore needs packages that are not installed: {}", missing.join(" "));
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install =
        || shell::run(apt().args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(&missing));
    // The lists may be missing or old; they are fetched only where that shows.
    install().or_else(|_| shell::run(apt().args(["update", "--quiet"])).and_then(|()| install()))
}

fn packages_missing(tools: &[Tool], exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut missing: Vec<_> =
        tools.iter().filter(|tool| !exists(tool.program)).map(|tool| tool.package).collect();
    missing.sort_unstable();
    missing.dedup();
    missing
}

#[cfg(test)]
mod tests {
    use super::{ALL, packages_missing};

    #[test]
    fn only_packages_of_programs_that_are_not_there_are_asked_for() {
        assert_eq!(packages_missing(&ALL.concat(), |program| program != "nft"), ["nftables"]);
        assert!(packages_missing(&ALL.concat(), |_| true).is_empty());
    }
}
