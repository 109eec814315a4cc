//! The eBPF programs: one thin entry point per hook around the rules of `penstock-datapath`.
//!
//! Owns: the maps as the kernel has them ([`maps`]), what carries a packet ([`skb`]) or a call ([`call`]) in the kernel,
//! and the entry points ([`tc`], [`socket`]).
//!
//! Invariants:
//! - No rule lives here: an entry point picks the family, runs the rule, and turns its answer into the kernel's.
//! - A packet that no rule speaks of goes on as if no program had been there (`TC_ACT_UNSPEC`, so that programs attached
//!   after ours still run).
//! - No panic is reachable: the panic handler is a loop, which the verifier refuses, and `cargo xtask bpf` fails where an
//!   object holds one.
//!
//! Must not know: the agent, or why a table holds what it holds.
#![no_std]
#![no_main]

mod call;
#[cfg(feature = "log")]
mod log;
mod maps;
mod skb;
mod socket;
mod tc;

/// The kernel asks for a licence that is compatible with its own where a program calls certain helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the loader finds the licence by its section")]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
