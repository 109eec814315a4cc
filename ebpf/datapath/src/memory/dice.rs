//! Random words that are the same in every run.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Words from a seed; or words that were told beforehand, first.
#[derive(Debug)]
pub(super) struct Dice {
    state: Cell<u64>,
    told: RefCell<VecDeque<u32>>,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: Cell::new(seed), told: RefCell::default() }
    }

    pub(super) fn tell(&self, words: &[u32]) {
        let mut told = self.told.borrow_mut();
        told.clear();
        told.extend(words);
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
    pub(super) fn throw(&self) -> u32 {
        if let Some(word) = self.told.borrow_mut().pop_front() {
            return word;
        }
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 32) as u32
    }
}
