//! The writer and the parser of the datapath's reference: they compute every checksum from scratch.
#![expect(dead_code, reason = "the datapath's own tests use more of it")]

#[path = "../../../ebpf/datapath/tests/rules/support/frame.rs"]
pub(crate) mod frame;
#[path = "../../../ebpf/datapath/tests/rules/support/wire.rs"]
pub(crate) mod wire;
