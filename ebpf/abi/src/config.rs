//! What the agent tells running programs.

use crate::plain::plain;

/// The one value of the config table, mapped into the agent: each field is replaced by one aligned store.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// One in so many events is recorded; 0: none.
    pub event_sample: u32,
    /// Explicit padding, zero.
    pub _pad: u32,
}
plain!(Config, 8: event_sample: u32, _pad: u32);
