//! What failed at the last attempt, and when to try again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Failures by the part of the work that they are of.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: BTreeMap<&'static str, Vec<String>>,
    attempts: u32,
    at: Option<Instant>,
}

impl Retry {
    /// Replaces the failures of a part by those of another attempt. Logs those that are new.
    pub(super) fn set(&mut self, part: &'static str, failures: Vec<String>, now: Instant) {
        let before = self.failures.insert(part, failures).unwrap_or_default();
        let failures = self.failures.get(part).map(Vec::as_slice).unwrap_or_default();
        for failure in failures.iter().filter(|failure| !before.contains(failure)) {
            tracing::error!("{failure}; trying again");
        }
        if !before.is_empty() && failures.is_empty() {
            tracing::info!("{part}: all is done that failed before");
        }
        if self.all().next().is_none() {
            (self.attempts, self.at) = (0, None);
        } else if self.at.is_none() {
            self.at = Some(now + pause(self.attempts));
        }
    }

    /// When to try again.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether to try again now. If so, the next pause is longer.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            self.at = None;
            self.attempts = self.attempts.saturating_add(1);
        }
        due
    }

    /// All failures.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.failures.values().flatten()
    }

    /// Whether the last attempt at a part failed.
    pub(super) fn failed(&self, part: &str) -> bool {
        self.failures.get(part).is_some_and(|failures| !failures.is_empty())
    }
}

fn pause(attempts: u32) -> Duration {
    FIRST.saturating_mul(1_u32.checked_shl(attempts).unwrap_or(u32::MAX)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_begin_anew_after_success() {
        let mut retry = Retry::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            retry.set("tables", vec!["no".into()], now);
            let at = retry.at().unwrap();
            assert!(!retry.take(now));
            pauses.push((at - now).as_millis());
            now = at;
            assert!(retry.take(now));
        }
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 30_000);
        assert!(retry.failed("tables"));
        retry.set("tables", Vec::new(), now);
        assert_eq!((retry.at(), retry.failed("tables")), (None, false));
        retry.set("tables", vec!["no".into()], now);
        assert_eq!(retry.at(), Some(now + FIRST));
    }

    #[test]
    fn parts_fail_apart_from_each_other() {
        let mut retry = Retry::default();
        let now = Instant::now();
        retry.set("tables", vec!["a".into()], now);
        retry.set("routes", Vec::new(), now);
        assert_eq!(retry.all().collect::<Vec<_>>(), ["a"]);
        assert!(retry.at().is_some() && !retry.failed("routes"));
    }
}
