//! Where things are pinned.

mod common;

use std::fs;

use common::sandbox;
use penstock_kernel::Pins;

/// How many filesystems of type bpf are mounted at a path, in the namespace of this thread.
fn mounts_at(path: &std::path::Path) -> usize {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    mounts.lines().filter(|line| line.contains(&format!(" {} bpf ", path.display()))).count()
}

#[test]
fn a_bpffs_is_mounted_where_there_is_none_and_used_where_there_is_one() {
    sandbox(|sandbox| {
        let root = sandbox.folder().join("other");
        let pins = Pins::new(&root);
        assert_eq!(mounts_at(&root), 0);
        pins.prepare().unwrap();
        pins.prepare().unwrap();
        assert_eq!(mounts_at(&root), 1);
        assert!(pins.links().is_dir());
        pins.without_mounting().prepare().unwrap();
        let status = std::process::Command::new("umount").arg(&root).status().unwrap();
        assert!(status.success());
        let error = Pins::new(&root).without_mounting().prepare().unwrap_err().to_string();
        assert!(error.contains(&format!("no BPF filesystem is mounted at {}", root.display())), "{error}");
        assert_eq!(mounts_at(&root), 0);
    });
}
