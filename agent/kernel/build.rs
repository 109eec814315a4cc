//! Puts the eBPF object where the crate includes it: the file named by `PENSTOCK_BPF_OBJECT`, or nothing.
//!
//! An empty object lets `cargo check`, `cargo clippy` and `cargo test` work without bpf-linker; loading it is an error
//! that names the command to build with.

use std::path::PathBuf;
use std::{env, fs, process};

const VARIABLE: &str = "PENSTOCK_BPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("penstock.bpf.o");
    let object = match env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        None => Vec::new(),
        Some(path) => {
            let path = PathBuf::from(path);
            println!("cargo::rerun-if-changed={}", path.display());
            match fs::read(&path) {
                Ok(object) => object,
                Err(error) => {
                    println!("cargo::error={VARIABLE}: {}: {error}", path.display());
                    process::exit(1);
                }
            }
        }
    };
    fs::write(target, object).expect("OUT_DIR is writable");
}
