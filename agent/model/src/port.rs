//! The ports of Services, as the tables have them: one for each family.

use penstock_abi::Protocol;
use smol_str::SmolStr;

use crate::tables::{Family, Frontend};

/// One port of one Service in one family: what has a service index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DesiredPort {
    /// The port's name.
    pub(crate) name: SmolStr,
    pub(crate) family: Family,
    pub(crate) protocol: Protocol,
    /// Where it is reached, ascending. Never empty.
    pub(crate) frontends: Box<[Frontend]>,
}

impl DesiredPort {
    /// Whether both are the same port, wherever it is reached.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (&self.name, self.protocol, self.family) == (&other.name, other.protocol, other.family)
    }
}

/// A port and its service index, once it has one.
#[derive(Debug)]
pub(crate) struct OwnedPort {
    pub(crate) port: DesiredPort,
    pub(crate) index: Option<u32>,
}
