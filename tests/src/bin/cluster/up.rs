//! Making a cluster and saying how to use it.

use std::time::Instant;

use anyhow::Result;
use penstock_tests::cluster::Choice;

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

/// Makes a cluster and leaves it up.
pub(crate) fn up(arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let cluster = arguments.proxy.up(arguments.nodes)?;
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
