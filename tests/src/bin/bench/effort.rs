//! How long is measured.

/// Numbers of rounds and of what is done in one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds; each measures every program once.
    pub(crate) rounds: u32,
    /// Packets of a round.
    pub(crate) passes: u32,
    /// Calls of connect(2) of a round.
    pub(crate) connects: u32,
    /// Changes of one EndpointSlice.
    pub(crate) changes: u32,
    /// Full loads of the tables.
    pub(crate) loads: u32,
    /// Milliseconds of traffic over one path in a round.
    pub(crate) traffic_ms: u64,
}

impl Effort {
    /// What figures are quoted from.
    pub(crate) const FULL: Self = Self {
        rounds: 7,
        passes: 1_000_000,
        connects: 100_000,
        changes: 10_000,
        loads: 5,
        traffic_ms: 1_000,
    };
    /// Enough to see that everything runs.
    pub(crate) const QUICK: Self =
        Self { rounds: 3, passes: 100_000, connects: 10_000, changes: 1_000, loads: 1, traffic_ms: 200 };
}
