//! Programs of ours that are attached without a pin: left by an agent on another bpffs, or whose pins somebody removed.

use std::io;
use std::path::Path;

use crate::maps::all;
use crate::sys::{Link, LinkTarget, Map, Program, QueryTarget, query};
use crate::{Error, Hook};

/// Whether a program is one of ours for this hook: by its name, and by a map of ours that it uses, since others may name a
/// program alike.
///
/// # Errors
/// bpf(2)'s; a program that is gone is not ours.
pub fn is_ours(program_id: u32, hook: Hook) -> io::Result<bool> {
    let program = match Program::by_id(program_id) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
        program => program?.info()?,
    };
    if program.name != hook.name() {
        return Ok(false);
    }
    Ok(program
        .map_ids
        .iter()
        .any(|id| Map::by_id(*id).is_ok_and(|map| all().any(|name| name == map.info().name()))))
}

/// Detaches from a device what is ours and is not the pinned link.
pub(super) fn detach_tcx(hook: Hook, ifindex: u32, pin: &Path) -> Result<(), Error> {
    let keep = pinned_id(pin)?;
    let attached = match query(QueryTarget::Device(ifindex), hook.attach_type()) {
        Ok(attached) => attached,
        // The device is gone, or the kernel has no TCX.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => return Ok(()),
        Err(error) => return Err(Error::system("query", format_args!("device {ifindex}"))(error)),
    };
    for (program, link) in attached {
        if link != 0
            && Some(link) != keep
            && is_ours(program, hook).map_err(Error::system("program info", hook))?
        {
            detach(hook, link)?;
        }
    }
    Ok(())
}

/// Detaches from a cgroup what is ours and is not the pinned link. The kernel does not tell the links of a cgroup, so all
/// links of the machine are asked for theirs.
pub(super) fn detach_cgroup(hook: Hook, cgroup: u64, pin: &Path) -> Result<(), Error> {
    let keep = pinned_id(pin)?;
    for id in Link::all_ids().map_err(Error::system("list links", hook))? {
        if Some(id) == keep {
            continue;
        }
        // A link may go while we ask.
        let Ok(info) = Link::by_id(id).and_then(|link| link.info()) else { continue };
        let there = info.target == LinkTarget::Cgroup(cgroup) && info.attach_type == hook.attach_type();
        if there && is_ours(info.program_id, hook).map_err(Error::system("program info", hook))? {
            detach(hook, id)?;
        }
    }
    Ok(())
}

fn detach(hook: Hook, link: u32) -> Result<(), Error> {
    tracing::warn!(%hook, link, "detached a program of ours that no pin names");
    match Link::by_id(link).and_then(|link| link.detach()) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOLINK)) => Ok(()),
        result => result.map_err(Error::system("detach", hook)),
    }
}

fn pinned_id(pin: &Path) -> Result<Option<u32>, Error> {
    match Link::open(pin) {
        Ok(link) => Ok(Some(link.info().map_err(Error::system("link info", pin.display()))?.id)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(Error::system("open pin", pin.display())(error)),
    }
}
