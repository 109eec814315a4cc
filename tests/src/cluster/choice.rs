//! What may implement Services in a cluster, as people name it.

use anyhow::Result;
use clap::ValueEnum;

use super::{Cluster, Mode, Options, Proxy};

/// What implements Services.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Penstock, by its manifests
    Penstock,
    /// The real kube-proxy with iptables
    Iptables,
    /// The real kube-proxy with nftables
    Nftables,
    /// Nothing, for what you will install
    None,
}

impl Choice {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Penstock => "penstock",
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::None => "none",
        }
    }

    /// The name of the process that does it on each node, as `/proc/PID/comm` has it.
    pub fn process(self) -> Option<&'static str> {
        match self {
            Self::Penstock => Some("penstock"),
            Self::Iptables | Self::Nftables => Some("kube-proxy"),
            Self::None => None,
        }
    }

    /// As clusters know it.
    pub fn proxy(self) -> Proxy {
        match self {
            Self::Penstock => Proxy::Penstock,
            Self::Iptables => Proxy::KubeProxy(Mode::Iptables),
            Self::Nftables => Proxy::KubeProxy(Mode::Nftables),
            Self::None => Proxy::None,
        }
    }

    /// Makes a cluster of so many nodes with it, printing each step.
    pub fn up(self, nodes: u8) -> Result<Cluster> {
        Cluster::up(&Options { nodes, proxy: self.proxy(), progress: |step| println!("  {step}") })
    }
}
