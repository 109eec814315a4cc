//! What Penstock needs of the kernel and of its own rights, checked one by one before anything is changed.

use std::fs;
use std::path::Path;

use crate::Error;
use crate::sys::{QueryTarget, attach_types, query};

/// The lowest kernel, as version and patch level.
pub const LOWEST_KERNEL: (u32, u32) = (6, 1);

/// `CAP_SYS_ADMIN`: stands for those below it that were split off from it in Linux 5.8.
const SYS_ADMIN: u32 = 21;

/// Capabilities by name, number (capabilities(7)), what needs them, and whether `CAP_SYS_ADMIN` stands for them.
const CAPABILITIES: [(&str, u32, &str, bool); 4] = [
    ("CAP_NET_ADMIN", 12, "attaching programs to devices and cgroups, and making routes", false),
    ("CAP_SYS_ADMIN", SYS_ADMIN, "finding attached programs by number and mounting bpffs", false),
    ("CAP_PERFMON", 38, "loading programs that compare pointers into packets", true),
    ("CAP_BPF", 39, "loading programs and making maps", true),
];

/// What this kernel offers beyond the lowest that is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// TCX links on devices (Linux 6.6); clsact filters serve below.
    pub tcx: bool,
}

/// Checks rights and kernel. Gives everything that is missing, not just the first.
///
/// # Errors
/// One error for each missing capability or feature.
pub fn check() -> Result<Features, Vec<Error>> {
    let mut missing = missing_capabilities();
    missing.extend(missing_features(&release(), Path::new("/sys/kernel/btf/vmlinux").exists()));
    if missing.is_empty() { Ok(Features { tcx: has_tcx() }) } else { Err(missing) }
}

/// What a kernel of this release, with or without type information, lacks.
fn missing_features(release: &str, types: bool) -> Vec<Error> {
    let old = version(release).is_some_and(|version| version < LOWEST_KERNEL);
    let lacks = |feature, since| Error::MissingFeature { feature, since, release: release.to_owned() };
    let age = old.then(|| lacks("what the programs need", "Linux 6.1"));
    let types =
        (!types).then(|| lacks("its own type information", "Linux 5.4, built with CONFIG_DEBUG_INFO_BTF"));
    age.into_iter().chain(types).collect()
}

/// The capabilities that this thread lacks. Where its status cannot be read, the kernel's refusal will tell.
fn missing_capabilities() -> Vec<Error> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else { return Vec::new() };
    let has = |number: u32| effective & 1 << number != 0;
    CAPABILITIES
        .iter()
        .filter(|(_, number, _, implied)| !(has(*number) || *implied && has(SYS_ADMIN)))
        .map(|(capability, _, purpose, _)| Error::MissingCapability { capability, purpose })
        .collect()
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The running kernel's release, as uname(2) tells it.
#[must_use]
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether devices have the TCX hook: the kernel answers a question about device 1, the loopback of every namespace.
fn has_tcx() -> bool {
    query(QueryTarget::Device(1), attach_types::TCX_INGRESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_up_to_its_patch_level() {
        assert_eq!(version("6.1.0-18-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("6.18.44"), Some((6, 18)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn each_missing_feature_is_named_with_what_brings_it() {
        let missing = |release, types| {
            missing_features(release, types).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(missing("6.1.0-18-cloud-amd64", true), [""; 0]);
        assert_eq!(
            missing("5.15.0", false),
            [
                "this kernel (5.15.0) lacks what the programs need, which came with Linux 6.1",
                "this kernel (5.15.0) lacks its own type information, which came with Linux 5.4, built with \
                 CONFIG_DEBUG_INFO_BTF",
            ]
        );
    }

    #[test]
    fn effective_capabilities_are_read_from_the_process_status() {
        let status = "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000001000\n";
        assert_eq!(effective_capabilities(status), Some(1 << 12));
        assert_eq!(effective_capabilities("Name:\tagent\n"), None);
    }
}
