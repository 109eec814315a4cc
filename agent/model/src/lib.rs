//! Cluster objects in, table operations out: everything between a source of Kubernetes objects and the kernel's tables,
//! as pure code.
#![forbid(unsafe_code)]

pub mod facts;
pub mod objects;
pub mod tables;
