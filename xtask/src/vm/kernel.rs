//! Debian's kernels for virtual machines, fetched from the machine's own package mirror.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::setup::{Apt, Suite};
use crate::{shell, workspace};

/// Every kernel that Debian packages for clouds is small and has what a virtual machine has.
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel that is there to boot.
pub(super) struct Kernel {
    /// As the kernel names itself, such as `6.1.0-50-cloud-amd64`.
    pub(super) release: String,
    pub(super) image: PathBuf,
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// The newest packaged kernel of a series such as `6.1`. Point releases replace each other on the mirror, so which
    /// one that is shows at run time; each is kept under `target/vm`.
    pub(super) fn fetch(series: &str) -> Result<Self> {
        let apt = Apt::new()?;
        let package = apt
            .find(|suite| newest(suite, series))?
            .with_context(|| format!("no suite of this machine's package mirror has a kernel {series}"))?;
        let folder = workspace::target().join("vm").join(format!("{}_{}", package.name, package.version));
        let root = folder.join("root");
        // Renamed into place, so that what is there is whole.
        if !root.is_dir() {
            let aside = folder.with_extension("partial");
            package.unpack(&aside)?;
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            fs::rename(aside.join("root"), &root)
                .with_context(|| format!("cannot make {}", root.display()))?;
            fs::remove_dir_all(&aside).with_context(|| format!("cannot remove {}", aside.display()))?;
        }
        Self::unpacked(&root)
    }

    fn unpacked(root: &Path) -> Result<Self> {
        let boot = root.join("boot");
        let images = fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
        let image = images
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find(|name| name.starts_with("vmlinuz-"))
            .with_context(|| format!("the package has no kernel in {}", boot.display()))?;
        let release = image.trim_start_matches("vmlinuz-").to_owned();
        // /lib is a link to /usr/lib: packages of either time put modules in one or the other.
        let modules = ["usr/lib/modules", "lib/modules"].map(|folder| root.join(folder).join(&release));
        let modules = modules.into_iter().find(|folder| folder.is_dir());
        let modules = modules.with_context(|| format!("the package of {release} has no modules"))?;
        Ok(Self { image: boot.join(image), modules, release })
    }
}

/// The newest kernel of a series in a suite, by name and version.
fn newest(suite: &Suite, series: &str) -> Result<Option<(String, String)>> {
    let names = suite.names_with_prefix(&format!("linux-image-{series}"))?;
    let mut newest: Option<(String, String)> = None;
    for name in names.into_iter().filter(|name| is_of_series(name, series)) {
        for version in suite.versions_of(&name)? {
            if newest.as_ref().is_none_or(|(_, best)| compare(&version, best) == Ordering::Greater) {
                newest = Some((name.clone(), version));
            }
        }
    }
    Ok(newest)
}

/// Whether a package is a kernel of the series: `linux-image-6.1.0-50-cloud-amd64` is of `6.1`, not of `6.12`.
fn is_of_series(package: &str, series: &str) -> bool {
    let rest = package.strip_prefix("linux-image-").and_then(|rest| rest.strip_prefix(series));
    rest.is_some_and(|rest| rest.starts_with(['.', '+', '-']) && rest.ends_with(FLAVOUR))
}

/// Debian's order of versions.
fn compare(a: &str, b: &str) -> Ordering {
    let newer = shell::output(Command::new("dpkg").args(["--compare-versions", a, "gt", b])).is_ok();
    if newer { Ordering::Greater } else { Ordering::Less }
}

#[cfg(test)]
mod tests {
    use super::is_of_series;

    #[test]
    fn a_series_takes_its_own_kernels_only() {
        assert!(is_of_series("linux-image-6.1.0-50-cloud-amd64", "6.1"));
        assert!(is_of_series("linux-image-6.12.107+deb13-cloud-amd64", "6.12"));
        assert!(!is_of_series("linux-image-6.12.107+deb13-cloud-amd64", "6.1"));
        assert!(!is_of_series("linux-image-6.1.0-50-amd64", "6.1"));
        assert!(!is_of_series("linux-image-6.1.0-50-cloud-amd64-dbg", "6.1"));
    }
}
