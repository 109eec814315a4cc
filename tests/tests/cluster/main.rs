//! A real Kubernetes, with Penstock installed in it by `kubectl apply -k`, and driven by `kubectl` alone, as its users do. Needs
//! root rights and what `cargo xtask test --tier cluster` builds.
//!
//! The cluster is tested by [`itself`]. The other tests share one ([`fixture`]), where Penstock is the only Service proxy, and
//! have a namespace of their own in it. Nothing is timed: what is to come is waited for, with a limit that only a broken
//! system reaches.

mod bad_input;
mod changes;
mod clients;
mod fixture;
mod installation;
mod itself;
mod leftovers;
mod names;
mod namespace;
mod node_object;
mod objects;
mod overlays;
mod pods;
mod readme;
mod rights;
mod rolling_deployment;
mod rolling_update;
mod traffic;
