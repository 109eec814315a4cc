//! Next hops: one index for each value, counted by what names it.

use std::collections::HashMap;

use penstock_abi::{NextHop, maps};

use crate::reuse::{Indices, Limbo};
use crate::tables::{Op, TableError};

/// The next hops in use.
#[derive(Debug)]
pub(crate) struct Hops {
    indices: Indices,
    by_value: HashMap<NextHop, u32>,
    /// By index: the value, and how many backends and endpoints name it.
    entries: Vec<(NextHop, u32)>,
}

impl Hops {
    pub(super) fn new(size: u32) -> Self {
        Self { indices: Indices::new(maps::NEXT_HOPS, size), by_value: HashMap::new(), entries: Vec::new() }
    }

    pub(super) fn get(&self, index: u32) -> NextHop {
        self.entries.get(index as usize).map_or_else(NextHop::stack, |(next_hop, _)| *next_hop)
    }

    fn entry(&mut self, index: u32) -> &mut (NextHop, u32) {
        let index = index as usize;
        if index >= self.entries.len() {
            self.entries.resize(index + 1, (NextHop::stack(), 0));
        }
        &mut self.entries[index]
    }

    /// The index of a value; a new value gets one, and the operation that writes it.
    pub(crate) fn index(&mut self, next_hop: NextHop, ops: &mut Vec<Op>) -> Result<u32, TableError> {
        if next_hop == NextHop::stack() {
            return Ok(NextHop::STACK);
        }
        if let Some(index) = self.by_value.get(&next_hop) {
            return Ok(*index);
        }
        let index = self.indices.allocate()?;
        self.by_value.insert(next_hop, index);
        ops.push(Op::WriteNextHop { index, next_hop });
        Ok(index)
    }

    /// Takes up what a table holds.
    pub(super) fn restore(&mut self, index: u32, next_hop: NextHop, limbo: &mut Limbo) {
        if next_hop != NextHop::stack() && self.indices.reserve(index) {
            self.by_value.entry(next_hop).or_insert(index);
            self.record(index, next_hop, limbo);
        }
    }

    /// An index that was set aside for a value was not written.
    pub(super) fn abandon(&mut self, index: u32, next_hop: &NextHop) {
        if self.by_value.get(next_hop) == Some(&index) && self.get(index) != *next_hop {
            self.by_value.remove(next_hop);
            self.indices.release(index);
        }
    }

    pub(super) fn record(&mut self, index: u32, next_hop: NextHop, limbo: &mut Limbo) {
        let before = std::mem::replace(self.entry(index), (next_hop, 0)).0;
        if next_hop == NextHop::stack() {
            if self.by_value.get(&before) == Some(&index) {
                self.by_value.remove(&before);
            }
            limbo.take_next_hop(index);
            self.indices.release(index);
        } else {
            limbo.next_hop(index);
        }
    }

    /// A backend or an endpoint names the index now.
    pub(super) fn name(&mut self, index: u32, limbo: &mut Limbo) {
        if index == NextHop::STACK {
            return;
        }
        let (_, names) = self.entry(index);
        *names += 1;
        if *names == 1 {
            limbo.take_next_hop(index);
        }
    }

    /// A backend or an endpoint that named the index does not any more.
    pub(super) fn unname(&mut self, index: u32, limbo: &mut Limbo) {
        if index == NextHop::STACK {
            return;
        }
        let (next_hop, names) = self.entry(index);
        *names = names.saturating_sub(1);
        if *names == 0 && *next_hop != NextHop::stack() {
            limbo.next_hop(index);
        }
    }
}
