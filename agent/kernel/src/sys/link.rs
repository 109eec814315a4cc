//! One link: the attachment of a program to a device's TCX hook or to a cgroup, which outlives its maker once pinned.
#![expect(unsafe_code, reason = "bpf(2) takes pointers")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::attr::{self, Command, bpf, bpf_fd};
use super::map::{is_kind, object_info, open_pin, pin, raw};

/// `BPF_LINK_TYPE_CGROUP`.
const LINK_CGROUP: u32 = 3;
/// `BPF_LINK_TYPE_TCX`.
const LINK_TCX: u32 = 11;

/// What a link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTarget {
    /// A device, by its index in the namespace that it is in; 0 once the device is gone.
    Device(u32),
    /// A cgroup, by its number (the inode of its folder); 0 once the cgroup is gone.
    Cgroup(u64),
    /// Something that this crate makes no link to.
    Other,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Number of the link.
    pub id: u32,
    /// Number of the program that it runs.
    pub program_id: u32,
    /// `enum bpf_attach_type`.
    pub attach_type: u32,
    /// What it is attached to.
    pub target: LinkTarget,
}

/// `struct bpf_link_info`, as far as the fields for TCX and cgroups go.
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    _pad: u32,
    /// TCX: ifindex and attach type. Cgroup: the low and high word of its number.
    words: [u32; 2],
    /// Cgroup: attach type.
    cgroup_attach_type: u32,
    _pad2: u32,
}

/// An open link. Closing it detaches only where it was never pinned.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches a program to a device's TCX hook, after those that are there (Linux 6.6).
    ///
    /// # Errors
    /// bpf(2)'s; `ENODEV` where the device is gone.
    pub fn tcx(program: BorrowedFd<'_>, attach_type: u32, ifindex: u32) -> io::Result<Self> {
        Self::create(program, attach_type, ifindex)
    }

    /// Attaches a program to a cgroup, beside those that are there and those of groups below it (Linux 5.7).
    ///
    /// # Errors
    /// bpf(2)'s; `EPERM` where an ancestor's attachment forbids it.
    pub fn cgroup(program: BorrowedFd<'_>, attach_type: u32, cgroup: BorrowedFd<'_>) -> io::Result<Self> {
        Self::create(program, attach_type, raw(cgroup))
    }

    fn create(program: BorrowedFd<'_>, attach_type: u32, target: u32) -> io::Result<Self> {
        let mut attr = attr::LinkCreate { prog_fd: raw(program), target, attach_type, ..Default::default() };
        // SAFETY: the structure holds no pointer.
        Ok(Self { fd: unsafe { bpf_fd(Command::LinkCreate, &mut attr) }? })
    }

    /// Opens the link that is pinned there.
    ///
    /// # Errors
    /// bpf(2)'s; `EINVAL` where the pin is no link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = open_pin(path)?;
        // Made anew it is called bpf_link, opened again bpf-link.
        if !is_kind(fd.as_fd(), "anon_inode:bpf-link")? && !is_kind(fd.as_fd(), "anon_inode:bpf_link")? {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Self { fd })
    }

    /// Opens a link by its number.
    ///
    /// # Errors
    /// bpf(2)'s; `ENOENT` where it is gone.
    pub fn by_id(id: u32) -> io::Result<Self> {
        let mut attr = attr::Id { id, ..Default::default() };
        // SAFETY: the structure holds no pointer.
        Ok(Self { fd: unsafe { bpf_fd(Command::LinkFdById, &mut attr) }? })
    }

    /// The numbers of all links of the machine.
    ///
    /// # Errors
    /// bpf(2)'s; `EPERM` without `CAP_SYS_ADMIN`.
    pub fn all_ids() -> io::Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut attr = attr::Id::default();
        loop {
            // SAFETY: the structure holds no pointer.
            match unsafe { bpf(Command::LinkNextId, &mut attr) } {
                Ok(_) => {
                    ids.push(attr.next_id);
                    attr.id = attr.next_id;
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(ids),
                Err(error) => return Err(error),
            }
        }
    }

    /// Pins the link at a path on a bpffs: from then on it stays attached without its maker.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        pin(self.as_fd(), path)
    }

    /// Runs another program from now on; no packet or call meets neither of the two.
    ///
    /// # Errors
    /// bpf(2)'s; `ENOLINK` where the target is gone.
    pub fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let mut attr =
            attr::LinkUpdate { link_fd: raw(self.as_fd()), new_prog_fd: raw(program), ..Default::default() };
        // SAFETY: the structure holds no pointer.
        unsafe { bpf(Command::LinkUpdate, &mut attr) }.map(drop)
    }

    /// Detaches at once, whoever else holds or pins the link.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn detach(&self) -> io::Result<()> {
        let mut attr = raw(self.as_fd());
        // SAFETY: the command's structure is the descriptor alone.
        unsafe { bpf(Command::LinkDetach, &mut attr) }.map(drop)
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// bpf(2)'s.
    pub fn info(&self) -> io::Result<LinkInfo> {
        let mut raw = RawInfo::default();
        object_info(self.as_fd(), &mut raw)?;
        let [low, high] = raw.words;
        let (target, attach_type) = match raw.kind {
            LINK_TCX => (LinkTarget::Device(low), high),
            LINK_CGROUP => (LinkTarget::Cgroup(u64::from_ne_bytes(bytes(low, high))), raw.cgroup_attach_type),
            _ => (LinkTarget::Other, 0),
        };
        Ok(LinkInfo { id: raw.id, program_id: raw.program_id, attach_type, target })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Two neighbouring words as the bytes that they are in memory.
fn bytes(first: u32, second: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
}
