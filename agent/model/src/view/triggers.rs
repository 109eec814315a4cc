//! What set off the changes of slices, until they are committed: the source of `network_programming_duration_seconds`, by
//! kube-proxy's rules.
//!
//! A change counts where what set it off came after this process began to watch: how long older ones took says nothing of it.
//! Where a slice is removed, what its Service waits for is forgotten, since the annotation of a removed slice tells of the change before.

use std::collections::HashMap;

use super::QualifiedName;
use crate::objects::TriggerTime;
use crate::tables::Family;

/// What set off the changes that wait, by Service.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    /// Nothing is kept without it.
    after: Option<TriggerTime>,
    waiting: HashMap<QualifiedName, Vec<(Family, TriggerTime)>>,
}

impl Triggers {
    /// Keeps what comes from now on and was set off after this time.
    pub(crate) fn keep(&mut self, after: TriggerTime) {
        self.after = Some(after);
    }

    pub(super) fn add(&mut self, service: &QualifiedName, family: Family, time: TriggerTime) {
        if self.after.is_some_and(|after| time > after) {
            self.waiting.entry(service.clone()).or_default().push((family, time));
        }
    }

    pub(super) fn forget(&mut self, service: &QualifiedName) {
        self.waiting.remove(service);
    }

    /// Takes those of the Services that are committed.
    pub(crate) fn take(
        &mut self,
        is_committed: impl Fn(&QualifiedName) -> bool,
    ) -> Vec<(Family, TriggerTime)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        self.waiting.extract_if(|service, _| is_committed(service)).flat_map(|(_, times)| times).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> QualifiedName {
        QualifiedName::new("default", name)
    }

    #[test]
    fn what_was_set_off_before_the_watch_began_is_not_kept() {
        let mut triggers = Triggers::default();
        triggers.add(&name("a"), Family::V4, TriggerTime(9));
        triggers.keep(TriggerTime(5));
        for time in [4, 5, 6] {
            triggers.add(&name("a"), Family::V4, TriggerTime(time));
        }
        assert_eq!(triggers.take(|_| true), [(Family::V4, TriggerTime(6))]);
        assert_eq!(triggers.take(|_| true), []);
    }

    #[test]
    fn what_is_not_committed_waits_and_a_removed_slice_takes_it_along() {
        let mut triggers = Triggers::default();
        triggers.keep(TriggerTime(0));
        triggers.add(&name("a"), Family::V4, TriggerTime(1));
        triggers.add(&name("b"), Family::V6, TriggerTime(2));
        triggers.add(&name("c"), Family::V6, TriggerTime(3));
        assert_eq!(triggers.take(|service| *service == name("b")), [(Family::V6, TriggerTime(2))]);
        triggers.forget(&name("c"));
        assert_eq!(triggers.take(|_| true), [(Family::V4, TriggerTime(1))]);
    }
}
