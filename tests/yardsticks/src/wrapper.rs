//! The wrapper: each pass of `BPF_PROG_TEST_RUN` gets the packet that the last one left, so the headers are written anew
//! and a flow is picked before the program under test runs.
#![expect(unsafe_code, reason = "packet bytes and map values are reached through pointers")]

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::macros::{btf_map, classifier};
use aya_ebpf::programs::TcContext;
use yardsticks::{FIRST_CLIENT_PORT, FLOWS_PER_CLIENT, HEADER_WORDS, MAX_TARGETS, Scene};

use crate::tables::MMAPABLE;

#[btf_map(name = "scene")]
static SCENE: Array<Scene, 1, MMAPABLE> = Array::new();
#[btf_map(name = "targets")]
static TARGETS: ProgramArray<{ MAX_TARGETS as usize }> = ProgramArray::new();

/// Does nothing: what the wrapper costs by itself.
#[classifier]
fn empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Where the fields are that tell flows apart, from the start of the frame.
struct Layout {
    /// The low half of the source address's last word.
    client: usize,
    /// The same of the destination address.
    frontend: usize,
    /// The source port.
    client_port: usize,
}

/// Runs the program under test on an IPv4 packet.
#[classifier]
fn wrapper4(ctx: TcContext) -> i32 {
    wrap(&ctx, &Layout { client: 28, frontend: 32, client_port: 34 })
}

/// Runs the program under test on an IPv6 packet.
#[classifier]
fn wrapper6(ctx: TcContext) -> i32 {
    wrap(&ctx, &Layout { client: 36, frontend: 52, client_port: 54 })
}

#[inline(always)]
fn wrap(ctx: &TcContext, layout: &Layout) -> i32 {
    let Some(scene) = SCENE.get_ptr_mut(0) else { return TC_ACT_SHOT };
    let start = ctx.data();
    if start + HEADER_WORDS * size_of::<u64>() > ctx.data_end() {
        return TC_ACT_SHOT;
    }
    // SAFETY: one test run at a time uses the scene, and the packet has room for the header: it was compared.
    let target = unsafe {
        let pass = (*scene).next;
        (*scene).next = pass.wrapping_add(1);
        let flow = pass & (*scene).flow_mask;
        for word in 0..HEADER_WORDS {
            (start as *mut u64).add(word).write((*scene).header[word]);
        }
        let put = |offset: usize, value: u16| ((start + offset) as *mut u16).write(value.to_be());
        put(layout.client, (flow / FLOWS_PER_CLIENT) as u16);
        put(layout.client_port, FIRST_CLIENT_PORT + (flow % FLOWS_PER_CLIENT) as u16);
        // A product in place of a remainder; the factor is the golden ratio, which spreads neighbours.
        let spread = u64::from(flow.wrapping_mul(0x9e37_79b1)) * u64::from((*scene).frontends);
        put(layout.frontend, (spread >> 32) as u16);
        (*scene).target
    };
    // SAFETY: nothing of this program is used after the call. It returns only where the place is empty.
    unsafe { TARGETS.tail_call(ctx, target) };
    TC_ACT_SHOT
}
