//! The versions of the tools that are not crates of this workspace. The compiler's is in `rust-toolchain.toml`.

/// Links Rust's LLVM bitcode to an eBPF object. 0.10 uses the LLVM inside rustc; later ones want one of the system's.
pub(crate) const BPF_LINKER: &str = "0.10.4";

/// Checks licences, bans and sources of dependencies against `deny.toml`.
pub(crate) const CARGO_DENY: &str = "0.20.2";

/// Drives libFuzzer.
pub(crate) const CARGO_FUZZ: &str = "0.13.2";

/// The Debian suites to look in, after the machine's own, for the compiler's sources and for kernels.
pub(crate) const DEBIAN_SUITES: &[&str] =
    &["bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid"];
