//! Penstock across namespaces, with real sockets. Needs root rights.
//!
//! Most tests run twice, against two clusters that they share: one whose Services are translated at the socket
//! ([`fixture::sockets`]), one where every packet is ([`fixture::packets`]).

mod bad_input;
mod checksums;
mod cluster_ip;
mod colliding_replies;
mod commands;
mod conversation;
mod fixture;
mod flow_halves;
mod kube_proxy;
mod observed;
mod pod_network;
mod scaling;
mod wires;

/// Makes one test for each way of translating Services out of a function over the shared cluster.
macro_rules! both_ways {
    ($($name:ident),+ $(,)?) => {
        mod at_the_socket {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                penstock_tests::needs!(Agent);
                super::$name($crate::fixture::sockets())
            })+
        }

        mod by_the_packet {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                penstock_tests::needs!(Agent);
                super::$name($crate::fixture::packets())
            })+
        }
    };
}
use both_ways;
