//! Making, finding again and replacing pinned links.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use super::Change;
use crate::bpffs::remove_pin;
use crate::sys::{Link, LinkTarget, QueryTarget, query};
use crate::{Error, Hook};

pub(super) fn attach_tcx(
    pin: &Path,
    hook: Hook,
    program: BorrowedFd<'_>,
    ifindex: u32,
) -> Result<Change, Error> {
    let no_device = |error: io::Error, call| match error.raw_os_error() {
        Some(libc::ENODEV) => Error::NoDevice { ifindex },
        _ => Error::system(call, format_args!("{hook} on device {ifindex}"))(error),
    };
    // The link's own word for its device may be an index of another network namespace; the device's word is not.
    let on_device = |link: u32| {
        query(QueryTarget::Device(ifindex), hook.attach_type())
            .map(|attached| attached.iter().any(|(_, id)| *id == link))
            .map_err(|error| no_device(error, "query"))
    };
    if let Some(link) = open(pin)? {
        let info = link.info().map_err(Error::system("link info", pin.display()))?;
        if info.attach_type == hook.attach_type() && on_device(info.id)? && replace(&link, program, pin)? {
            return Ok(Change::Replaced);
        }
        remove_pin(pin)?;
    }
    let link = Link::tcx(program, hook.attach_type(), ifindex).map_err(|error| no_device(error, "attach"))?;
    link.pin(pin).map_err(Error::system("pin", pin.display()))?;
    Ok(Change::Attached)
}

pub(super) fn attach_cgroup(
    pin: &Path,
    hook: Hook,
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    id: u64,
) -> Result<Change, Error> {
    if let Some(link) = open(pin)? {
        let info = link.info().map_err(Error::system("link info", pin.display()))?;
        let same = info.target == LinkTarget::Cgroup(id) && info.attach_type == hook.attach_type();
        if same && replace(&link, program, pin)? {
            return Ok(Change::Replaced);
        }
        // Of another cgroup, if that still exists: ours alone, since only we pin there.
        detach_anywhere(pin)?;
    }
    let link = Link::cgroup(program, hook.attach_type(), cgroup).map_err(Error::system("attach", hook))?;
    link.pin(pin).map_err(Error::system("pin", pin.display()))?;
    Ok(Change::Attached)
}

/// Detaches the link that is pinned there, if it is attached to this target, and removes the pin.
pub(super) fn detach(pin: &Path, target: LinkTarget) -> Result<(), Error> {
    if let Some(link) = open(pin)? {
        let info = link.info().map_err(Error::system("link info", pin.display()))?;
        if info.target == target {
            detach_link(&link, pin)?;
        }
    }
    remove_pin(pin)
}

/// Detaches the link that is pinned there from whatever it is attached to, and removes the pin.
pub(super) fn detach_anywhere(pin: &Path) -> Result<(), Error> {
    if let Some(link) = open(pin)? {
        detach_link(&link, pin)?;
    }
    remove_pin(pin)
}

fn detach_link(link: &Link, pin: &Path) -> Result<(), Error> {
    match link.detach() {
        // Its target is gone, and it was detached by that.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
        result => result.map_err(Error::system("detach", pin.display())),
    }
}

fn open(pin: &Path) -> Result<Option<Link>, Error> {
    match Link::open(pin) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(Error::system("open pin", pin.display())(error)),
    }
}

/// Runs another program through a link; `false` where the link's target is gone.
fn replace(link: &Link, program: BorrowedFd<'_>, pin: &Path) -> Result<bool, Error> {
    match link.update(program) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(Error::system("update link", pin.display())(error)),
    }
}
