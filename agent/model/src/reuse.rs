//! Giving out indices and slots, and taking them back.
//!
//! # Nothing that a reader may still hold gets a new meaning
//!
//! A program that has loaded something may be delayed without bound: socket hooks are preemptible, so no timer is a grace
//! period. Five rules follow; the tests in `tests/model/readers.rs` delay readers at every load to try them.
//!
//! 1. A grace period is RCU's ([`Readers::grace_period`]). It takes about 10 ms and so runs off the commit path: what was
//!    freed since the last one waits in [`Limbo`] and is released together by one. Another one runs once at start before
//!    anything is given out, since a former agent may have freed things just before it ended.
//! 2. Slots: out of every word, a grace period, free.
//! 3. Backends and next hops are immutable once published, but for single aligned stores (a backend's next-hop index and
//!    member bits). An index is released only after it left every set, a grace period, a scan that finds no flow
//!    naming it ([`Readers::flows_naming`]), and another grace period, for readers of a flow that ended before the scan. If the same endpoint comes back meanwhile, its index is taken up again. A
//!    backend's generation rises whenever its index is given to another endpoint, as a check that reuse is never seen.
//!    A service's index is released after a grace period and after its last backend, since backends name it.
//! 4. Elements of hash tables are recycled by the kernel at once, also under a reader. So a removal or replacement in
//!    the frontends or endpoints tables is followed by a grace period before the next insertion ([`Recycled`]).
//! 5. Affinity is honoured only for a backend that is still a member of the set being chosen from: a backend's member
//!    bits are cleared when, and only when, it has left the set's word.
//!
//! [`Readers::grace_period`]: crate::tables::Readers::grace_period
//! [`Readers::flows_naming`]: crate::tables::Readers::flows_naming

mod indices;
mod limbo;
mod slots;

pub(crate) use indices::Indices;
pub use limbo::{Due, Reclaim, Reclaimed};
pub(crate) use limbo::{Limbo, Recycled};
pub(crate) use slots::Slots;
