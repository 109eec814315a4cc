//! Memory of an array map, shared with the programs.
#![expect(unsafe_code, reason = "mapped memory is reached by pointer")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// A mapped array. Programs read it at any time, so every access is an atomic one; whoever needs an order between two
/// stores asks for it with a store of the second that releases.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is reached only by atomic accesses, and the mapping lives until the value is dropped.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared references only load and store atomically.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `length` bytes of a map that was made with `BPF_F_MMAPABLE`, to read and, if asked, to write.
    ///
    /// # Errors
    /// mmap(2)'s.
    pub fn new(map: BorrowedFd<'_>, length: usize, writable: bool) -> io::Result<Self> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory that is in use.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Self { start, length }),
            None => Err(io::Error::other("mmap gave address 0")),
        }
    }

    /// Number of bytes mapped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is mapped; never so, since mmap(2) refuses a length of 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The place of a `T` there: panics where it is not inside the mapping or not aligned.
    fn at<T>(&self, offset: usize) -> *mut T {
        let end = offset.checked_add(size_of::<T>());
        assert!(end.is_some_and(|end| end <= self.length), "offset {offset} is outside of the mapping");
        assert!(offset.is_multiple_of(align_of::<T>()), "offset {offset} is not aligned");
        // SAFETY: the offset was found to be inside the mapping.
        unsafe { self.start.as_ptr().add(offset).cast() }
    }

    fn u64_at(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `at` checks bounds and alignment (a mapping starts on a page); all accesses to it are atomic.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
    }

    fn u32_at(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as for `u64_at`.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }

    fn u8_at(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: as for `u64_at`.
        unsafe { AtomicU8::from_ptr(self.at(offset)) }
    }

    /// Stores one word: what was written before is seen by whoever sees this. Panics outside the mapping.
    pub fn store_u64(&self, offset: usize, value: u64) {
        self.u64_at(offset).store(value, Ordering::Release);
    }

    /// As [`Self::store_u64`], of four bytes.
    pub fn store_u32(&self, offset: usize, value: u32) {
        self.u32_at(offset).store(value, Ordering::Release);
    }

    /// As [`Self::store_u64`], of one byte.
    pub fn store_u8(&self, offset: usize, value: u8) {
        self.u8_at(offset).store(value, Ordering::Release);
    }

    /// Copies bytes in, from an offset that is a multiple of 8, in words where they are whole. Panics outside the
    /// mapping.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            self.u64_at(offset + index * 8).store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        let offset = offset + words.len() * 8;
        let (halves, rest) = rest.as_chunks::<4>();
        for (index, half) in halves.iter().enumerate() {
            self.u32_at(offset + index * 4).store(u32::from_ne_bytes(*half), Ordering::Relaxed);
        }
        let offset = offset + halves.len() * 4;
        for (index, byte) in rest.iter().enumerate() {
            self.u8_at(offset + index).store(*byte, Ordering::Relaxed);
        }
    }

    /// Copies bytes out, as [`Self::write`] copies them in.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut::<8>();
        let count = words.len();
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.u64_at(offset + index * 8).load(Ordering::Acquire).to_ne_bytes();
        }
        let offset = offset + count * 8;
        let (halves, rest) = rest.as_chunks_mut::<4>();
        let count = halves.len();
        for (index, half) in halves.iter_mut().enumerate() {
            *half = self.u32_at(offset + index * 4).load(Ordering::Acquire).to_ne_bytes();
        }
        let offset = offset + count * 4;
        for (index, byte) in rest.iter_mut().enumerate() {
            *byte = self.u8_at(offset + index).load(Ordering::Acquire);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that mmap gave, and no reference into it outlives self.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
