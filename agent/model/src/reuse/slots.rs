//! Ranges of the slots table.

use std::collections::{BTreeMap, BTreeSet};

use penstock_abi::maps;

use crate::tables::TableError;

/// The ranges of slots that are free: best fit, neighbours joined, each operation in O(log n).
#[derive(Debug)]
pub(crate) struct Slots {
    size: u32,
    /// First slot to length.
    by_base: BTreeMap<u32, u32>,
    /// Length and first slot.
    by_length: BTreeSet<(u32, u32)>,
}

impl Slots {
    pub(crate) fn new(size: u32) -> Self {
        let mut slots = Self { size, by_base: BTreeMap::new(), by_length: BTreeSet::new() };
        if size > 0 {
            slots.insert(0, size);
        }
        slots
    }

    /// The first slot of `count` free ones: of the smallest range that holds them, the lowest.
    pub(crate) fn allocate(&mut self, count: u32) -> Result<u32, TableError> {
        let Some(&(length, base)) = self.by_length.range((count, 0)..).next() else {
            return Err(TableError::Full { table: maps::SLOTS, size: self.size });
        };
        self.remove(base, length);
        if length > count {
            self.insert(base + count, length - count);
        }
        Ok(base)
    }

    pub(crate) fn release(&mut self, base: u32, count: u32) {
        let (mut base, mut length) = (base, count);
        if let Some((&before, &before_length)) = self.by_base.range(..base).next_back()
            && before + before_length == base
        {
            self.remove(before, before_length);
            (base, length) = (before, before_length + length);
        }
        if let Some((&after, &after_length)) = self.by_base.range(base..).next()
            && base + length == after
        {
            self.remove(after, after_length);
            length += after_length;
        }
        self.insert(base, length);
    }

    /// Takes a range that is in use already. Whether all of it was free.
    pub(crate) fn reserve(&mut self, base: u32, count: u32) -> bool {
        let Some(end) = base.checked_add(count) else { return false };
        let Some((&free, &length)) = self.by_base.range(..=base).next_back() else { return false };
        if free + length < end {
            return false;
        }
        self.remove(free, length);
        if free < base {
            self.insert(free, base - free);
        }
        if end < free + length {
            self.insert(end, free + length - end);
        }
        true
    }

    fn insert(&mut self, base: u32, length: u32) {
        self.by_base.insert(base, length);
        self.by_length.insert((length, base));
    }

    fn remove(&mut self, base: u32, length: u32) {
        self.by_base.remove(&base);
        self.by_length.remove(&(length, base));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_range_that_fits_is_taken() {
        let mut slots = Slots::new(100);
        let bases: Vec<u32> = [10, 5, 10, 3, 10].map(|count| slots.allocate(count).unwrap()).into();
        assert_eq!(bases, [0, 10, 15, 25, 28]);
        slots.release(10, 5);
        slots.release(25, 3);
        assert_eq!(slots.allocate(3).unwrap(), 25);
        assert_eq!(slots.allocate(4).unwrap(), 10);
    }

    proptest! {
        #[test]
        fn ranges_never_overlap_and_all_that_is_released_is_one_again(
            steps in prop::collection::vec((1_u32..20, any::<prop::sample::Index>(), any::<bool>()), 1..200)
        ) {
            let mut slots = Slots::new(256);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (count, pick, release) in steps {
                if release && !held.is_empty() {
                    let (base, count) = held.swap_remove(pick.index(held.len()));
                    slots.release(base, count);
                } else if let Ok(base) = slots.allocate(count) {
                    prop_assert!(base + count <= 256);
                    for (other, length) in &held {
                        prop_assert!(base + count <= *other || other + length <= base);
                    }
                    held.push((base, count));
                }
                prop_assert_eq!(slots.by_base.len(), slots.by_length.len());
            }
            let mut again = Slots::new(256);
            for (base, count) in &held {
                prop_assert!(again.reserve(*base, *count));
            }
            prop_assert_eq!(&again.by_base, &slots.by_base);
            for (base, count) in held {
                slots.release(base, count);
            }
            prop_assert_eq!(slots.allocate(256).ok(), Some(0));
        }
    }
}
