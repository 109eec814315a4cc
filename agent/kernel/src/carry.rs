//! Copying elements from one map to another of the same form.

use std::os::fd::AsFd as _;

use crate::Error;
use crate::sys::{Map, MapSpec, Mapping, Update, kinds};

/// Whether elements of a map may be put into one made as `spec`: the same type, key and value. A schema that gives a field
/// another meaning without changing a size must give the map another name.
pub(crate) fn same_form(spec: &MapSpec, from: &Map) -> bool {
    let info = from.info();
    (spec.kind, spec.key_size, spec.value_size) == (info.kind, info.key_size, info.value_size)
}

/// Copies everything that the new map can take.
///
/// # Errors
/// [`Error::TooSmall`] where an element in use has no place in the new map.
pub(crate) fn copy_all(name: &str, from: &Map, to: &Map) -> Result<(), Error> {
    let info = from.info();
    match info.kind {
        kinds::ARRAY if info.flags & to.info().flags & kinds::MMAPABLE != 0 => copy_mapped(name, from, to),
        kinds::ARRAY | kinds::PERCPU_ARRAY => copy_array(name, from, to),
        kinds::HASH => copy_hash(name, from, to, true),
        kinds::LRU_HASH => copy_hash(name, from, to, false),
        // A ring's records are for a reader that is gone.
        _ => Ok(()),
    }
}

/// Puts into the new map what came to the old one since [`copy_all`], and nothing over what is there.
pub(crate) fn copy_new(name: &str, from: &Map, to: &Map) -> Result<u64, Error> {
    let mut copied = 0;
    let mut failure = None;
    from.for_each(|key, value| match to.update(key, value, Update::New) {
        Ok(()) => copied += 1,
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => failure = Some(error),
    })
    .map_err(Error::system("lookup batch", name))?;
    match failure {
        None => Ok(copied),
        Some(error) => Err(Error::system("update", name)(error)),
    }
}

fn copy_mapped(name: &str, from: &Map, to: &Map) -> Result<(), Error> {
    let stride = (from.info().value_size as usize).next_multiple_of(8);
    let bytes = |map: &Map| map.info().max_entries as usize * stride;
    let mapped = |map: &Map, writable| {
        Mapping::new(map.as_fd(), bytes(map), writable).map_err(Error::system("mmap", name))
    };
    let (source, target) = (mapped(from, false)?, mapped(to, true)?);
    // Zeros are what the new map holds already, so only what is in use takes memory.
    let mut element = vec![0; stride];
    for index in 0..from.info().max_entries {
        source.read(index as usize * stride, &mut element);
        if element.iter().all(|byte| *byte == 0) {
            continue;
        }
        if index >= to.info().max_entries {
            return Err(too_small(name, to, index));
        }
        target.write(index as usize * stride, &element);
    }
    Ok(())
}

fn copy_array(name: &str, from: &Map, to: &Map) -> Result<(), Error> {
    let mut failure = None;
    from.for_each(|key, value| {
        let zero = value.iter().all(|byte| *byte == 0);
        let index = key.first_chunk().map_or(0, |key| u32::from_ne_bytes(*key));
        // Counters past the end belong to services that the services table would not have let go.
        if !zero && index < to.info().max_entries {
            failure = to.update(key, value, Update::Any).err().or(failure.take());
        }
    })
    .map_err(Error::system("lookup batch", name))?;
    failure.map_or(Ok(()), |error| Err(Error::system("update", name)(error)))
}

fn copy_hash(name: &str, from: &Map, to: &Map, must_fit: bool) -> Result<(), Error> {
    let (mut keys, mut values, mut count) = (Vec::new(), Vec::new(), 0_u32);
    from.for_each(|key, value| {
        keys.extend_from_slice(key);
        values.extend_from_slice(value);
        count += 1;
    })
    .map_err(Error::system("lookup batch", name))?;
    if must_fit && count > to.info().max_entries {
        return Err(too_small(name, to, count));
    }
    match to.update_batch(&keys, &values, Update::Any) {
        Ok(_) => Ok(()),
        Err((_, error)) => Err(Error::system("update batch", name)(error)),
    }
}

fn too_small(name: &str, to: &Map, used: u32) -> Error {
    Error::TooSmall { table: name.to_owned(), wanted: to.info().max_entries, used }
}
