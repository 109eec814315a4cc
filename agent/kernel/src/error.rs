//! What can go wrong between the agent and the kernel.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// The error of this crate. The text of each is complete, causes included. Each variant says what to do about it, or names what was being done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The build carries the stub in place of the object.
    #[error("this build carries no eBPF programs; build it with `cargo xtask build`")]
    NoObject,
    /// The object is not what the agent was written for.
    #[error("the eBPF object cannot be used: {reason}")]
    BadObject {
        /// What is wrong with it.
        reason: String,
    },
    /// The verifier or the kernel refused a program.
    #[error("the kernel refused the eBPF program {program}: {cause}\n{log}")]
    Program {
        /// The program's name.
        program: String,
        /// The kernel's answer.
        cause: io::Error,
        /// The verifier's log; empty where the kernel gave none.
        log: String,
    },
    /// A right is missing.
    #[error("missing capability {capability}: {purpose} needs it")]
    MissingCapability {
        /// As in capabilities(7).
        capability: &'static str,
        /// What needs it.
        purpose: &'static str,
    },
    /// The kernel cannot do what is needed.
    #[error("this kernel ({release}) lacks {feature}, which came with {since}")]
    MissingFeature {
        /// What is missing.
        feature: &'static str,
        /// The kernel version, or build option, that brings it.
        since: &'static str,
        /// The running kernel, as uname(2) tells it.
        release: String,
    },
    /// A pinned map does not have the form that this build's programs want: reusing it would overrun memory.
    #[error("pinned map {map} has {what} {found}, this build wants {wanted}; `penstock cleanup` removes it")]
    SchemaMismatch {
        /// The map.
        map: String,
        /// The property that differs.
        what: &'static str,
        /// What the object declares.
        wanted: u64,
        /// What the kernel says of the pinned map.
        found: u64,
    },
    /// There is no bpffs where things are to be pinned.
    #[error(
        "no BPF filesystem is mounted at {path}: mount one there (mount -t bpf bpf PATH), or let --mount-bpffs on do it"
    )]
    NoBpffs {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// No maps are pinned where they are looked for.
    #[error("no tables of schema {schema} at {path}: no agent of this version has run here{others}")]
    NotPinned {
        /// The folder.
        path: PathBuf,
        /// The schema that was looked for.
        schema: u32,
        /// The schemas that are there instead.
        others: OtherSchemas,
    },
    /// A table has no room.
    #[error("table {table} is full: it holds {size} elements")]
    TableFull {
        /// The table.
        table: String,
        /// Its number of elements.
        size: u32,
    },
    /// The tables are asked to be smaller than what they hold.
    #[error("table {table} cannot shrink to {wanted} elements: element {used} is in use")]
    TooSmall {
        /// The table.
        table: String,
        /// The size that was asked for.
        wanted: u32,
        /// An index, or a number of elements, in use.
        used: u32,
    },
    /// An index is past a table's end.
    #[error("index {index} is outside table {table} of {size} elements")]
    OutOfBounds {
        /// The table.
        table: String,
        /// The index.
        index: u32,
        /// The number of elements.
        size: u32,
    },
    /// A device is gone.
    #[error("device {ifindex} is gone")]
    NoDevice {
        /// Its index.
        ifindex: u32,
    },
    /// Another agent serves this node.
    #[error("another agent{} runs on this node (it holds {path})", Pid(*pid))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The other agent's process id, where the file tells.
        pid: Option<u32>,
    },
    /// A route to the destination is there, and Penstock did not make it.
    #[error("a route to {destination}/{prefix} is there already, made by someone else (protocol {protocol})")]
    ForeignRoute {
        /// The route's destination.
        destination: IpAddr,
        /// The length of its prefix.
        prefix: u8,
        /// `rtm_protocol` of the route that is there.
        protocol: u8,
    },
    /// A system call failed.
    #[error("{call} ({what}): {cause}")]
    System {
        /// The call.
        call: &'static str,
        /// What it was about.
        what: String,
        /// The kernel's answer.
        cause: io::Error,
    },
}

impl Error {
    /// For an object that the loader refused: its error with all that led to it.
    pub(crate) fn bad_object(error: &dyn std::error::Error) -> Self {
        let mut reason = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !reason.contains(&text) {
                reason = format!("{reason}: {text}");
            }
            next = cause.source();
        }
        Self::BadObject { reason }
    }

    pub(crate) fn system(call: &'static str, what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::System { call, what: what.to_string(), cause }
    }
}

/// The schemas found in place of the one that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSchemas(pub Vec<u32>);

impl fmt::Display for OtherSchemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, schema) in self.0.iter().enumerate() {
            write!(f, "{}v{schema}", if index == 0 { "; found " } else { ", " })?;
        }
        Ok(())
    }
}

struct Pid(Option<u32>);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " (pid {pid})"),
            None => Ok(()),
        }
    }
}
