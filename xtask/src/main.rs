//! Every chore of the project: `cargo xtask <chore>`.
//!
//! Owns how things are built, checked, run and booted, and the pinned versions of the tools for that. A chore prepares
//! what it needs, prints each command that it runs, and fails with one clear line. Knows nothing of packets or tables:
//! tests, demo and benchmarks live in the crate `penstock-tests`, and are only started from here.

mod bpf;
mod build;
mod cluster;
mod fuzz;
mod image;
mod lint;
mod oci;
mod passed_on;
mod pins;
mod remap;
mod setup;
mod shell;
mod show;
mod test;
mod upstream;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use passed_on::PassedOn;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Every chore of the project")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Prepare this machine: sources of `core`, bpf-linker, the system's tools
    Setup(setup::Args),
    /// Build the eBPF object and check it: stack depth, instruction count, no reachable panic
    Bpf,
    /// Build the agent with the eBPF programs inside
    Build(build::Args),
    /// Make the agent's container image: static, small, the same bytes from the same sources
    Image(image::Args),
    /// Formatting, clippy for host and bpf target, docs, direction of dependencies, licences
    Lint(lint::Args),
    /// Run the tests
    Test(test::Args),
    /// Make a small cluster out of network namespaces and show Services at work
    #[command(disable_help_flag = true)]
    Demo(PassedOn),
    /// Measure
    #[command(disable_help_flag = true)]
    Bench(PassedOn),
    /// Run upstream's own network tests in real clusters, with Penstock and with kube-proxy
    #[command(disable_help_flag = true)]
    E2e(PassedOn),
    /// Fuzz the datapath
    Fuzz(fuzz::Args),
    /// Boot other kernels and run packet tests and agent there
    Vm(vm::Args),
    /// Make a real Kubernetes on this machine, without Docker: up, kubectl, node, client, list, down
    #[command(disable_help_flag = true)]
    Cluster(PassedOn),
    /// Build a real Kubernetes for the lab: its programs, its tests and their images
    Upstream(upstream::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Setup(args) => setup::run(&args),
        Chore::Bpf => bpf::run(),
        Chore::Build(args) => build::run(&args),
        Chore::Image(args) => image::run(&args),
        Chore::Lint(args) => lint::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Demo(args) => show::demo(&args),
        Chore::Bench(args) => show::bench(&args),
        Chore::E2e(args) => show::e2e(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Vm(args) => vm::run(&args),
        Chore::Cluster(args) => cluster::run(&args),
        Chore::Upstream(args) => upstream::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, causes included; a backtrace of this program would tell nobody what to do.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
