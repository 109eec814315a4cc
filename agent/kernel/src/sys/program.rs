//! One program: load raw instructions, ask what it is, run it on a packet; and ask what is attached somewhere.
#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::attr::{self, Command, bpf, bpf_fd, name_text, object_name};
use super::map::{object_info, raw};

/// Kinds of programs, `enum bpf_prog_type`.
pub mod program_kinds {
    /// TC classifier.
    pub const SCHED_CLS: u32 = 3;
    /// Hook of connect, sendmsg, recvmsg and getpeername in a cgroup.
    pub const CGROUP_SOCK_ADDR: u32 = 18;
}

/// Places to attach to, `enum bpf_attach_type`.
pub mod attach_types {
    /// connect(2), IPv4 (Linux 4.17).
    pub const CONNECT4: u32 = 10;
    /// connect(2), IPv6 (Linux 4.17).
    pub const CONNECT6: u32 = 11;
    /// sendmsg(2) of UDP, IPv4 (Linux 4.18).
    pub const SENDMSG4: u32 = 14;
    /// sendmsg(2) of UDP, IPv6 (Linux 4.18).
    pub const SENDMSG6: u32 = 15;
    /// recvmsg(2) of UDP, IPv4 (Linux 5.2).
    pub const RECVMSG4: u32 = 19;
    /// recvmsg(2) of UDP, IPv6 (Linux 5.2).
    pub const RECVMSG6: u32 = 20;
    /// getpeername(2), IPv4 (Linux 5.8).
    pub const GETPEERNAME4: u32 = 29;
    /// getpeername(2), IPv6 (Linux 5.8).
    pub const GETPEERNAME6: u32 = 30;
    /// What a device receives (Linux 6.6).
    pub const TCX_INGRESS: u32 = 46;
    /// What a device sends (Linux 6.6).
    pub const TCX_EGRESS: u32 = 47;
}

/// What the kernel says of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// One of [`program_kinds`].
    pub kind: u32,
    /// Number of the program.
    pub id: u32,
    /// The name, of which the kernel keeps 15 bytes.
    pub name: String,
    /// The numbers of the maps that it uses.
    pub map_ids: Vec<u32>,
}

/// The head of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    translated_len: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by_uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// The outcome of a test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// What the program returned.
    pub return_value: u32,
    /// The packet afterwards.
    pub data: Vec<u8>,
    /// Average time of one pass in nanoseconds, by the kernel's own clock.
    pub duration_ns: u32,
}

/// A loaded program.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

impl Program {
    /// Loads raw instructions, each a word, under the licence "Dual MIT/GPL": what features are probed with.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn load(name: &str, kind: u32, attach_type: u32, instructions: &[u64]) -> io::Result<Self> {
        let mut attr = attr::ProgLoad {
            kind,
            instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
            instructions: instructions.as_ptr() as u64,
            license: c"Dual MIT/GPL".as_ptr() as u64,
            name: object_name(name),
            expected_attach_type: attach_type,
            ..Default::default()
        };
        // SAFETY: the count is the slice's, and the licence ends with a zero byte.
        Ok(Self { fd: unsafe { bpf_fd(Command::ProgLoad, &mut attr) }? })
    }

    /// Opens a program by its number.
    ///
    /// # Errors
    /// bpf(2)'s; `ENOENT` where it is gone.
    pub fn by_id(id: u32) -> io::Result<Self> {
        let mut attr = attr::Id { id, ..Default::default() };
        // SAFETY: the structure holds no pointer.
        Ok(Self { fd: unsafe { bpf_fd(Command::ProgFdById, &mut attr) }? })
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn info(&self) -> io::Result<ProgramInfo> {
        // No program of ours comes near this number of maps; the kernel fills no more than it is given room for.
        let mut map_ids = vec![0_u32; 64];
        let mut raw = RawInfo { map_count: 64, map_ids: map_ids.as_mut_ptr() as u64, ..Default::default() };
        object_info(self.as_fd(), &mut raw)?;
        map_ids.truncate(raw.map_count as usize);
        Ok(ProgramInfo { kind: raw.kind, id: raw.id, name: name_text(&raw.name), map_ids })
    }

    /// Runs the program on a packet, `repeat` times, each on what the last left (`BPF_PROG_TEST_RUN`, Linux 4.12).
    /// `context` is a head of the program's context, a `struct __sk_buff` with the few fields set that the kernel takes
    /// from there; empty for none.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn test_run(&self, packet: &[u8], context: &[u8], repeat: u32) -> io::Result<TestRun> {
        // Room for what a program may put before the packet or after it.
        let mut data = vec![0_u8; packet.len() + 512];
        let mut attr = attr::TestRun {
            prog_fd: raw(self.as_fd()),
            data_size_in: u32::try_from(packet.len()).map_err(io::Error::other)?,
            data_size_out: u32::try_from(data.len()).map_err(io::Error::other)?,
            data_in: packet.as_ptr() as u64,
            data_out: data.as_mut_ptr() as u64,
            repeat,
            context_size_in: u32::try_from(context.len()).map_err(io::Error::other)?,
            context_in: if context.is_empty() { 0 } else { context.as_ptr() as u64 },
            ..Default::default()
        };
        // SAFETY: all lengths are those of the buffers.
        unsafe { bpf(Command::ProgTestRun, &mut attr) }?;
        data.truncate(attr.data_size_out as usize);
        Ok(TestRun { return_value: attr.return_value, data, duration_ns: attr.duration_ns })
    }
}

impl From<OwnedFd> for Program {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Where to ask what is attached.
#[derive(Clone, Copy, Debug)]
pub enum QueryTarget<'a> {
    /// A device of this network namespace.
    Device(u32),
    /// A cgroup.
    Cgroup(BorrowedFd<'a>),
}

/// The programs attached there, in order, each with the number of its link (0 where it has none, and for cgroups, where
/// the kernel does not tell).
///
/// # Errors
/// bpf(2)'s; `EINVAL` where the kernel has no such hook; `ENODEV` where the device is gone.
pub fn query(target: QueryTarget<'_>, attach_type: u32) -> io::Result<Vec<(u32, u32)>> {
    const ROOM: usize = 128;
    let mut programs = [0_u32; ROOM];
    let mut links = [0_u32; ROOM];
    let (target, link_ids) = match target {
        QueryTarget::Device(ifindex) => (ifindex, links.as_mut_ptr() as u64),
        QueryTarget::Cgroup(cgroup) => (raw(cgroup), 0),
    };
    let mut attr = attr::Query {
        target,
        attach_type,
        program_ids: programs.as_mut_ptr() as u64,
        count: ROOM as u32,
        link_ids,
        ..Default::default()
    };
    // SAFETY: both buffers have room for `count` numbers.
    unsafe { bpf(Command::ProgQuery, &mut attr) }?;
    Ok(programs.into_iter().zip(links).take(attr.count as usize).collect())
}
