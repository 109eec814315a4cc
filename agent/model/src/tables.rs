//! The tables as the model sees them: plain values, operations on them, and the trait behind which they are kept.
//!
//! Addresses are [`IpAddr`] here, so that no type is generic over the family: an implementation picks the table of the
//! family of the address. [`Frontend::key`] and [`Backend::value`] give what the contract stores.

mod dump;
mod op;

use std::fmt;
use std::io;
use std::net::IpAddr;

use penstock_abi::{self as abi, Addr, FrontendKey, NextHop, Port, Protocol};

pub use dump::{Dump, Sizes};
pub use op::{Op, Plan};

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// One value for each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerFamily<T> {
    /// For IPv4.
    pub v4: T,
    /// For IPv6.
    pub v6: T,
}

impl<T> PerFamily<T> {
    /// The family's value.
    pub fn get(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The family's value.
    pub fn get_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// What a Service port is reached at by clients inside the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Frontend {
    /// The Service's address.
    pub addr: IpAddr,
    /// The Service's port, in the machine's byte order.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl Frontend {
    /// The key of the frontends table of `A`'s family; `None` where the address is of the other one.
    pub fn key<A: Addr>(&self) -> Option<FrontendKey<A>> {
        Some(FrontendKey::cluster(A::from_ip(self.addr)?, Port::new(self.port), self.protocol))
    }

    /// What a key of the frontends table says.
    pub fn from_key<A: Addr>(key: &FrontendKey<A>) -> Self {
        Self { addr: key.addr.to_ip(), port: key.port.get(), protocol: key.protocol }
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", std::net::SocketAddr::new(self.addr, self.port), self.protocol)
    }
}

/// One endpoint of one Service port, as the backends table of its address's family has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backend {
    /// Where the endpoint listens. Unspecified (all zero): the index is free, and only `generation` means something.
    pub addr: IpAddr,
    /// Where the endpoint listens, in the machine's byte order.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The sets of its Service that the backend is in, as bits ([`abi::MEMBER_CLUSTER`]).
    pub member: u8,
    /// The index of its service.
    pub service: u32,
    /// The index of its next hop.
    pub next_hop: u32,
    /// Rises each time the index is given to another endpoint.
    pub generation: u32,
}

impl Backend {
    /// The value of the backends table of `A`'s family; `None` where the address is of the other one.
    pub fn value<A: Addr>(&self) -> Option<abi::Backend<A>> {
        Some(abi::Backend {
            addr: A::from_ip(self.addr)?,
            port: Port::new(self.port),
            protocol: self.protocol,
            member: self.member,
            service: self.service,
            next_hop: self.next_hop,
            generation: self.generation,
        })
    }

    /// What a value of the backends table says.
    pub fn from_value<A: Addr>(value: &abi::Backend<A>) -> Self {
        Self {
            addr: value.addr.to_ip(),
            port: value.port.get(),
            protocol: value.protocol,
            member: value.member,
            service: value.service,
            next_hop: value.next_hop,
            generation: value.generation,
        }
    }

    /// Whether the index is given to an endpoint: a free index keeps only its generation.
    pub fn is_used(&self) -> bool {
        !self.addr.is_unspecified()
    }

    /// What a free index of the family holds.
    pub fn free(family: Family, generation: u32) -> Self {
        let addr = match family {
            Family::V4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        Self {
            addr,
            port: 0,
            protocol: Protocol(0),
            member: 0,
            service: 0,
            next_hop: NextHop::STACK,
            generation,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_used() {
            return write!(f, "free, generation {}", self.generation);
        }
        write!(
            f,
            "{}/{} of service {}, next hop {}, generation {}, {}",
            std::net::SocketAddr::new(self.addr, self.port),
            self.protocol,
            self.service,
            self.next_hop,
            self.generation,
            if self.member & abi::MEMBER_CLUSTER != 0 { "member" } else { "no member" },
        )
    }
}

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no room for another element.
    #[error("table {table} is full: it has {size} elements")]
    Full {
        /// The table's name in [`abi::maps`].
        table: &'static str,
        /// How many elements it has.
        size: u32,
    },
    /// The kernel refused.
    #[error("table {table} could not be written: {source}")]
    Io {
        /// The table's name in [`abi::maps`].
        table: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A grace period or a scan of flows failed.
    #[error("readers of the tables could not be waited for: {source}")]
    Readers {
        /// What the kernel said.
        source: io::Error,
    },
}

impl TableError {
    /// The table's name in [`abi::maps`]; `None` where it is not about a single one.
    pub fn table(&self) -> Option<&'static str> {
        match self {
            Self::Full { table, .. } | Self::Io { table, .. } => Some(table),
            Self::Readers { .. } => None,
        }
    }
}

/// A row of operations that was stopped by an error.
#[derive(Debug, thiserror::Error)]
#[error("after {done} operations: {error}")]
pub struct PlanError {
    /// How many operations, from the first, have taken effect. The others have not.
    pub done: usize,
    /// Why the next one did not.
    #[source]
    pub error: TableError,
}

/// Names of things that flows may still hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// Backend indices, ascending.
    pub backends: PerFamily<Vec<u32>>,
    /// Next-hop indices, ascending.
    pub next_hops: Vec<u32>,
}

impl Names {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.backends.v4.is_empty() && self.backends.v6.is_empty() && self.next_hops.is_empty()
    }
}

/// What can be learnt of the programs that read the tables. It blocks, needs no access to the tables' writer, and so can
/// be run on a thread of its own while changes are committed.
pub trait Readers {
    /// Returns when every program that was running at the call has ended (a grace period of RCU).
    ///
    /// # Errors
    /// [`TableError::Readers`].
    fn grace_period(&self) -> Result<(), TableError>;

    /// Deletes the UDP flows of the given backends, which are dead, and gives those of the names that live flows hold:
    /// backends by [`abi::Flow::backend`], next hops by [`abi::Flow::client_hop`]. A flow that is over or has expired
    /// does not count and may be deleted.
    ///
    /// # Errors
    /// [`TableError::Readers`].
    fn flows_naming(&self, names: &Names) -> Result<Names, TableError>;
}

/// The tables, for their only writer.
///
/// Every operation is idempotent: writing again what is there, or removing what is gone, is no error. An operation that
/// gives an error has not taken effect.
pub trait Tables: Readers {
    /// How many elements each table has.
    fn sizes(&self) -> Sizes;

    /// All that the tables hold.
    ///
    /// # Errors
    /// [`TableError::Io`].
    fn dump(&self) -> Result<Dump, TableError>;

    /// Carries out one operation.
    ///
    /// # Errors
    /// [`TableError::Full`] and [`TableError::Io`].
    fn apply(&mut self, op: &Op) -> Result<(), TableError>;

    /// Carries out operations in order, up to the first that fails. An implementation may join neighbours of one kind
    /// (insertions of frontends, names of services) to one system call, since no reader needs those in order.
    ///
    /// # Errors
    /// Where it stopped, and why.
    fn apply_all(&mut self, ops: &[Op]) -> Result<(), PlanError> {
        for (done, op) in ops.iter().enumerate() {
            self.apply(op).map_err(|error| PlanError { done, error })?;
        }
        Ok(())
    }
}
