//! Making a cluster and saying how to use it.

use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use penstock_tests::cluster::{Cluster, Mode, Options, Proxy};

/// What the cluster is to be like.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of nodes
    #[arg(long, default_value_t = 2, value_name = "N")]
    nodes: u8,
    /// What implements Services
    #[arg(long, value_enum, default_value_t = Choice::Penstock)]
    proxy: Choice,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    /// Penstock, by its manifests
    Penstock,
    /// The real kube-proxy with iptables
    Iptables,
    /// The real kube-proxy with nftables
    Nftables,
    /// Nothing, for what you will install
    None,
}

/// Makes a cluster and leaves it up.
pub(crate) fn up(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let options = Options {
        nodes: arguments.nodes,
        proxy: match arguments.proxy {
            Choice::Penstock => Proxy::Penstock,
            Choice::None => Proxy::None,
            Choice::Iptables => Proxy::KubeProxy(Mode::Iptables),
            Choice::Nftables => Proxy::KubeProxy(Mode::Nftables),
        },
        progress: |step| println!("  {step}"),
    };
    let cluster = Cluster::up(&options)?;
    print!("{}", cluster.kubectl(&["get", "nodes", "-o", "wide"])?);
    let run = cluster.keep()?;
    println!(
        "\nThe cluster {run} is up after {:.0} s.
  kubectl         cargo xtask cluster kubectl get pods -A
  on a node       cargo xtask cluster node 1
  outside         cargo xtask cluster client
  logs and files  {}
  remove it       cargo xtask cluster down",
        started.elapsed().as_secs_f64(),
        run.directory().display()
    );
    Ok(())
}
