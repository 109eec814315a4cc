//! The eBPF object that this build carries.

use crate::Error;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/penstock.bpf.o"));

/// The object's bytes, aligned as an ELF reader wants them.
///
/// # Errors
/// [`Error::NoObject`] where the build was made without the programs.
pub fn bytes() -> Result<&'static [u8], Error> {
    if OBJECT.is_empty() { Err(Error::NoObject) } else { Ok(OBJECT) }
}
