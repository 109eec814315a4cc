//! Hash tables, also those that forget.

use std::io;
use std::marker::PhantomData;
use std::path::Path;

use penstock_abi::Plain;

use crate::Error;
use crate::sys::{Map, Update, kinds};

/// A hash table from `K` to `V`.
#[derive(Debug)]
pub struct Hash<K, V> {
    map: Map,
    name: String,
    types: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> Hash<K, V> {
    /// Opens the table of this name in a folder of pins.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] where it has other keys or values; [`Error::System`] where there is none.
    pub fn open(folder: &Path, name: &str) -> Result<Self, Error> {
        let kinds = [kinds::HASH, kinds::LRU_HASH];
        let map = super::open(folder, name, &kinds, size_of::<K>(), size_of::<V>())?;
        Ok(Self { map, name: name.to_owned(), types: PhantomData })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many elements it may hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.map.info().max_entries
    }

    /// An element's value.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn get(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::zeroed();
        let mut bytes = value.bytes().to_vec();
        if !self.map.lookup(key.bytes(), &mut bytes).map_err(self.failed("lookup"))? {
            return Ok(None);
        }
        if let Some(read) = V::from_bytes(&bytes) {
            value = read;
        }
        Ok(Some(value))
    }

    /// Writes an element, new or not.
    ///
    /// # Errors
    /// [`Error::TableFull`] where it is new and there is no room.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), Error> {
        self.map.update(key.bytes(), value.bytes(), Update::Any).map_err(|error| self.update_failed(error))
    }

    /// Writes an element where its key is new; `false`, and nothing written, where it is not.
    ///
    /// # Errors
    /// [`Error::TableFull`] where there is no room.
    pub fn insert_new(&self, key: &K, value: &V) -> Result<bool, Error> {
        match self.map.update(key.bytes(), value.bytes(), Update::New) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(self.update_failed(error)),
        }
    }

    /// Removes an element; `false` where there was none.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn remove(&self, key: &K) -> Result<bool, Error> {
        self.map.delete(key.bytes()).map_err(self.failed("delete"))
    }

    /// Writes many elements, new or not, with one call.
    ///
    /// # Errors
    /// [`Error::TableFull`] where there is no room; those before are written.
    pub fn insert_all(&self, elements: &[(K, V)]) -> Result<(), Error> {
        let mut keys = Vec::with_capacity(size_of_val(elements));
        let mut values = Vec::with_capacity(size_of_val(elements));
        for (key, value) in elements {
            keys.extend_from_slice(key.bytes());
            values.extend_from_slice(value.bytes());
        }
        match self.map.update_batch(&keys, &values, Update::Any) {
            Ok(_) => Ok(()),
            Err((_, error)) => Err(self.update_failed(error)),
        }
    }

    /// Removes many elements; those that are missing are skipped. Gives the number removed.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn remove_all(&self, keys: &[K]) -> Result<usize, Error> {
        let mut removed = 0;
        let mut rest = keys;
        while !rest.is_empty() {
            let mut bytes = Vec::with_capacity(size_of_val(rest));
            rest.iter().for_each(|key| bytes.extend_from_slice(key.bytes()));
            let (done, missing) = match self.map.delete_batch(&bytes) {
                Ok(done) => (done, 0),
                Err((done, error)) if error.raw_os_error() == Some(libc::ENOENT) => (done, 1),
                Err((_, error)) => return Err(self.failed("delete batch")(error)),
            };
            removed += done;
            rest = rest.get(done + missing..).unwrap_or_default();
        }
        Ok(removed)
    }

    /// Gives every element to `each`. What comes or goes meanwhile may be given or not.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn for_each(&self, mut each: impl FnMut(K, V)) -> Result<(), Error> {
        self.map
            .for_each(|key, value| {
                if let (Some(key), Some(value)) = (K::from_bytes(key), V::from_bytes(value)) {
                    each(key, value);
                }
            })
            .map_err(self.failed("lookup batch"))
    }

    /// All elements.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn dump(&self) -> Result<Vec<(K, V)>, Error> {
        let mut elements = Vec::new();
        self.for_each(|key, value| elements.push((key, value)))?;
        Ok(elements)
    }

    fn failed(&self, call: &'static str) -> impl FnOnce(io::Error) -> Error {
        Error::system(call, &self.name)
    }

    /// A preallocated hash is full with `E2BIG`, another with `ENOMEM` where memory is short: the former alone tells of
    /// the table's own size.
    fn update_failed(&self, error: io::Error) -> Error {
        if error.raw_os_error() == Some(libc::E2BIG) {
            Error::TableFull { table: self.name.clone(), size: self.capacity() }
        } else {
            self.failed("update")(error)
        }
    }
}
