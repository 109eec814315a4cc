//! By which way pods get what other nodes send them: through the kernel's stack, or straight.

use std::mem::offset_of;

use penstock_abi::Config;
use penstock_kernel::{Error, Tables, conntrack};

use super::adopt;

/// Lets packets take this way from now on. `serving`: programs are attached, by whichever agent.
///
/// # Errors
/// The table cannot be written, or the kernel's connections not be listed.
pub(super) fn follow(tables: &Tables, through_stack: bool, serving: bool) -> Result<(), Error> {
    let before = tables.config.read(0)?.through_stack != 0;
    if before == through_stack {
        return Ok(());
    }
    tables.config.store_u32(0, offset_of!(Config, through_stack), through_stack.into())?;
    if through_stack && serving {
        // What the kernel has seen one way of for a while is invalid to it. What it sees from the middle on is not.
        let pods = adopt::pods(tables)?;
        let mut connections = conntrack::untranslated()?;
        connections.retain(|connection| {
            [connection.client, connection.server].iter().any(|end| pods.contains(&end.ip()))
        });
        conntrack::forget(&connections)?;
    }
    Ok(())
}
