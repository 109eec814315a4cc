//! What is attached where: devices as they come and go, and the sockets' hooks.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use penstock_kernel::attach::Attacher;
use penstock_kernel::node::{Device, NodeNet};
use penstock_kernel::sysctl::Switches;
use penstock_kernel::{Error, Hook, Programs};

/// The devices that have our programs.
#[derive(Debug)]
pub(super) struct Attachments {
    attacher: Attacher,
    switches: Switches,
    /// By hook and device, with the device's name: an index is given to another device once the first is gone.
    done: BTreeMap<(Hook, u32), String>,
}

impl Attachments {
    pub(super) fn new(attacher: Attacher, switches: Switches) -> Self {
        Self { attacher, switches, done: BTreeMap::new() }
    }

    /// Lets the given programs run wherever an earlier agent attached to a device.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) async fn take_over(&mut self, programs: &Programs, net: &NodeNet) -> Result<()> {
        self.attacher.forget_dead().await?;
        for attachment in self.attacher.attached().await?.into_iter().filter(|attachment| attachment.alive) {
            if let Some(device) = attachment.ifindex.and_then(|ifindex| net.devices.get(&ifindex)) {
                self.attach(programs, attachment.hook, device).await.with_context(|| {
                    format!("replace program {} at device {}", attachment.hook, device.name)
                })?;
            }
        }
        Ok(())
    }

    /// Attaches to the devices that are wanted and have no program yet. What fails is told and tried again with the next call.
    pub(super) async fn attach_wanted(
        &mut self,
        programs: &Programs,
        wanted: &Wanted<'_>,
        failures: &mut Vec<String>,
    ) {
        for ((hook, _), device) in &wanted.0 {
            if self.has(*hook, device) {
                continue;
            }
            if let Err(error) = self.attach(programs, *hook, device).await {
                failures.push(format!("attach program {hook} to device {}: {error}", device.name));
            }
        }
    }

    async fn attach(&mut self, programs: &Programs, hook: Hook, device: &Device) -> Result<(), Error> {
        if Hook::POD.contains(&hook) {
            self.switches.disable_reverse_path_filter(&device.name)?;
        }
        match self.attacher.attach_device(programs, hook, device.ifindex).await {
            Ok(change) => {
                tracing::debug!(%hook, device = device.name, ?change, "attached");
                self.done.insert((hook, device.ifindex), device.name.clone());
                Ok(())
            }
            // It went while we looked; netlink will say so.
            Err(Error::NoDevice { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Detaches from the devices that are no longer wanted, and forgets those that are gone.
    pub(super) async fn detach_unwanted(
        &mut self,
        net: &NodeNet,
        wanted: &Wanted<'_>,
        failures: &mut Vec<String>,
    ) {
        let unwanted =
            self.done.keys().copied().filter(|key| !wanted.0.iter().any(|(wanted, _)| wanted == key));
        let mut some_are_gone = false;
        for (hook, ifindex) in unwanted.collect::<Vec<_>>() {
            let result = if net.devices.contains_key(&ifindex) {
                self.attacher.detach_device(hook, ifindex).await
            } else {
                some_are_gone = true;
                Ok(())
            };
            match result {
                Ok(()) => {
                    tracing::debug!(%hook, ifindex, "detached");
                    self.done.remove(&(hook, ifindex));
                }
                Err(error) => failures.push(format!("detach program {hook} from device {ifindex}: {error}")),
            }
        }
        if some_are_gone && let Err(error) = self.attacher.forget_dead().await {
            failures.push(format!("forget devices that are gone: {error}"));
        }
    }

    /// Whether the device has the program of a hook.
    pub(super) fn has(&self, hook: Hook, device: &Device) -> bool {
        self.done.get(&(hook, device.ifindex)) == Some(&device.name)
    }

    /// Attaches these hooks of sockets below the group, in their order; without one, detaches them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn sockets(&self, programs: &Programs, cgroup: Option<&Path>, hooks: &[Hook]) -> Result<()> {
        match cgroup {
            Some(cgroup) => {
                for &hook in hooks {
                    self.attacher
                        .attach_cgroup(programs, hook, cgroup)
                        .with_context(|| format!("attach program {hook} to cgroup {}", cgroup.display()))?;
                }
            }
            None => {
                // The way there goes before the way back.
                for &hook in hooks.iter().rev() {
                    self.attacher
                        .detach_cgroup(hook, None)
                        .with_context(|| format!("detach program {hook}"))?;
                }
            }
        }
        Ok(())
    }

    /// Number of devices with a program of ours.
    pub(super) fn devices(&self) -> usize {
        let mut devices: Vec<_> = self.done.keys().map(|(_, ifindex)| *ifindex).collect();
        devices.sort_unstable();
        devices.dedup();
        devices.len()
    }
}

/// The hooks and devices that are to have programs, in the order of attaching.
#[derive(Debug)]
pub(super) struct Wanted<'a>(Vec<((Hook, u32), &'a Device)>);

impl<'a> Wanted<'a> {
    /// Every pod's device, then the uplinks.
    ///
    /// What the node itself sends out through an uplink is looked at only where `egress` says so of the device.
    pub(super) fn new(
        net: &'a NodeNet,
        uplinks: impl IntoIterator<Item = &'a Device>,
        egress: impl Fn(&Device) -> bool,
    ) -> Self {
        let pods: BTreeMap<_, _> = net
            .endpoints
            .keys()
            .filter_map(|ip| net.endpoint(*ip))
            .map(|device| (device.ifindex, device))
            .collect();
        let uplinks: BTreeMap<_, _> = uplinks.into_iter().map(|device| (device.ifindex, device)).collect();
        let mut wanted = Vec::new();
        for (hooks, devices) in [(Hook::POD, pods), (Hook::UPLINK, uplinks)] {
            for device in devices.into_values() {
                let hooks = hooks.into_iter().filter(|hook| *hook != Hook::UplinkEgress || egress(device));
                wanted.extend(hooks.map(|hook| ((hook, device.ifindex), device)));
            }
        }
        Self(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_of_several_addresses_is_wanted_once() {
        let device = |ifindex| Device { ifindex, name: format!("d{ifindex}"), mtu: 1_500, veth: true };
        let net = NodeNet {
            devices: [(2, device(2)), (5, device(5))].into(),
            endpoints: [("10.1.0.5".parse().unwrap(), 5), ("fd00::5".parse().unwrap(), 5)].into(),
            ..NodeNet::default()
        };
        let uplink = device(2);
        let keys = |egress: bool| -> Vec<_> {
            let wanted = Wanted::new(&net, [&uplink, &uplink], |_| egress);
            wanted.0.iter().map(|(key, _)| *key).collect()
        };
        assert_eq!(
            keys(true),
            [(Hook::PodEgress, 5), (Hook::PodIngress, 5), (Hook::UplinkIngress, 2), (Hook::UplinkEgress, 2)]
        );
        assert_eq!(keys(false), [(Hook::PodEgress, 5), (Hook::PodIngress, 5), (Hook::UplinkIngress, 2)]);
    }
}
