//! What the agent tells running programs.

use crate::plain::plain;

/// The one value of the config table, mapped into the agent: each field is replaced by one aligned store.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// One in so many events is recorded; 0: none.
    pub event_sample: u32,
    /// Not 0: what arrives for a pod, and is no answer of a Service's, goes through the kernel's stack, as what the pod answers does:
    /// netfilter then sees both. 0: it goes straight there.
    pub through_stack: u32,
}
plain!(Config, 8: event_sample: u32, through_stack: u32);
