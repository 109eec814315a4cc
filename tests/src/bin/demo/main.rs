//! A cluster of three nodes on this machine whose Services run on Penstock, shown step by step.

mod cluster;
mod enter;
mod latency;
mod requests;
mod restart;
mod rules;
mod scaling;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use penstock_tests::lab::{Run, penstock_binary};

use cluster::Cluster;
use terminal::Terminal;

/// Three nodes, a Service of three backends, and what becomes of requests to it.
#[derive(Parser)]
struct Arguments {
    /// Leave everything up at the end, and say how to look around
    #[arg(long)]
    keep: bool,
    /// Remove a demo that was kept
    #[arg(long, value_name = "RUN", conflicts_with_all = ["keep", "enter"])]
    down: Option<Run>,
    /// Run a command (a shell where none is given) on a node or in a pod of a demo that was kept: RUN/n1 or RUN/n1/client
    #[arg(long, value_name = "PLACE", conflicts_with = "keep")]
    enter: Option<enter::Target>,
    /// The command to run there
    #[arg(requires = "enter", trailing_var_arg = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (&arguments.down, &arguments.enter) {
        (Some(run), _) => down(run),
        (_, Some(target)) => return enter::enter(target, &arguments.command),
        _ => show(arguments.keep),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn down(run: &Run) -> Result<bool> {
    ensure!(run.exists(), "there is no demo {run}");
    run.remove()?;
    println!("The demo {run} is gone.");
    Ok(true)
}

/// The whole demo; whether all went well.
fn show(keep: bool) -> Result<bool> {
    let mut terminal = Terminal::new();
    penstock_binary()?;
    let mut cluster = Cluster::new(&mut terminal)?;
    let outcome = acts(&mut terminal, &mut cluster);
    let good = match &outcome {
        Ok(()) => terminal.verdict(),
        Err(_) => false,
    };
    if keep {
        let run = cluster.keep()?;
        look_around(&terminal, &run)?;
    }
    outcome.map(|()| good)
}

fn acts(terminal: &mut Terminal, cluster: &mut Cluster) -> Result<()> {
    requests::show(terminal, cluster)?;
    latency::show(terminal, cluster)?;
    scaling::show(terminal, cluster)?;
    restart::show(terminal, cluster)?;
    rules::show(terminal, cluster)
}

fn look_around(terminal: &Terminal, run: &Run) -> Result<()> {
    let demo = std::env::current_exe().context("this program's path")?;
    let demo = demo.strip_prefix(std::env::current_dir()?).map_or(demo.clone(), PathBuf::from);
    let demo = demo.display();
    terminal.heading("Look around");
    println!("  a pod         {demo} --enter {run}/n1/client");
    println!("  a node        {demo} --enter {run}/n1");
    println!("  the tables    {demo} --enter {run}/n1 -- penstock service list");
    println!("                {demo} --enter {run}/n1 -- penstock flow list");
    println!("  the Service   edit {}", run.directory().join("manifests/web.yaml").display());
    println!("  remove it     {demo} --down {run}");
    Ok(())
}
