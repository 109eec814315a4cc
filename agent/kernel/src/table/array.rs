//! Arrays of counters, one for each CPU.

use std::marker::PhantomData;
use std::path::Path;

use penstock_abi::{DropCount, Plain, ServiceCount};

use crate::Error;
use crate::sys::{Map, kinds};

/// A counter that is summed over the CPUs.
pub trait Count: Plain {
    /// The sum of two.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

impl Count for u64 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

impl Count for ServiceCount {
    fn plus(self, other: Self) -> Self {
        Self {
            flows: self.flows.wrapping_add(other.flows),
            unserved: self.unserved.wrapping_add(other.unserved),
        }
    }
}

impl Count for DropCount {
    fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}

/// An array of counters that programs add to, each CPU to its own.
#[derive(Debug)]
pub struct PerCpuArray<V> {
    map: Map,
    name: String,
    types: PhantomData<fn() -> V>,
}

impl<V: Count> PerCpuArray<V> {
    /// Opens the table of this name in a folder of pins.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] where it has other values; [`Error::System`] where there is none.
    pub fn open(folder: &Path, name: &str) -> Result<Self, Error> {
        let map = super::open(folder, name, &[kinds::PERCPU_ARRAY], size_of::<u32>(), size_of::<V>())?;
        Ok(Self { map, name: name.to_owned(), types: PhantomData })
    }

    /// How many counters it has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.map.info().max_entries
    }

    /// Whether it has none; the kernel makes no such array.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A counter, summed over the CPUs.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] past the end.
    pub fn get(&self, index: u32) -> Result<V, Error> {
        let mut bytes = vec![0; self.map.value_len()];
        let found =
            self.map.lookup(index.bytes(), &mut bytes).map_err(Error::system("lookup", &self.name))?;
        if !found {
            return Err(Error::OutOfBounds { table: self.name.clone(), index, size: self.len() });
        }
        Ok(sum(&bytes))
    }

    /// All counters, summed over the CPUs, each at its index.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn dump(&self) -> Result<Vec<V>, Error> {
        let mut counts = Vec::with_capacity(self.len() as usize);
        self.map
            .for_each(|_, value| counts.push(sum(value)))
            .map_err(Error::system("lookup batch", &self.name))?;
        Ok(counts)
    }

    /// The sum of the counters from 0 up to this one, over all CPUs.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] past the end.
    pub fn sum_to(&self, last: u32) -> Result<V, Error> {
        (0..=last).try_fold(V::zeroed(), |total, index| Ok(total.plus(self.get(index)?)))
    }

    /// Sets a counter to zero on every CPU: its index is given to another.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn reset(&self, index: u32) -> Result<(), Error> {
        self.set(index, V::zeroed())
    }

    /// Moves what was counted at one index to another one, which no program counts at.
    ///
    /// Whoever sums over both meanwhile may miss what is on its way, but sees nothing twice.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] past the end, and nothing is written.
    pub fn move_to(&self, from: u32, to: u32) -> Result<(), Error> {
        let sum = self.get(from)?.plus(self.get(to)?);
        self.reset(from)?;
        self.set(to, sum)
    }

    /// Sets a counter: to this value on one CPU, to zero on the others.
    fn set(&self, index: u32, value: V) -> Result<(), Error> {
        let mut bytes = vec![0; self.map.value_len()];
        for (to, from) in bytes.iter_mut().zip(value.bytes()) {
            *to = *from;
        }
        self.map
            .update(index.bytes(), &bytes, crate::sys::Update::Any)
            .map_err(Error::system("update", &self.name))
    }
}

/// The sum of the values of all CPUs, which the kernel gives at multiples of 8 bytes.
fn sum<V: Count>(bytes: &[u8]) -> V {
    bytes
        .chunks_exact(size_of::<V>().next_multiple_of(8))
        .filter_map(|value| V::from_bytes(value.get(..size_of::<V>())?))
        .fold(V::zeroed(), V::plus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_the_cpus() {
        let bytes = [3_u64, 40, 5, 60].map(u64::to_ne_bytes).concat();
        assert_eq!(sum::<DropCount>(&bytes), DropCount { packets: 8, bytes: 100 });
        assert_eq!(sum::<u64>(&bytes), 108);
    }
}
