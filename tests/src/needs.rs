//! What a test needs of the machine and of its build, so that a plain `cargo test` works without any of it.

use std::io::Write;

use anyhow::{Result, bail};

use crate::cluster::{AGENT_IMAGE, IMAGES, MANIFESTS, TOOLS};

/// What a test needs beyond a compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Root rights, to make namespaces.
    Root,
    /// Root rights, and the eBPF programs in this build or in the file that `PENSTOCK_BPF_OBJECT` names.
    Programs,
    /// Root rights, and the agent with its programs, named by `PENSTOCK_BIN`.
    Agent,
    /// Root rights, and what a real Kubernetes is made of, with the agent's image and its manifests.
    Cluster,
    /// As [`Need::Agent`], and the programs and images of Kubernetes.
    Kubernetes,
}

/// Whether the need is met. Where it is not, says so; that is an error where `CI` is set.
pub fn met(need: Need) -> Result<bool> {
    let Some(missing) = missing(need) else { return Ok(true) };
    if std::env::var_os("CI").is_some() {
        bail!("this test needs {missing}, and with CI set it may not be skipped");
    }
    // Past the test runner, which keeps what a passing test prints to itself.
    writeln!(
        std::io::stderr(),
        "skipped: this test needs {missing}; `cargo xtask test` as root has all that tests need"
    )?;
    Ok(false)
}

fn missing(need: Need) -> Option<&'static str> {
    let is_set = |name| std::env::var_os(name).is_some();
    if !nix::unistd::geteuid().is_root() {
        return Some("root rights");
    }
    match need {
        Need::Programs if !is_set("PENSTOCK_BPF_OBJECT") && penstock_kernel::object::bytes().is_err() => {
            Some("the eBPF programs")
        }
        Need::Agent | Need::Kubernetes if !is_set("PENSTOCK_BIN") => Some("the agent, named by PENSTOCK_BIN"),
        Need::Kubernetes if !is_set(TOOLS) || !is_set(IMAGES) => {
            Some("a Kubernetes, which `cargo xtask test --tier apiserver` builds")
        }
        Need::Cluster => {
            let all = [TOOLS, IMAGES, AGENT_IMAGE, MANIFESTS].into_iter().all(is_set);
            (!all).then_some("a Kubernetes, which `cargo xtask test --tier cluster` builds")
        }
        _ => None,
    }
}

/// Ends a test that returns a [`Result`] where its need is not met.
#[macro_export]
macro_rules! needs {
    ($need:ident) => {
        if !$crate::needs::met($crate::needs::Need::$need)? {
            return Ok(());
        }
    };
}
