//! What indices are called.

use std::collections::HashMap;

use anyhow::Result;
use penstock_abi::NextHop;
use penstock_kernel::Tables;
use penstock_kernel::node::NodeNet;

use crate::runtime;

/// The names of Services by index.
pub(super) struct ServiceNames(HashMap<u32, String>);

impl ServiceNames {
    pub(super) fn read(tables: &Tables) -> Result<Self> {
        let mut names = HashMap::new();
        tables.service_names.for_each(|index, name| {
            names.insert(index, name.as_str().to_owned());
        })?;
        Ok(Self(names))
    }

    /// `namespace/name:port`, or the number where it is not known.
    pub(super) fn get(&self, index: u32) -> String {
        self.0.get(&index).cloned().unwrap_or_else(|| format!("service {index}"))
    }
}

/// Next hops in words, with the names of devices in this network namespace.
pub(super) struct Hops<'a> {
    tables: &'a Tables,
    net: NodeNet,
}

impl<'a> Hops<'a> {
    pub(super) fn new(tables: &'a Tables) -> Self {
        // Without names it is still the truth.
        let net = runtime::new().and_then(|runtime| Ok(runtime.block_on(NodeNet::read())?));
        Self { tables, net: net.unwrap_or_default() }
    }

    pub(super) fn get(&self, index: u32) -> String {
        let hop = self.tables.next_hops.read(index).unwrap_or_else(|_| NextHop::stack());
        in_words(&hop, self.net.devices.get(&hop.ifindex).map(|device| device.name.as_str()))
    }
}

fn in_words(hop: &NextHop, device: Option<&str>) -> String {
    use penstock_abi::NextHopKind;
    let device = device.map_or_else(|| format!("device {}", hop.ifindex), str::to_owned);
    match hop.kind() {
        NextHopKind::Stack => "kernel routing".into(),
        NextHopKind::Host => "this node".into(),
        NextHopKind::Local => format!("local, {device}"),
        NextHopKind::Direct => format!("via {}, {device}", hop.gateway_ip()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_is_told_in_words() {
        assert_eq!(in_words(&NextHop::stack(), None), "kernel routing");
        assert_eq!(in_words(&NextHop::local(7, 1_500), Some("veth7")), "local, veth7");
        let direct = NextHop::direct(2, 1_500, "192.0.2.1".parse().unwrap());
        assert_eq!(in_words(&direct, None), "via 192.0.2.1, device 2");
    }
}
