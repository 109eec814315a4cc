//! Operations on the tables, as data.

use std::fmt;
use std::net::IpAddr;

use penstock_abi::{NextHop, Selection};

use super::{Backend, Family, Frontend};

/// One write to one table.
///
/// # Order of writes
/// Next hops, backends, slots, the service's word, frontends; removal goes the other way. So each prefix of a plan is
/// safe: no frontend leads to a missing service, no word to slots that are not written, no slot to a backend that is
/// freed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Writes a next hop; the zero value frees the index.
    WriteNextHop {
        /// Where.
        index: u32,
        /// What.
        next_hop: NextHop,
    },
    /// Writes a backend at an index that no reader holds; [`Backend::free`] frees it.
    WriteBackend {
        /// Where, in the table of the family of the backend's address.
        index: u32,
        /// What.
        backend: Backend,
    },
    /// Replaces a backend's member bits, by one aligned store.
    SetMember {
        /// Which table.
        family: Family,
        /// Which backend.
        index: u32,
        /// The bits.
        member: u8,
    },
    /// Replaces a backend's next hop, by one aligned store.
    SetBackendHop {
        /// Which table.
        family: Family,
        /// Which backend.
        index: u32,
        /// The next hop's index.
        next_hop: u32,
    },
    /// Writes a range of slots that no reader holds.
    WriteSlots {
        /// The first slot.
        base: u32,
        /// Backend indices, one for each slot.
        backends: Box<[u32]>,
    },
    /// Replaces a service's word by one aligned store: the commit.
    Publish {
        /// The service's index.
        service: u32,
        /// The word.
        word: Selection,
    },
    /// Lets a frontend lead to a service; it may have led to another one before.
    InsertFrontend {
        /// The frontend.
        frontend: Frontend,
        /// The service's index.
        service: u32,
    },
    /// Removes a frontend.
    RemoveFrontend {
        /// The frontend.
        frontend: Frontend,
    },
    /// Says, for people, whose index this is.
    NameService {
        /// The service's index.
        service: u32,
        /// `namespace/name:port`, or `namespace/name` for a port without a name.
        name: Box<str>,
    },
    /// Forgets whose index this was.
    UnnameService {
        /// The service's index.
        service: u32,
    },
    /// Lets the address of a pod on this node lead to a next hop; it may have led to another one before.
    InsertEndpoint {
        /// The pod's address.
        addr: IpAddr,
        /// The next hop's index.
        next_hop: u32,
    },
    /// Removes the address of a pod.
    RemoveEndpoint {
        /// The pod's address.
        addr: IpAddr,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteNextHop { index, next_hop } if *next_hop == NextHop::default() => {
                write!(f, "free next hop {index}")
            }
            Self::WriteNextHop { index, next_hop } => write!(f, "write next hop {index}: {next_hop:?}"),
            Self::WriteBackend { index, backend } => {
                write!(f, "write {} backend {index}: {backend}", Family::of(backend.addr))
            }
            Self::SetMember { family, index, member } => {
                write!(f, "set member bits of {family} backend {index}: {member:#x}")
            }
            Self::SetBackendHop { family, index, next_hop } => {
                write!(f, "set next hop of {family} backend {index}: {next_hop}")
            }
            Self::WriteSlots { base, backends } => {
                write!(f, "write slots {base}+{}: {backends:?}", backends.len())
            }
            Self::Publish { service, word } => write!(f, "publish service {service}: {word:?}"),
            Self::InsertFrontend { frontend, service } => {
                write!(f, "insert frontend {frontend}: service {service}")
            }
            Self::RemoveFrontend { frontend } => write!(f, "remove frontend {frontend}"),
            Self::NameService { service, name } => write!(f, "name service {service}: {name}"),
            Self::UnnameService { service } => write!(f, "forget the name of service {service}"),
            Self::InsertEndpoint { addr, next_hop } => {
                write!(f, "insert endpoint {addr}: next hop {next_hop}")
            }
            Self::RemoveEndpoint { addr } => write!(f, "remove endpoint {addr}"),
        }
    }
}

/// Operations in their order, for printing: one on a line.
pub struct Plan<'a>(pub &'a [Op]);

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in self.0 {
            writeln!(f, "{op}")?;
        }
        Ok(())
    }
}
