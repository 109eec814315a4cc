//! What runs inside nodes and pods: servers, clients, and the lab's own helpers, each a process of its own, because the
//! socket hooks of a node serve the processes of its cgroup.
//!
//! A process is told its [`Task`] as JSON in its only argument; a client prints one [`Answer`] a line.

mod client;
mod clock;
mod follow;
mod server;
mod task;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

pub use clock::monotonic_ns;
pub use follow::{Follow, Seen};
pub use task::{Answer, Ask, Serve, Style, Task};

/// The binary that does the tasks.
const BINARY: &str = "pst-probe";

/// A command that does the task.
pub fn command(task: &Task) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg(serde_json::to_string(task)?);
    Ok(command)
}

/// Where the binary is that does the tasks.
pub fn binary() -> Result<PathBuf> {
    beside_this_program(BINARY)
        .with_context(|| format!("{BINARY} is missing: `cargo build -p penstock-tests --bins` makes it"))
}

/// A binary of this build: beside this program, or beside the folder that cargo puts test programs in.
pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    for folder in program.ancestors().skip(1).take(2) {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("no {name} beside {}", program.display())
}

/// Does a task to its end.
pub fn perform(task: &Task) -> Result<()> {
    match task {
        Task::Keeper => crate::lab::keeper(),
        Task::Janitor { run } => crate::lab::janitor(run),
        Task::HoldLab => hold_lab(),
        Task::HoldCluster => hold_cluster(),
        Task::Keep(keep) => crate::cluster::keep(keep),
        Task::Serve(serve) => server::serve(serve),
        Task::Ask(ask) => client::ask(ask),
        Task::Follow(follow) => follow::follow(follow),
    }
}

fn hold_cluster() -> Result<()> {
    use crate::cluster::{Cluster, Options};
    let cluster = Cluster::up(&Options { nodes: 1, ..Options::default() })?;
    println!("{}", cluster.run());
    loop {
        std::thread::park();
    }
}

fn hold_lab() -> Result<()> {
    let lab = crate::lab::Lab::new(1)?;
    let pod = lab.node(1).pod("pod")?;
    let _server = crate::lab::Runs::serve(&pod, &Serve::on("pod", 8080))?;
    println!("{}", lab.run());
    loop {
        std::thread::park();
    }
}
