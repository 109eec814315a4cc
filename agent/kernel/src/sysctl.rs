//! The few switches of this network namespace that a node with pods needs.

use std::fs;
use std::path::Path;

use crate::Error;

/// Turns on forwarding of both families, as every pod network does. A namespace without IPv6 is left at that.
///
/// # Errors
/// [`Error::System`] where the switch cannot be written.
pub fn enable_forwarding() -> Result<(), Error> {
    set("/proc/sys/net/ipv4/ip_forward", "1")?;
    set("/proc/sys/net/ipv6/conf/all/forwarding", "1")
}

/// Turns the reverse-path filter of a pod's device off: an answer of a pod to a program of the node comes from the Service's
/// address, whose route leads elsewhere, and a device without an address of its own drops that even where the filter is loose
/// (RFC 3704, 2.4). The kernel takes the stricter of this and `all/rp_filter` ([`reverse_path_filter_of_all`]). That the
/// device is gone is no error.
///
/// # Errors
/// [`Error::System`] where the switch cannot be written.
pub fn disable_reverse_path_filter(device: &str) -> Result<(), Error> {
    set(&format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0")
}

/// Whether the reverse-path filter is on for every device, whatever a device's own switch says.
#[must_use]
pub fn reverse_path_filter_of_all() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter").is_ok_and(|now| now.trim() != "0")
}

/// Writes a switch unless it is so already, for a file that may be read-only then; a missing one is skipped.
fn set(path: &str, value: &str) -> Result<(), Error> {
    if !Path::new(path).exists() || fs::read_to_string(path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(Error::system("write", path))
}
