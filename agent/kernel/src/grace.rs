//! Waiting until no program can still hold what it read before.

use crate::Error;
use crate::sys::{Map, MapSpec, Update, kinds};

/// Waits for RCU grace periods: programs run inside of RCU read-side sections, so after one, each that was running at the
/// call has ended.
///
/// An update of a map whose values are maps returns only after one (`maybe_wait_bpf_programs` in
/// `kernel/bpf/syscall.c`, Linux 4.12 and later): the only call that promises it to user space.
#[derive(Debug)]
pub struct Grace {
    outer: Map,
    inner: Map,
}

impl Grace {
    /// Makes the maps that the wait needs.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn new() -> Result<Self, Error> {
        let spec = |name: &str, kind| MapSpec {
            name: name.to_owned(),
            kind,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
        };
        let inner = Map::create(&spec("grace_inner", kinds::ARRAY), None)
            .map_err(Error::system("create map", "grace_inner"))?;
        let outer = Map::create(&spec("grace", kinds::ARRAY_OF_MAPS), Some(&inner))
            .map_err(Error::system("create map", "grace"))?;
        Ok(Self { outer, inner })
    }

    /// Waits for a grace period: some milliseconds, off the path of any commit.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn wait(&self) -> Result<(), Error> {
        use std::os::fd::{AsFd as _, AsRawFd as _};
        let inner = self.inner.as_fd().as_raw_fd().to_ne_bytes();
        self.outer.update(&0_u32.to_ne_bytes(), &inner, Update::Any).map_err(Error::system("update", "grace"))
    }
}
