//! The ring that programs write sampled events to.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::Path;

use aya::maps::{Map as AyaMap, MapData, RingBuf};
use penstock_abi::Plain;

use crate::Error;
use crate::sys::kinds;

/// A reader of records of `V`. Its descriptor becomes readable when there are some. One reader at a time: each record is
/// given once.
pub struct RingBuffer<V> {
    ring: RingBuf<MapData>,
    types: PhantomData<fn() -> V>,
}

impl<V: Plain> RingBuffer<V> {
    /// Opens the ring of this name in a folder of pins.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] where it is no ring; [`Error::System`] where there is none.
    pub fn open(folder: &Path, name: &str) -> Result<Self, Error> {
        let map = super::open(folder, name, &[kinds::RINGBUF], 0, 0)?;
        let fd = map.as_fd().try_clone_to_owned().map_err(Error::system("dup", name))?;
        let failed =
            |error: aya::maps::MapError| Error::system("open ring", name)(std::io::Error::other(error));
        let ring = MapData::from_fd(fd).map(AyaMap::RingBuf).and_then(RingBuf::try_from).map_err(failed)?;
        Ok(Self { ring, types: PhantomData })
    }

    /// The next record, if there is one. A record of another size, which no program of this schema writes, is skipped.
    pub fn next_record(&mut self) -> Option<V> {
        while let Some(item) = self.ring.next() {
            if let Some(record) = V::from_bytes(&item) {
                return Some(record);
            }
        }
        None
    }
}

impl<V> fmt::Debug for RingBuffer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingBuffer").field("fd", &self.ring.as_raw_fd()).finish()
    }
}

impl<V> AsRawFd for RingBuffer<V> {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
