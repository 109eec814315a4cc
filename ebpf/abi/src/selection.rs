//! The word that commits a change of a Service's endpoints.

use core::fmt;

use crate::plain::plain;

/// Everything that choosing a backend needs to know of a set of endpoints, in one word, so that one aligned 8-byte store
/// replaces a whole set by another.
///
/// Bits, from the lowest: 32 of base (first index into the slots table), 24 of count, 4 of [`SetKind`], 4 of
/// [`EmptySet`]. The zero word is an empty plain set that refuses.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Selection(pub u64);
plain!(Selection, 8: 0: u64);

/// How a backend is chosen from a set.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetKind {
    /// Each slot is one endpoint; a random slot is taken.
    Plain = 0,
}

/// What a client of an empty set is told.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EmptySet {
    /// There is no endpoint anywhere: refuse, so that the client fails at once.
    #[default]
    Refuse = 0,
    /// There are endpoints, but none that this policy may use: drop, so that the client tries again.
    Drop = 1,
}

impl Selection {
    /// The largest number of slots that one set may have.
    pub const MAX_COUNT: u32 = (1 << 24) - 1;

    /// A set of `count` slots from `base`; `None` where `count` is over [`Self::MAX_COUNT`].
    pub const fn new(base: u32, count: u32, kind: SetKind, empty: EmptySet) -> Option<Self> {
        if count > Self::MAX_COUNT {
            return None;
        }
        Some(Self(base as u64 | (count as u64) << 32 | (kind as u64) << 56 | (empty as u64) << 60))
    }

    /// A set without endpoints.
    pub const fn empty(empty: EmptySet) -> Self {
        Self((empty as u64) << 60)
    }

    /// First index into the slots table.
    #[inline(always)]
    pub const fn base(self) -> u32 {
        self.0 as u32
    }

    /// Number of slots.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        (self.0 >> 32) as u32 & Self::MAX_COUNT
    }

    /// What to tell a client where the set is empty.
    #[inline(always)]
    pub const fn on_empty(self) -> EmptySet {
        if self.0 >> 60 == EmptySet::Drop as u64 { EmptySet::Drop } else { EmptySet::Refuse }
    }

    /// The slot that a random word leads to: uniform over the set. `None` where the set is empty.
    #[inline(always)]
    pub const fn pick(self, random: u32) -> Option<u32> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // A multiplication and a shift in place of a remainder: Lemire, "Fast Random Integer Generation", 2019.
        Some(self.base().wrapping_add(((random as u64 * count as u64) >> 32) as u32))
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slots {}+{}, {:?} when empty", self.base(), self.count(), self.on_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_gives_back_what_it_was_made_of() {
        let word = Selection::new(u32::MAX, Selection::MAX_COUNT, SetKind::Plain, EmptySet::Drop).unwrap();
        assert_eq!(
            (word.base(), word.count(), word.on_empty()),
            (u32::MAX, Selection::MAX_COUNT, EmptySet::Drop)
        );
        assert_eq!(Selection::new(0, Selection::MAX_COUNT + 1, SetKind::Plain, EmptySet::Refuse), None);
    }

    #[test]
    fn the_zero_word_is_an_empty_set_that_refuses() {
        assert_eq!(Selection::default().pick(7), None);
        assert_eq!(Selection::default().on_empty(), EmptySet::Refuse);
    }

    #[test]
    fn every_slot_of_a_set_is_picked_and_no_other() {
        let word = Selection::new(100, 3, SetKind::Plain, EmptySet::Refuse).unwrap();
        assert_eq!(word.pick(0), Some(100));
        assert_eq!(word.pick(u32::MAX / 2), Some(101));
        assert_eq!(word.pick(u32::MAX), Some(102));
    }
}
