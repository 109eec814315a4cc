//! One map: create, pin, look up, update, delete, one element at a time or in batches.
#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use super::attr::{self, Command, bpf, bpf_fd, name_text, object_name};
use super::fs::c_path;

/// Kinds of maps, `enum bpf_map_type`.
pub mod kinds {
    /// Hash.
    pub const HASH: u32 = 1;
    /// Array.
    pub const ARRAY: u32 = 2;
    /// Hash, a value for each CPU.
    pub const PERCPU_HASH: u32 = 5;
    /// Array, a value for each CPU.
    pub const PERCPU_ARRAY: u32 = 6;
    /// Hash that forgets what was not used for long.
    pub const LRU_HASH: u32 = 9;
    /// The same, a value for each CPU.
    pub const LRU_PERCPU_HASH: u32 = 10;
    /// Array whose values are maps.
    pub const ARRAY_OF_MAPS: u32 = 12;
    /// Storage that hangs on sockets.
    pub const SK_STORAGE: u32 = 24;
    /// Ring buffer.
    pub const RINGBUF: u32 = 27;

    /// `BPF_F_NO_PREALLOC`.
    pub const NO_PREALLOC: u32 = 1;
    /// `BPF_F_NO_COMMON_LRU`: the kernel then rounds the size up to a multiple of the CPUs.
    pub const NO_COMMON_LRU: u32 = 2;
    /// `BPF_F_MMAPABLE`.
    pub const MMAPABLE: u32 = 1024;
}

/// What a map is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// The name; the kernel keeps 15 bytes of it.
    pub name: String,
    /// One of [`kinds`].
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Number of elements; bytes of a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

/// What the kernel says of a map: the head of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapInfo {
    /// One of [`kinds`].
    pub kind: u32,
    /// Number of the map, not given again while the machine is up.
    pub id: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Number of elements; bytes of a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` that it was made with.
    pub flags: u32,
    pub(crate) name: [u8; 16],
}

impl MapInfo {
    /// The name.
    #[must_use]
    pub fn name(&self) -> String {
        name_text(&self.name)
    }
}

/// When an update may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Update {
    /// Always.
    Any = 0,
    /// Only where the key is new: `EEXIST` otherwise.
    New = 1,
}

/// An open map. Buffers are compared with the kernel's own sizes before each call.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: MapInfo,
    value_len: usize,
}

impl Map {
    /// Makes a map; `inner` is the pattern for the values of a map of maps.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn create(spec: &MapSpec, inner: Option<&Self>) -> io::Result<Self> {
        let mut attr = attr::MapCreate {
            kind: spec.kind,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
            flags: spec.flags,
            inner_map_fd: inner.map_or(0, |inner| raw(inner.as_fd())),
            name: object_name(&spec.name),
            ..Default::default()
        };
        // SAFETY: the structure holds no pointer.
        Self::from_fd(unsafe { bpf_fd(Command::MapCreate, &mut attr) }?)
    }

    /// Opens the map that is pinned there.
    ///
    /// # Errors
    /// bpf(2)'s; `EINVAL` where the pin is no map.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_fd(open_pin(path)?)
    }

    /// Opens a map by its number.
    ///
    /// # Errors
    /// bpf(2)'s; `ENOENT` where it is gone.
    pub fn by_id(id: u32) -> io::Result<Self> {
        let mut attr = attr::Id { id, ..Default::default() };
        // SAFETY: the structure holds no pointer.
        Self::from_fd(unsafe { bpf_fd(Command::MapFdById, &mut attr) }?)
    }

    /// Takes a descriptor over.
    ///
    /// # Errors
    /// bpf(2)'s; `EINVAL` where it is no map.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        // A program or a link answers the same question with another structure: the kind of file tells them apart.
        if !is_kind(fd.as_fd(), "anon_inode:bpf-map")? {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut info = MapInfo::default();
        object_info(fd.as_fd(), &mut info)?;
        let size = info.value_size as usize;
        let per_cpu = matches!(info.kind, kinds::PERCPU_HASH | kinds::PERCPU_ARRAY | kinds::LRU_PERCPU_HASH);
        let value_len = if per_cpu { size.next_multiple_of(8) * possible_cpus()? } else { size };
        Ok(Self { fd, info, value_len })
    }

    /// Pins the map at a path on a bpffs.
    ///
    /// # Errors
    /// bpf(2)'s; `EEXIST` where something is there.
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.as_fd(), path)
    }

    /// What the kernel says of it.
    #[must_use]
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Bytes of a value as lookups give it: for a per-CPU map the size rounded up to 8, once for each possible CPU.
    #[must_use]
    pub fn value_len(&self) -> usize {
        self.value_len
    }

    /// Bytes of kernel memory that it takes, as the kernel reckons it.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn memory(&self) -> io::Result<u64> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))?;
        info.lines()
            .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
            .ok_or_else(|| io::Error::other("no memlock in fdinfo"))
    }

    /// Reads an element; `false` where there is none.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
        self.check(key, 1, Some(value))?;
        let mut attr = self.element(key, value.as_mut_ptr() as u64, 0);
        // SAFETY: `check` compared both lengths with what the kernel reads and writes.
        missing_is_false(unsafe { bpf(Command::MapLookup, &mut attr) })
    }

    /// Writes an element.
    ///
    /// # Errors
    /// bpf(2)'s; `E2BIG` or `ENOMEM` where the map is full.
    pub fn update(&self, key: &[u8], value: &[u8], update: Update) -> io::Result<()> {
        self.check(key, 1, Some(value))?;
        let mut attr = self.element(key, value.as_ptr() as u64, update as u64);
        // SAFETY: `check` compared both lengths with what the kernel reads.
        unsafe { bpf(Command::MapUpdate, &mut attr) }.map(drop)
    }

    /// Removes an element; `false` where there was none.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        self.check(key, 1, None)?;
        let mut attr = self.element(key, 0, 0);
        // SAFETY: `check` compared the length with what the kernel reads.
        missing_is_false(unsafe { bpf(Command::MapDelete, &mut attr) })
    }

    /// The key after this one, or the first; `false` at the end.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
        self.check(next, 1, None)?;
        if let Some(key) = key {
            self.check(key, 1, None)?;
        }
        let mut attr = attr::MapElement {
            map_fd: raw(self.as_fd()),
            key: key.map_or(0, |key| key.as_ptr() as u64),
            value: next.as_mut_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: `check` compared both lengths with a key's; a key of 0 asks for the first.
        missing_is_false(unsafe { bpf(Command::MapNextKey, &mut attr) })
    }

    /// Writes many elements with one call. Gives the number written before an error.
    ///
    /// # Errors
    /// bpf(2)'s, with how many elements were written.
    pub fn update_batch(
        &self,
        keys: &[u8],
        values: &[u8],
        update: Update,
    ) -> Result<usize, (usize, io::Error)> {
        let count = self.batch_count(keys, Some(values)).map_err(|error| (0, error))?;
        if count == 0 {
            return Ok(0);
        }
        let mut attr = self.batch(keys.as_ptr() as u64, values.as_ptr() as u64, count);
        attr.element_flags = update as u64;
        // SAFETY: `batch_count` made sure that both buffers hold `count` elements.
        let result = unsafe { bpf(Command::MapUpdateBatch, &mut attr) };
        self.batch_result(result, &attr)
    }

    /// Removes many elements with one call; stops at the first that is missing (`ENOENT`).
    ///
    /// # Errors
    /// bpf(2)'s, with how many elements were removed.
    pub fn delete_batch(&self, keys: &[u8]) -> Result<usize, (usize, io::Error)> {
        let count = self.batch_count(keys, None).map_err(|error| (0, error))?;
        if count == 0 {
            return Ok(0);
        }
        let mut attr = self.batch(keys.as_ptr() as u64, 0, count);
        // SAFETY: `batch_count` made sure that the buffer holds `count` keys.
        let result = unsafe { bpf(Command::MapDeleteBatch, &mut attr) };
        self.batch_result(result, &attr)
    }

    /// Gives every element, key and value, to `each`, read in batches. A hash that is written meanwhile gives each
    /// element that stays exactly once; what comes or goes meanwhile may or may not be given.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn for_each(&self, mut each: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let (key_size, value_len) = (self.info.key_size as usize, self.value_len);
        // The kernel gives whole buckets of a hash, and ENOSPC where one does not fit.
        let mut capacity = 4096_usize;
        // The cursor is a key for an array and a bucket's number for a hash: the kernel copies at most a key's size,
        // and at least the four bytes of the number.
        let mut cursor = vec![0_u8; key_size.max(4)];
        let mut next = cursor.clone();
        let mut started = false;
        loop {
            let mut keys = vec![0; capacity * key_size];
            let mut values = vec![0; capacity * value_len];
            let count = u32::try_from(capacity).map_err(io::Error::other)?;
            let mut attr = self.batch(keys.as_mut_ptr() as u64, values.as_mut_ptr() as u64, count);
            attr.in_batch = if started { cursor.as_ptr() as u64 } else { 0 };
            attr.out_batch = next.as_mut_ptr() as u64;
            // SAFETY: both buffers hold `count` elements, both cursors what the kernel copies.
            let result = unsafe { bpf(Command::MapLookupBatch, &mut attr) };
            let at_end = match result {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    capacity *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let given = (attr.count as usize).min(capacity);
            let keys = keys.chunks_exact(key_size.max(1));
            for (key, value) in keys.zip(values.chunks_exact(value_len.max(1))).take(given) {
                each(key, value);
            }
            if at_end {
                return Ok(());
            }
            std::mem::swap(&mut cursor, &mut next);
            started = true;
        }
    }

    fn element(&self, key: &[u8], value: u64, flags: u64) -> attr::MapElement {
        attr::MapElement {
            map_fd: raw(self.as_fd()),
            key: key.as_ptr() as u64,
            value,
            flags,
            ..Default::default()
        }
    }

    fn batch(&self, keys: u64, values: u64, count: u32) -> attr::MapBatch {
        attr::MapBatch { keys, values, count, map_fd: raw(self.as_fd()), ..Default::default() }
    }

    fn batch_result(
        &self,
        result: io::Result<libc::c_long>,
        attr: &attr::MapBatch,
    ) -> Result<usize, (usize, io::Error)> {
        let done = attr.count as usize;
        match result {
            Ok(_) => Ok(done),
            Err(error) => Err((done, error)),
        }
    }

    fn batch_count(&self, keys: &[u8], values: Option<&[u8]>) -> io::Result<u32> {
        let count = keys.len() / (self.info.key_size as usize).max(1);
        self.check(keys, count, values)?;
        u32::try_from(count).map_err(io::Error::other)
    }

    fn check(&self, keys: &[u8], count: usize, values: Option<&[u8]>) -> io::Result<()> {
        let fits = keys.len() == self.info.key_size as usize * count
            && values.is_none_or(|values| values.len() == self.value_len * count);
        if fits {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a buffer has not the size of the map's elements",
            ))
        }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn missing_is_false(result: io::Result<libc::c_long>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn possible_cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(_, error)| error)
}

/// A descriptor as the commands take it; descriptors are never negative.
pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = attr::Object { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 };
    // SAFETY: the path ends with a zero byte and outlives the call.
    unsafe { bpf(Command::ObjPin, &mut attr) }.map(drop)
}

pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = attr::Object { path: path.as_ptr() as u64, ..Default::default() };
    // SAFETY: the path ends with a zero byte and outlives the call.
    unsafe { bpf_fd(Command::ObjGet, &mut attr) }
}

/// Fills a structure that is a head of the one that the kernel has for this kind of object; all its fields are integers.
pub(super) fn object_info<T: Default>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let length = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut attr = attr::Info { fd: raw(fd), length, info: std::ptr::from_mut(info) as u64 };
    // SAFETY: the kernel writes at most `length` bytes, the size of the structure.
    unsafe { bpf(Command::InfoByFd, &mut attr) }.map(drop)
}

/// Whether a descriptor is of this kind, by the name that the kernel gives its file.
pub(super) fn is_kind(fd: BorrowedFd<'_>, wanted: &str) -> io::Result<bool> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(link.as_os_str().to_string_lossy().starts_with(wanted))
}
