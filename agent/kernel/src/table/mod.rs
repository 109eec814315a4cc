//! Maps with types: what the agent writes and reads.
//!
//! A table is opened on a map whose key and value sizes were compared with the types' first.

mod array;
mod hash;
mod mapped;
mod ring;

pub use array::PerCpuArray;
pub use hash::Hash;
pub use mapped::MappedArray;
pub use ring::RingBuffer;

use std::path::Path;

use crate::Error;
use crate::sys::{Map, kinds};

/// Opens the map that is pinned there and compares it with what its users take it for.
fn open(folder: &Path, name: &str, kind: &[u32], key_size: usize, value_size: usize) -> Result<Map, Error> {
    let path = folder.join(name);
    let map = Map::open(&path).map_err(Error::system("open pin", path.display()))?;
    let info = map.info();
    let mismatch =
        |what, wanted: u64, found: u64| Error::SchemaMismatch { map: name.to_owned(), what, wanted, found };
    if !kind.contains(&info.kind) {
        let wanted = kind.first().copied().unwrap_or_default();
        return Err(mismatch("type", wanted.into(), info.kind.into()));
    }
    if info.key_size as usize != key_size {
        return Err(mismatch("key size", key_size as u64, info.key_size.into()));
    }
    if info.value_size as usize != value_size && info.kind != kinds::RINGBUF {
        return Err(mismatch("value size", value_size as u64, info.value_size.into()));
    }
    Ok(map)
}
