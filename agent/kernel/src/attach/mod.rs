//! What runs where: links to devices and cgroups, pinned so that they outlive the agent.
//!
//! A program is replaced through its link, so no packet and no call meets neither the old nor the new. A pin whose link is
//! dead, or is attached to something else, gives way to a new link: an ifindex is given again once its device is gone.

mod clsact;
mod link;
mod orphans;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::bpffs::{Pins, list, remove_pin};
use crate::sys::{Link, LinkTarget};
use crate::{Error, Hook, Programs};

pub use orphans::is_ours;

/// How programs are attached to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceMode {
    /// TCX links, pinned (Linux 6.6).
    Tcx,
    /// Filters of the clsact queueing discipline, which stay without being pinned.
    Clsact,
}

/// What attaching did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing of ours was there.
    Attached,
    /// The program of an earlier agent, or of this one, was replaced.
    Replaced,
}

/// Something that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Which of our hooks.
    pub hook: Hook,
    /// The device, for a hook on devices.
    pub ifindex: Option<u32>,
    /// Whether the device or cgroup still exists.
    pub alive: bool,
}

/// Attaches and detaches, below one folder of pins.
#[derive(Clone, Debug)]
pub struct Attacher {
    pins: Pins,
    mode: DeviceMode,
}

impl Attacher {
    /// With links pinned there, and devices attached to in this mode.
    #[must_use]
    pub fn new(pins: &Pins, mode: DeviceMode) -> Self {
        Self { pins: pins.clone(), mode }
    }

    /// How programs are attached to devices.
    #[must_use]
    pub fn mode(&self) -> DeviceMode {
        self.mode
    }

    /// Attaches the program of a hook to a device, or replaces ours there. What the other mode left is removed after.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where the device is gone.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn attach_device(
        &self,
        programs: &Programs,
        hook: Hook,
        ifindex: u32,
    ) -> Result<Change, Error> {
        let program = programs.fd(hook)?;
        match self.mode {
            DeviceMode::Tcx => {
                let pin = self.pins.link(hook, Some(ifindex));
                let change = link::attach_tcx(&pin, hook, program, ifindex)?;
                orphans::detach_tcx(hook, ifindex, &pin)?;
                clsact::detach(&self.pins, hook, ifindex).await?;
                Ok(change)
            }
            DeviceMode::Clsact => {
                let change = clsact::attach(&self.pins, hook, program, ifindex).await?;
                self.detach_tcx(hook, ifindex)?;
                Ok(change)
            }
        }
    }

    /// Detaches a hook from a device; that either is gone is no error.
    ///
    /// # Errors
    /// [`Error::System`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn detach_device(&self, hook: Hook, ifindex: u32) -> Result<(), Error> {
        clsact::detach(&self.pins, hook, ifindex).await?;
        self.detach_tcx(hook, ifindex)
    }

    fn detach_tcx(&self, hook: Hook, ifindex: u32) -> Result<(), Error> {
        let pin = self.pins.link(hook, Some(ifindex));
        link::detach(&pin, LinkTarget::Device(ifindex))?;
        orphans::detach_tcx(hook, ifindex, &pin)
    }

    /// Attaches the program of a socket hook to a cgroup, or replaces ours there.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn attach_cgroup(&self, programs: &Programs, hook: Hook, cgroup: &Path) -> Result<Change, Error> {
        let program = programs.fd(hook)?;
        let (folder, id) = open_cgroup(cgroup)?;
        let pin = self.pins.link(hook, None);
        let change = link::attach_cgroup(&pin, hook, program, folder.as_fd(), id)?;
        orphans::detach_cgroup(hook, id, &pin)?;
        Ok(change)
    }

    /// Detaches a socket hook from wherever its link is attached, and from this cgroup what is attached without a pin.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn detach_cgroup(&self, hook: Hook, cgroup: Option<&Path>) -> Result<(), Error> {
        let pin = self.pins.link(hook, None);
        link::detach_anywhere(&pin)?;
        match cgroup {
            Some(cgroup) => orphans::detach_cgroup(hook, open_cgroup(cgroup)?.1, &pin),
            None => Ok(()),
        }
    }

    /// Everything of ours that is attached: pinned links, and the filters of devices in this network namespace.
    ///
    /// # Errors
    /// [`Error::System`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn attached(&self) -> Result<Vec<Attachment>, Error> {
        let mut attachments = Vec::new();
        let folder = self.pins.links();
        for name in list(&folder)? {
            let Some((hook, ifindex)) = parse_link(&name) else { continue };
            let path = folder.join(&name);
            let link = match Link::open(&path) {
                // Detached since the folder was read.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                link => link.map_err(Error::system("open pin", path.display()))?,
            };
            let info = link.info().map_err(Error::system("link info", path.display()))?;
            let alive = !matches!(info.target, LinkTarget::Device(0) | LinkTarget::Cgroup(0));
            attachments.push(Attachment { hook, ifindex, alive });
        }
        for (hook, ifindex) in clsact::attached().await? {
            attachments.push(Attachment { hook, ifindex: Some(ifindex), alive: true });
        }
        Ok(attachments)
    }

    /// Removes the pins of links whose device or cgroup is gone.
    ///
    /// # Errors
    /// [`Error::System`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn forget_dead(&self) -> Result<(), Error> {
        for attachment in self.attached().await?.into_iter().filter(|attachment| !attachment.alive) {
            remove_pin(&self.pins.link(attachment.hook, attachment.ifindex))?;
        }
        Ok(())
    }
}

/// The hook and device that a pin's name tells.
fn parse_link(name: &str) -> Option<(Hook, Option<u32>)> {
    match name.split_once('-') {
        None => Hook::from_name(name).filter(|hook| hook.direction().is_none()).map(|hook| (hook, None)),
        Some((hook, ifindex)) => {
            let hook = Hook::from_name(hook).filter(|hook| hook.direction().is_some())?;
            Some((hook, Some(ifindex.parse().ok()?)))
        }
    }
}

/// A cgroup's folder and its number, which is the folder's inode (Linux 5.5).
fn open_cgroup(path: &Path) -> Result<(File, u64), Error> {
    let folder = File::open(path).map_err(Error::system("open cgroup", path.display()))?;
    let id = folder.metadata().map_err(Error::system("stat cgroup", path.display()))?.ino();
    Ok((folder, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_pin_tells_hook_and_device() {
        let pins = Pins::new("/sys/fs/bpf");
        for (hook, ifindex) in [(Hook::PodIngress, Some(7)), (Hook::Connect4, None)] {
            let pin = pins.link(hook, ifindex);
            let name = pin.file_name().unwrap().to_str().unwrap();
            assert_eq!(parse_link(name), Some((hook, ifindex)));
        }
        assert_eq!(parse_link("pod_ingress"), None);
        assert_eq!(parse_link("connect4-7"), None);
        assert_eq!(parse_link("clsact-7"), None);
    }
}
