//! Indices of an array table.

use std::collections::BTreeSet;

use crate::tables::TableError;

/// The indices of one table that are free. Index 0 never is: a zeroed word leads nowhere.
#[derive(Debug)]
pub(crate) struct Indices {
    table: &'static str,
    size: u32,
    /// No index from here on was ever given out.
    next: u32,
    /// Free ones below `next`.
    free: BTreeSet<u32>,
}

impl Indices {
    pub(crate) fn new(table: &'static str, size: u32) -> Self {
        Self { table, size, next: 1, free: BTreeSet::new() }
    }

    /// The lowest free index, so that a table stays dense.
    pub(crate) fn allocate(&mut self) -> Result<u32, TableError> {
        if let Some(index) = self.free.pop_first() {
            return Ok(index);
        }
        if self.next >= self.size {
            return Err(TableError::Full { table: self.table, size: self.size });
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    pub(crate) fn release(&mut self, index: u32) {
        self.free.insert(index);
    }

    /// Takes an index that is in use already. Whether it was free.
    pub(crate) fn reserve(&mut self, index: u32) -> bool {
        if index == 0 || index >= self.size {
            return false;
        }
        if index >= self.next {
            self.free.extend(self.next..index);
            self.next = index + 1;
            return true;
        }
        self.free.remove(&index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_index_is_given_out_and_never_0() {
        let mut indices = Indices::new("t", 4);
        assert!(indices.reserve(2));
        assert!(!indices.reserve(2));
        assert_eq!([indices.allocate().unwrap(), indices.allocate().unwrap()], [1, 3]);
        assert_eq!(indices.allocate().unwrap_err().to_string(), "table t is full: it has 4 elements");
        indices.release(2);
        assert_eq!(indices.allocate().unwrap(), 2);
    }
}
