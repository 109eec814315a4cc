//! Cluster objects in, table operations out: everything between a source of Kubernetes objects and the kernel's tables,
//! as pure code.
//!
//! ```text
//! objects::Event -> view::ClusterView -> desired -> plan -> executor -> tables::Tables
//! ```
//!
//! Owns: the objects as they are read ([`objects`]), the rules of which endpoints serve, the indices and slots of the
//! tables and when they may be reused, the order of writes ([`tables::Op`]), and the bookkeeping of what the tables hold.
//! All of it stands behind [`Controller`].
//!
//! Invariants:
//! - A change costs what it touches: an EndpointSlice its own Service, a Node the ways to its addresses.
//! - Every prefix of the operations is safe, for the datapath and for an agent that starts on what it left.
//! - The bookkeeping moves after the tables took an operation, never before.
//! - Nothing that a reader may still hold gets a new meaning.
//! - The same events in the same order give the same operations.
//!
//! Must not know: how a map is reached, where objects come from, time, threads, or anything of the packet's way.
#![forbid(unsafe_code)]

mod applied;
mod claims;
mod controller;
mod desired;
mod executor;
mod facts;
pub mod memory;
pub mod objects;
mod plan;
mod port;
mod reuse;
mod routing;
pub mod tables;
mod view;
mod warning;

pub use controller::{Controller, Failure, Report};
pub use facts::{Device, NodeFacts};
pub use reuse::{Due, Reclaim, Reclaimed};
pub use routing::DesiredRoute;
pub use view::{ClusterView, QualifiedName};
pub use warning::{Problem, Warning};
