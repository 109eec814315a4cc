//! The clock that programs stamp flows with.
#![expect(unsafe_code, reason = "clock_gettime(2) fills a structure")]

/// `CLOCK_MONOTONIC_COARSE` in nanoseconds: the same clock as `bpf_ktime_get_coarse_ns`.
#[must_use]
pub fn monotonic_coarse_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is borrowed for the call. The call cannot fail: the clock exists since Linux 2.6.32.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or_default()
}
