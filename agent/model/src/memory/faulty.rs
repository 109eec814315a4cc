//! Tables that fail now and then.

use std::cell::Cell;
use std::io;

use crate::tables::{Dump, Names, Op, PlanError, Readers, Sizes, TableError, Tables};

/// Tables of which some calls fail, by a row of random numbers that the seed makes the same each time. What fails has
/// not taken effect.
#[derive(Clone, Debug)]
pub struct Faulty<T> {
    /// The tables behind.
    pub inner: T,
    /// Of a hundred calls, how many fail.
    pub percent: u32,
    state: Cell<u64>,
}

impl<T> Faulty<T> {
    /// Tables of which `percent` of a hundred calls fail.
    pub fn new(inner: T, percent: u32, seed: u64) -> Self {
        Self { inner, percent, state: Cell::new(seed | 1) }
    }

    fn fails(&self) -> bool {
        // Xorshift (Marsaglia, 2003): random enough, and the same on every machine.
        let mut state = self.state.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.state.set(state);
        (state >> 33) % 100 < u64::from(self.percent)
    }
}

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

impl<T: Readers> Readers for Faulty<T> {
    fn grace_period(&self) -> Result<(), TableError> {
        if self.fails() {
            return Err(TableError::Readers { source: injected() });
        }
        self.inner.grace_period()
    }

    fn flows_naming(&self, names: &Names) -> Result<Names, TableError> {
        if self.fails() {
            return Err(TableError::Readers { source: injected() });
        }
        self.inner.flows_naming(names)
    }
}

impl<T: Tables> Tables for Faulty<T> {
    fn sizes(&self) -> Sizes {
        self.inner.sizes()
    }

    fn dump(&self) -> Result<Dump, TableError> {
        self.inner.dump()
    }

    fn apply(&mut self, op: &Op) -> Result<(), TableError> {
        if self.fails() {
            return Err(TableError::Io { table: "faulty", source: injected() });
        }
        self.inner.apply(op)
    }

    fn apply_all(&mut self, ops: &[Op]) -> Result<(), PlanError> {
        for (done, op) in ops.iter().enumerate() {
            self.apply(op).map_err(|error| PlanError { done, error })?;
        }
        Ok(())
    }
}
