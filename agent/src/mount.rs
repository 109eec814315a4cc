//! `penstock mount-bpffs`.

use anyhow::Result;
use penstock_kernel::Pins;

use crate::cli::Places;

/// Mounts a BPF filesystem where there is none.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn run(places: &Places) -> Result<()> {
    let path = places.bpffs.display();
    if Pins::new(&places.bpffs).mount()? {
        println!("mounted a BPF filesystem at {path}");
    } else {
        println!("a BPF filesystem is mounted at {path}");
    }
    Ok(())
}
