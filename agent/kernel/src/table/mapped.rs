//! Arrays whose memory the agent shares with the programs: written without a system call.

use std::marker::PhantomData;
use std::os::fd::AsFd as _;
use std::path::Path;

use penstock_abi::Plain;

use crate::Error;
use crate::sys::{Mapping, kinds};

/// An array of `V`, mapped.
///
/// [`Self::write`] and [`Self::fill`] are for elements that no reader can reach yet; what readers can reach is changed by
/// one of the stores, each one aligned store with release order: whoever sees it sees all that was written before.
#[derive(Debug)]
pub struct MappedArray<V> {
    memory: Mapping,
    length: u32,
    name: String,
    types: PhantomData<fn(V) -> V>,
}

impl<V: Plain> MappedArray<V> {
    /// The kernel rounds the size of an array's elements up to 8 bytes.
    const STRIDE: usize = size_of::<V>().next_multiple_of(8);

    /// Opens the table of this name in a folder of pins.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] where it has other values; [`Error::System`] where there is none.
    pub fn open(folder: &Path, name: &str) -> Result<Self, Error> {
        let map = super::open(folder, name, &[kinds::ARRAY], size_of::<u32>(), size_of::<V>())?;
        let length = map.info().max_entries;
        let memory = Mapping::new(map.as_fd(), length as usize * Self::STRIDE, true)
            .map_err(Error::system("mmap", name))?;
        Ok(Self { memory, length, name: name.to_owned(), types: PhantomData })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.length
    }

    /// Whether it has none; the kernel makes no such array.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// An element. One that is being written may be given in parts old and new, but each aligned word whole.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn read(&self, index: u32) -> Result<V, Error> {
        let offset = self.offset(index, 1)?;
        let mut value = vec![0; size_of::<V>()];
        self.memory.read(offset, &mut value);
        Ok(V::from_bytes(&value).unwrap_or_else(V::zeroed))
    }

    /// Gives every element to `each`, as [`Self::read`] would.
    pub fn for_each(&self, mut each: impl FnMut(u32, V)) {
        let mut bytes = vec![0; size_of::<V>()];
        for index in 0..self.length {
            self.memory.read(index as usize * Self::STRIDE, &mut bytes);
            each(index, V::from_bytes(&bytes).unwrap_or_else(V::zeroed));
        }
    }

    /// Writes an element that no reader can reach yet.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn write(&self, index: u32, value: &V) -> Result<(), Error> {
        self.memory.write(self.offset(index, 1)?, value.bytes());
        Ok(())
    }

    /// Writes a row of elements that no reader can reach yet.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], and nothing is written.
    pub fn fill(&self, first: u32, values: &[V]) -> Result<(), Error> {
        let count = u32::try_from(values.len()).unwrap_or(u32::MAX);
        let offset = self.offset(first, count)?;
        for (index, value) in values.iter().enumerate() {
            self.memory.write(offset + index * Self::STRIDE, value.bytes());
        }
        Ok(())
    }

    /// Replaces eight bytes of an element at an offset (use `core::mem::offset_of!`) that is a multiple of 8.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn store_u64(&self, index: u32, field: usize, value: u64) -> Result<(), Error> {
        self.memory.store_u64(self.field::<u64>(index, field)?, value);
        Ok(())
    }

    /// Replaces four bytes of an element at an offset that is a multiple of 4.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn store_u32(&self, index: u32, field: usize, value: u32) -> Result<(), Error> {
        self.memory.store_u32(self.field::<u32>(index, field)?, value);
        Ok(())
    }

    /// Replaces one byte of an element.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn store_u8(&self, index: u32, field: usize, value: u8) -> Result<(), Error> {
        self.memory.store_u8(self.field::<u8>(index, field)?, value);
        Ok(())
    }

    fn offset(&self, index: u32, count: u32) -> Result<usize, Error> {
        if index.checked_add(count).is_some_and(|end| end <= self.length) {
            Ok(index as usize * Self::STRIDE)
        } else {
            let last = index.saturating_add(count.saturating_sub(1));
            Err(Error::OutOfBounds { table: self.name.clone(), index: last, size: self.length })
        }
    }

    fn field<T>(&self, index: u32, field: usize) -> Result<usize, Error> {
        assert!(field + size_of::<T>() <= size_of::<V>(), "a field is inside of its element");
        Ok(self.offset(index, 1)? + field)
    }
}
