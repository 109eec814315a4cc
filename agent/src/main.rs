//! Pod networking and Services on eBPF: the agent of a node, and the operator's commands.
#![forbid(unsafe_code)]
mod cli;
mod source;
fn main() {}
