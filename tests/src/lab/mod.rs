//! Nodes, pods and wires out of namespaces.
//!
//! A node is a network namespace, a mount namespace with a bpffs, sysfs and `/run` of its own, and a cgroup that is the
//! root of its own cgroup namespace: an unmodified `penstock agent` with its default paths serves that node alone. A pod
//! is a network namespace and a cgroup below its node's, wired as Calico and the ptp plugin do: addresses of /32 and
//! /128, a link-local gateway that the node answers ARP and ND for, and host routes on the node.
//!
//! ```text
//!   pst-<run>-net: bridge br0, the router (172.30.0.254, fd30::254)
//!      |                  |                   |
//!   pst-<run>-n1       pst-<run>-n2        pst-<run>-n3       172.30.0.N, fd30::N on eth0
//!      |  \               |                   |
//!   pst-<run>-n1-client  ...                                  10.244.N.x, fd44:N::x on eth0
//! ```

mod agent;
pub(crate) mod cgroup;
mod cluster;
pub(crate) mod ip;
mod janitor;
mod manifest;
mod node;
pub(crate) mod place;
mod pod;
mod process;
mod run;
mod sys;
mod tables;

pub use agent::{AgentOptions, Attach, penstock_binary};
pub(crate) use cluster::prepare;
pub use cluster::{Lab, wait_until};
pub(crate) use janitor::Janitor;
pub use janitor::janitor;
pub use manifest::{Endpoint, Family, Protocol, Service, ServicePort};
pub use node::{Node, keeper};
pub use place::{Place, Runs};
pub use pod::Pod;
pub use process::{Load, Process};
pub(crate) use run::sweep_once;
pub use run::{Run, sweep};
