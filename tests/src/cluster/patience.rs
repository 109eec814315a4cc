//! Waiting for what a cluster comes to by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Waits until a condition holds. What goes wrong on the way there is told where it never does.
pub fn until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let held = condition();
        if matches!(held, Ok(true)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            held.with_context(|| format!("after {LIMIT:?} it is still not so that {what}"))?;
            bail!("after {LIMIT:?} it is still not so that {what}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
