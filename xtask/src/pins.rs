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

// The images of the lab's pods, as the Kubernetes of `tests/upstream/kubernetes` names them
// (`test/utils/image/manifest.go`). The versions of its programs are in the `go.mod` files there.

/// The container that holds a pod's namespaces; containerd asks for the same one unless told otherwise.
pub(crate) const PAUSE: &str = "3.10.2";

/// Servers and clients for upstream's tests.
pub(crate) const AGNHOST: &str = "2.63.0";

/// Resolves names by glibc, for upstream's tests of DNS.
pub(crate) const GLIBC_DNS_TESTING: &str = "2.0.0";

/// A shell for upstream's tests.
pub(crate) const BUSYBOX: &str = "1.37.0-1";

/// Sends a segment out of window, for upstream's test of what conntrack does with it.
pub(crate) const REGRESSION_ISSUE_74839: &str = "1.4";
