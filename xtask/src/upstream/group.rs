//! What can be asked for, and how each is built.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use super::cache::{self, Key};
use super::go::{Build, Module, What};
use super::images;

/// Programs that are built together, or the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// etcd
    Etcd,
    /// kube-apiserver and kubectl
    Apiserver,
    /// kube-controller-manager, kube-scheduler, kubelet and kube-proxy
    Kubernetes,
    /// containerd, its shim and ctr
    Containerd,
    /// coredns
    Coredns,
    /// Archives of the images that pods run
    Images,
    /// Upstream's end-to-end tests (e2e.test) and ginkgo
    E2e,
}

pub(super) const KUBERNETES: Module = Module { name: "kubernetes", requires: "k8s.io/kubernetes" };
const ETCD: Module = Module { name: "etcd", requires: "go.etcd.io/etcd/server/v3" };
const CONTAINERD: Module = Module { name: "containerd", requires: "github.com/containerd/containerd/v2" };
const COREDNS: Module = Module { name: "coredns", requires: "github.com/coredns/coredns" };

/// Leaves out what only a debugger reads.
const STRIPPED: &str = "-s -w";

impl Group {
    /// As one asks for it.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) fn module(self) -> Module {
        match self {
            Self::Etcd => ETCD,
            Self::Containerd => CONTAINERD,
            Self::Coredns => COREDNS,
            Self::Apiserver | Self::Kubernetes | Self::Images | Self::E2e => KUBERNETES,
        }
    }

    /// The version of what it is built from.
    pub(super) fn version(self) -> Result<String> {
        self.module().version()
    }

    /// The calls of Go that build it.
    pub(super) fn builds(self) -> Result<Vec<Build>> {
        let version = self.version()?;
        let programs = |packages, linked: String| Build {
            what: What::Programs(packages),
            flags: vec![format!("-ldflags={linked}")],
        };
        let builds = match self {
            Self::Etcd => vec![programs(&["penstock/upstream/etcd"], STRIPPED.to_owned())],
            Self::Apiserver => vec![programs(
                &["k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kubectl"],
                stamped(&version),
            )],
            Self::Kubernetes => vec![programs(
                &[
                    "k8s.io/kubernetes/cmd/kube-controller-manager",
                    "k8s.io/kubernetes/cmd/kube-scheduler",
                    "k8s.io/kubernetes/cmd/kubelet",
                    "k8s.io/kubernetes/cmd/kube-proxy",
                ],
                stamped(&version),
            )],
            Self::Containerd => {
                const PACKAGES: &[&str] = &[
                    "github.com/containerd/containerd/v2/cmd/containerd",
                    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                    "github.com/containerd/containerd/v2/cmd/ctr",
                ];
                let stamp = format!("-X {}/version.Version={version}", CONTAINERD.requires);
                let mut build = programs(PACKAGES, format!("{STRIPPED} {stamp}"));
                // Storage that needs C libraries, or is of another system.
                build.flags.push("-tags=no_btrfs,no_devmapper,no_zfs".to_owned());
                vec![build]
            }
            Self::Coredns => vec![programs(&["github.com/coredns/coredns"], STRIPPED.to_owned())],
            Self::Images => vec![programs(
                &[
                    "k8s.io/kubernetes/test/images/agnhost",
                    "k8s.io/kubernetes/test/images/regression-issue-74839",
                ],
                stamped(&version),
            )],
            Self::E2e => vec![
                Build {
                    what: What::Tests("k8s.io/kubernetes/test/e2e"),
                    flags: vec![format!("-ldflags={}", stamped(&version))],
                },
                programs(&["github.com/onsi/ginkgo/v2/ginkgo"], STRIPPED.to_owned()),
            ],
        };
        Ok(builds)
    }

    /// What it is kept under.
    pub(super) fn key(self) -> Result<Key> {
        let mut parts = self.module().sources()?;
        parts.push(std::env::consts::ARCH.into());
        parts.extend(self.builds()?.iter().map(|build| build.key().into_bytes()));
        if self == Self::Images {
            parts.extend(images::parts()?);
        }
        Ok(Key::new(&self.name(), &self.version()?, parts.iter().map(Vec::as_slice)))
    }

    /// Its folder, built where it is missing.
    pub(super) fn ensure(self) -> Result<PathBuf> {
        cache::ensure(&self.key()?, |folder| match self {
            Self::Images => images::build(folder),
            _ => self.programs_into(folder),
        })
    }

    /// Builds its programs into a folder.
    pub(super) fn programs_into(self, folder: &Path) -> Result<()> {
        self.builds()?.iter().try_for_each(|build| self.module().build(build, folder))
    }

    /// Whether this folder has all of its programs already.
    pub(super) fn is_in(self, folder: &Path) -> bool {
        // Images hold programs, but no folder of programs is an image.
        self != Self::Images
            && self.builds().is_ok_and(|builds| {
                builds.iter().flat_map(Build::programs).all(|program| folder.join(program).is_file())
            })
    }
}

/// Kubernetes' linker flags: without the version in it, an API server calls itself v0.0.0 and clients refuse it
/// (`hack/lib/version.sh`).
fn stamped(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let values =
        [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor), ("gitTreeState", "clean")];
    let mut flags = STRIPPED.to_owned();
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        for (name, value) in values {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use clap::ValueEnum as _;

    use super::{Group, stamped};

    #[test]
    fn every_group_has_a_pinned_version_and_a_key_of_its_own() {
        let keys: BTreeSet<String> = Group::value_variants()
            .iter()
            .map(|group| {
                assert!(group.version().unwrap().starts_with('v'), "{group:?}");
                group.key().unwrap().as_str().to_owned()
            })
            .collect();
        assert_eq!(keys.len(), Group::value_variants().len());
    }

    #[test]
    fn kubernetes_is_stamped_with_its_version() {
        let flags = stamped("v1.36.3");
        assert!(flags.contains(" -X k8s.io/component-base/version.gitVersion=v1.36.3 "));
        assert!(flags.contains(" -X k8s.io/client-go/pkg/version.gitMinor=36 "));
    }

    #[test]
    fn a_folder_of_somebody_elses_counts_where_it_has_every_program() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kube-apiserver"), "").unwrap();
        assert!(!Group::Apiserver.is_in(folder.path()));
        fs::write(folder.path().join("kubectl"), "").unwrap();
        assert!(Group::Apiserver.is_in(folder.path()));
        assert!(!Group::Images.is_in(folder.path()));
    }
}
