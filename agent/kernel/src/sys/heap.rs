//! What this process keeps of the memory that it has freed.
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "mallopt(3) and malloc_trim(3) are the C library's")
)]

/// Gives memory that was freed back to the kernel: after a burst of work that is not soon to come again, as the first reading of a
/// cluster is. Does nothing where the C library is not glibc.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes the allocator's own locks and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets all threads allocate from one arena: an agent has few threads and one that works, and each arena keeps what it has
/// freed. Before the first thread is started.
pub fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call sets a number.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
