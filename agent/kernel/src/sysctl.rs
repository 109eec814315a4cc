//! The few switches of this network namespace that a node with pods needs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// The switches below a folder, `/proc/sys/net` or a mount of it: whichever it is, the kernel shows each process those of its own
/// network namespace. A container may write them at another mount alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switches {
    net: PathBuf,
}

impl Default for Switches {
    fn default() -> Self {
        Self::at("/proc/sys/net")
    }
}

impl Switches {
    /// The switches below this folder.
    pub fn at(net: impl Into<PathBuf>) -> Self {
        Self { net: net.into() }
    }

    /// Turns on forwarding of both families, as every pod network does. A namespace without IPv6 is left at that.
    ///
    /// # Errors
    /// [`Error::System`] where a switch cannot be written.
    pub fn enable_forwarding(&self) -> Result<(), Error> {
        set(&self.net.join("ipv4/ip_forward"), "1")?;
        set(&self.net.join("ipv6/conf/all/forwarding"), "1")
    }

    /// Turns the reverse-path filter of a pod's device off: an answer of a pod to a program of the node comes from the Service's
    /// address, whose route leads elsewhere, and a device without an address of its own drops that even where the filter is loose
    /// (RFC 3704, 2.4). The kernel takes the stricter of this and `all/rp_filter` ([`Self::reverse_path_filter_of_all`]). That the
    /// device is gone is no error.
    ///
    /// # Errors
    /// [`Error::System`] where the switch cannot be written.
    pub fn disable_reverse_path_filter(&self, device: &str) -> Result<(), Error> {
        set(&self.net.join("ipv4/conf").join(device).join("rp_filter"), "0")
    }

    /// Whether the reverse-path filter is on for every device, whatever a device's own switch says.
    #[must_use]
    pub fn reverse_path_filter_of_all(&self) -> bool {
        fs::read_to_string(self.net.join("ipv4/conf/all/rp_filter")).is_ok_and(|now| now.trim() != "0")
    }
}

/// Writes a switch unless it is so already, for a file that may be read-only then; a missing one is skipped.
fn set(path: &Path, value: &str) -> Result<(), Error> {
    if !path.exists() || fs::read_to_string(path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(Error::system("write", path.display()))
}
