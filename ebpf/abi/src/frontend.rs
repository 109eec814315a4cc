//! What a Service is reached at.

use crate::address::{Addr4, Addr6, Port, Protocol};
use crate::plain::plain;

/// Key of the frontends tables: what a Service is reached at. The value is a service index (`u32`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct FrontendKey<A> {
    /// The Service's address.
    pub addr: A,
    /// The Service's port.
    pub port: Port,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who asks, as a [`Scope`].
    pub scope: u8,
}
plain!(FrontendKey<Addr4>, 8: addr: Addr4, port: Port, protocol: Protocol, scope: u8);
plain!(FrontendKey<Addr6>, 20: addr: Addr6, port: Port, protocol: Protocol, scope: u8);

impl<A> FrontendKey<A> {
    /// The key for clients inside the cluster.
    #[inline(always)]
    pub fn cluster(addr: A, port: Port, protocol: Protocol) -> Self {
        Self { addr, port, protocol, scope: Scope::Cluster as u8 }
    }
}

/// Who asks for a Service: the same address may have other endpoints for a client of another scope.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// A pod of the cluster, or a node itself.
    Cluster = 0,
}
