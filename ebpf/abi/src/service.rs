//! What the tables say of a Service.

use core::fmt;

use crate::plain::plain;
use crate::selection::Selection;

/// Value of the services table: one port of one Service in one family.
///
/// The table is mapped into the agent, which replaces `cluster` by one aligned 8-byte store.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// The endpoints for clients inside the cluster.
    pub cluster: Selection,
}
plain!(Service, 8: cluster: Selection);

/// Value of the service-names table: whose index this is, for people, as `namespace/name:port` in UTF-8, filled up with
/// zeros. No program reads it; it lets the operator's commands name things while the agent is down.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServiceName {
    /// The text.
    pub text: [u8; Self::MAX],
}
plain!(ServiceName, 192: text: [u8; 192]);

impl ServiceName {
    /// A namespace and a name of 63 bytes each (RFC 1123 labels), a port's name of 63, and two separators.
    pub const MAX: usize = 192;

    /// The name; what is over [`Self::MAX`] bytes is cut off.
    pub fn new(name: &str) -> Self {
        let mut text = [0; Self::MAX];
        for (to, from) in text.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Self { text }
    }

    /// The text, as far as it is UTF-8.
    pub fn as_str(&self) -> &str {
        let end = self.text.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX);
        let text = self.text.get(..end).unwrap_or_default();
        match core::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => text
                .get(..error.valid_up_to())
                .and_then(|valid| core::str::from_utf8(valid).ok())
                .unwrap_or_default(),
        }
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
