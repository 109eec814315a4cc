//! How many Events may be sent: a few at once, then one now and then. Time is told.

use std::time::{Duration, Instant};

/// As many at once.
const BURST: u32 = 20;
/// Then one in this time.
const EVERY: Duration = Duration::from_secs(6);

/// A bucket of tokens.
#[derive(Debug)]
pub(super) struct Rate {
    tokens: u32,
    since: Instant,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { tokens: BURST, since: now }
    }

    /// Whether another one may be sent now.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        while self.tokens < BURST && now.saturating_duration_since(self.since) >= EVERY {
            self.tokens += 1;
            self.since += EVERY;
        }
        if self.tokens == BURST {
            self.since = now;
        }
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_now_and_then() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let allowed = (0..100).filter(|_| rate.allows(start)).count();
        assert_eq!(allowed, BURST as usize);
        assert!(!rate.allows(start + EVERY / 2));
        assert!(rate.allows(start + EVERY));
        assert!(!rate.allows(start + EVERY));
        let later = start + EVERY * 1_000;
        assert_eq!((0..100).filter(|_| rate.allows(later)).count(), BURST as usize);
    }
}
