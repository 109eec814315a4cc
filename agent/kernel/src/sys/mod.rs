//! The raw bpf(2) calls, mappings and mounts: all `unsafe` of this crate is below here, behind safe functions.
//!
//! Every function that hands the kernel a buffer compares its length with what the kernel will read or write first, so
//! no caller can make it overrun.

mod attr;
mod clock;
mod fs;
pub mod heap;
mod link;
mod map;
mod mapping;
mod program;

pub use clock::monotonic_coarse_ns;
pub(crate) use fs::{is_bpffs, mount_bpffs};
pub use link::{Link, LinkInfo, LinkTarget};
pub use map::{Map, MapInfo, MapSpec, Update, kinds};
pub use mapping::Mapping;
pub use program::{Program, ProgramInfo, QueryTarget, TestRun, attach_types, program_kinds, query};
