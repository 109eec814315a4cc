//! The lab: a small cluster on one machine, made of namespaces, for the tests, the demo and the benchmarks.
//!
//! Owns: nodes, pods and the wires between them ([`lab`]), and the processes that send and answer traffic inside them
//! ([`probe`], [`traffic`]).
//!
//! Invariants:
//! - The root network namespace and the root cgroup are never touched: every device, route, sysctl and program lives
//!   in a namespace or a group that the lab has made.
//! - Everything that the lab makes bears its run's name, so that a dead run's leftovers are found and removed.
//!
//! Must not know: how Penstock works inside. The lab starts the binary and looks at packets, sockets and commands.

pub mod cluster;
pub mod lab;
pub mod needs;
pub mod probe;
pub mod traffic;
