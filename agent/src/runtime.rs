//! What waits for the kernel and for the network.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// A runtime on the thread that blocks on it, so in that thread's network namespace.
///
/// # Errors
/// The kernel refuses what it needs.
pub(crate) fn new() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("start the runtime")
}
