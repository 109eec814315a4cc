//! Taking away everything that Penstock made, and nothing else.

use std::path::Path;

use crate::attach::{Attacher, DeviceMode};
use crate::bpffs::{Pins, list, remove_folder};
use crate::node::NodeNet;
use crate::{Error, Hook, routes};

/// What was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Programs detached, each as hook and device.
    pub detached: Vec<(Hook, Option<u32>)>,
    /// Routes.
    pub routes: Vec<routes::Route>,
    /// Folders of maps, by name.
    pub maps: Vec<String>,
}

/// Detaches all programs, those of devices before those of sockets, removes our routes, then the maps of every schema, and
/// the folder of pins. The cgroup, where given, and the devices of this network namespace are also searched for programs of
/// ours that no pin names. Calling again goes on where an error ended it; with nothing left it does nothing.
///
/// Switches of the kernel stay as they are: others may rely on them by now. So does the mount of the bpffs.
///
/// # Errors
/// [`Error::System`].
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn cleanup(pins: &Pins, cgroup: Option<&Path>) -> Result<Removed, Error> {
    let mut removed = Removed::default();
    let attacher = Attacher::new(pins, DeviceMode::Tcx);
    let mut attached = attacher.attached().await?;
    attached.sort_by_key(|attachment| place(attachment.hook));
    for attachment in attached {
        match attachment.ifindex {
            Some(ifindex) => attacher.detach_device(attachment.hook, ifindex).await?,
            None => attacher.detach_cgroup(attachment.hook, None)?,
        }
        removed.detached.push((attachment.hook, attachment.ifindex));
    }
    for ifindex in NodeNet::read().await?.devices.keys() {
        for hook in Hook::POD.into_iter().chain(Hook::UPLINK) {
            attacher.detach_device(hook, *ifindex).await?;
        }
    }
    if let Some(cgroup) = cgroup {
        for hook in Hook::SOCKET.into_iter().rev() {
            attacher.detach_cgroup(hook, Some(cgroup))?;
        }
    }
    for route in routes::read().await?.own {
        routes::remove(&route).await?;
        removed.routes.push(route);
    }
    removed.maps = list(&pins.base())?.into_iter().filter(|name| name != "links").collect();
    remove_folder(&pins.base())?;
    Ok(removed)
}

/// A hook's place in the order of detaching.
///
/// A socket that is no longer served sends to the Service itself. Were there still a program at its device, that would begin
/// a connection there, and leave it in the middle when it goes in its turn. So the sockets come last, and of each kind the way there
/// goes before the way back.
fn place(hook: Hook) -> usize {
    let attaching = Hook::SOCKET.into_iter().chain(Hook::UPLINK).chain(Hook::POD);
    attaching.rev().position(|other| other == hook).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_devices_are_detached_before_those_of_sockets_and_the_way_there_before_the_way_back() {
        let before = |one: Hook, other: Hook| place(one) < place(other);
        assert!(before(Hook::PodIngress, Hook::PodEgress) && before(Hook::PodEgress, Hook::Sendmsg4));
        assert!(
            before(Hook::UplinkEgress, Hook::UplinkIngress) && before(Hook::UplinkIngress, Hook::Connect6)
        );
        assert!(before(Hook::Connect4, Hook::Recvmsg4) && before(Hook::Connect4, Hook::Getpeername6));
    }
}
