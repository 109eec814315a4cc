//! The model against clusters that change at random, tables that fail, readers that are delayed, and examples.

mod checked;
mod cluster;
mod golden;
mod meaning;
mod plans;
mod readers;
mod triggers;
mod unread;

use std::net::IpAddr;

use penstock_model::tables::PerFamily;
use penstock_model::{Device, NodeFacts};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Node `a` with two pods.
fn facts() -> NodeFacts {
    let uplink = Some(Device { ifindex: 2, mtu: 1500 });
    let pod = |ifindex| Device { ifindex, mtu: 1500 };
    NodeFacts {
        node: "a".into(),
        addresses: vec![ip("192.0.2.1"), ip("2001:db8::1")],
        uplink: PerFamily { v4: uplink, v6: uplink },
        endpoints: [
            (ip("10.1.0.10"), pod(10)),
            (ip("10.1.0.11"), pod(11)),
            (ip("fd00:1::10"), pod(10)),
            (ip("fd00:1::11"), pod(11)),
        ]
        .into(),
    }
}
