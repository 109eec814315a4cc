//! How long to wait before another attempt.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause: what an API server that comes back is noticed within.
const LONGEST: Duration = Duration::from_secs(15);

/// Pauses that grow from attempt to attempt.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause: up to half of it is left out by chance, so that the nodes of a cluster do not all call at once.
    pub(super) fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        whole - within(whole / 2)
    }

    /// Begins anew: the last attempt went well.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A time below `limit`, by chance.
pub(super) fn within(limit: Duration) -> Duration {
    // The keys of a hasher are random, which is all the chance that is needed.
    let random = RandomState::new().build_hasher().finish();
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(random % limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
        assert!(pauses[3] >= FIRST * 4);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses[39] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
