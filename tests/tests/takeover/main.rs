//! Penstock and the real kube-proxy taking over from each other in a real cluster, by the commands of the README's section
//! "Install", and API servers that go away, while requests run: none of them fails. Needs root rights and what `cargo xtask
//! test --tier takeover` builds.
//!
//! Each test has a cluster of its own, one after the other. Clients and servers are processes inside the pods' namespaces and
//! groups that ask nothing of kubelet or of the API server once they run.

mod api_server;
mod kube_proxy;
mod long_absence;
mod rules;
mod traffic;
mod world;
