//! The yardstick programs, and the wrapper that makes a program repeatable under `BPF_PROG_TEST_RUN`.
#![no_std]
#![no_main]

mod socket;
mod tables;
mod tc;
mod wrapper;

/// The kernel asks for a licence that is compatible with its own where a program calls certain helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the loader finds the licence by its section")]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
