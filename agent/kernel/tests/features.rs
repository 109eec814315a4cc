//! What is missing is named.

mod common;

use common::{drop_capabilities, sandbox};
use penstock_kernel::Error;
use penstock_kernel::features;

#[test]
fn nothing_is_missing_for_root_on_this_kernel() {
    sandbox(|_| {
        features::check().unwrap();
    });
}

#[test]
fn each_missing_capability_is_named() {
    sandbox(|_| {
        // On a thread of its own: the sandbox's needs its capabilities to clean up.
        if let Err(panic) = std::thread::spawn(name_each_missing_capability).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn name_each_missing_capability() {
    // CAP_BPF alone, for which CAP_SYS_ADMIN stands.
    drop_capabilities(&[39]);
    features::check().unwrap();
    // CAP_NET_ADMIN and CAP_SYS_ADMIN.
    drop_capabilities(&[12, 21]);
    let missing: Vec<_> = features::check()
        .unwrap_err()
        .into_iter()
        .map(|error| match error {
            Error::MissingCapability { capability, .. } => capability,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(missing, ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_BPF"]);
}
