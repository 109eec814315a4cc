//! Programs of the system that chores run, and the Debian packages that hold them.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// A program and the Debian package that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
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

/// What the lab needs.
pub(crate) const LAB: &[Tool] = &[IPROUTE2, ETHTOOL, NFTABLES];
/// What virtual machines need.
pub(crate) const VM: &[Tool] = &[QEMU, BUSYBOX, STRIP, XZ, IPROUTE2, ETHTOOL, NFTABLES];
/// What any chore needs.
pub(crate) const ALL: &[Tool] = VM;

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
    tools.iter().filter(|tool| !exists(tool.program)).map(|tool| tool.package).collect()
}

#[cfg(test)]
mod tests {
    use super::{ALL, packages_missing};

    #[test]
    fn only_packages_of_programs_that_are_not_there_are_asked_for() {
        assert_eq!(packages_missing(ALL, |program| program != "nft"), ["nftables"]);
        assert!(packages_missing(ALL, |_| true).is_empty());
    }
}
