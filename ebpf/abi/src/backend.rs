//! One endpoint of one Service port.

use crate::address::{Addr4, Addr6, Port, Protocol};
use crate::plain::plain;

/// Bit of [`Backend::member`]: the backend is in the set for clients inside the cluster.
pub const MEMBER_CLUSTER: u8 = 1;

/// Value of the backends tables: one endpoint of one Service port.
///
/// Immutable once a slot names it, but for `member` and `next_hop`, each replaced by one aligned store.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backend<A> {
    /// Where the endpoint listens.
    pub addr: A,
    /// Where the endpoint listens.
    pub port: Port,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The sets of its Service that the backend is in now, as bits. None: it serves what it has and gets nothing new.
    pub member: u8,
    /// The service index that this backend belongs to.
    pub service: u32,
    /// How packets get there: an index into the next hops.
    pub next_hop: u32,
    /// Rises each time the index is given to another endpoint: a check that reuse is never seen.
    pub generation: u32,
}
plain!(Backend<Addr4>, 20: addr: Addr4, port: Port, protocol: Protocol, member: u8, service: u32, next_hop: u32, generation: u32);
plain!(Backend<Addr6>, 32: addr: Addr6, port: Port, protocol: Protocol, member: u8, service: u32, next_hop: u32, generation: u32);
