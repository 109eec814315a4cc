//! A kube-proxy on this node: whether it runs, what it has left in the kernel, and the removal of exactly that.
//!
//! What is kube-proxy's is decided in one place, [`names`], by the names that its source has for them; kubelet's chains
//! (`KUBE-FIREWALL`, `KUBE-KUBELET-CANARY`, `KUBE-IPTABLES-HINT`) and those of other programs that begin with `KUBE-` are
//! nobody's business here. [`rules`] and [`tables`] read what the system's tools print and say what to tell them; they are
//! pure. Everything else is the running of those tools.

pub(crate) mod command;
mod names;
mod removal;
mod rules;
mod running;
mod tables;
mod tools;
mod traces;
pub(crate) mod watch;

pub(crate) use self::removal::release;
pub(crate) use self::tools::{Tools, enter};
