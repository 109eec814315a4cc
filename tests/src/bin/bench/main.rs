//! The benchmark: what packets, calls and changes cost, beside the yardstick programs.
//!
//! Nothing here fails because it is slow: a figure is printed with the goal that it has, and the run succeeds.

// The agent is a binary, and this is the part of it that turns the model's operations into writes: the very file, so that
// what is measured is what runs.
#[path = "../../../../agent/src/tables.rs"]
#[expect(dead_code, reason = "the agent uses more of it")]
mod agent_tables;
mod cluster;
mod connect;
mod control;
mod effort;
mod exchange;
mod packets;
mod report;
mod sandbox;
mod statistics;
mod traffic;
mod world;
mod yardstick;

use std::path::Path;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use effort::Effort;
use exchange::Role;
use report::Report;

/// Measures Penstock beside the least that its work needs.
#[derive(Parser)]
struct Arguments {
    /// A short run: shows that everything works, gives no figures to quote
    #[arg(long, global = true)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Figures are written to bench-results/NAME.json
    #[arg(long, global = true, default_value = "latest")]
    name: String,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Measure in a real cluster, beside kube-proxy
    Cluster(cluster::Arguments),
    #[command(flatten)]
    Role(Role),
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Nanoseconds per packet at TC
    Packets,
    /// Nanoseconds of connect(2)
    Connect,
    /// Changes of the cluster, full loads, kernel memory
    Control,
    /// Connections and requests per second, the agent's memory
    Traffic,
}

/// The numbers of Services that figures are taken with.
const SERVICES: [u32; 2] = [100, 10_000];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Verb::Role(role)) = &arguments.verb {
        return role.play();
    }
    ensure!(nix::unistd::geteuid().is_root(), "the benchmark loads eBPF programs and needs root rights");
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut report = Report::new(arguments.quick);
    if let Some(Verb::Cluster(part)) = &arguments.verb {
        cluster::run(part, arguments.quick, &mut report)?;
        return write(&report, &arguments.name);
    }
    if wanted(Part::Packets) {
        let [few, many] = SERVICES;
        let [few_figures, many_figures, growth] = packets::run(SERVICES, &effort)?;
        report.group(&format!("Packets of a pod to a Service, at TC, {few} Services"), few_figures);
        report.group(&format!("Packets of a pod to a Service, at TC, {many} Services"), many_figures);
        report.group("What many Services cost a packet", growth);
    }
    if wanted(Part::Connect) {
        let services = SERVICES[1];
        let figures = connect::run(services, &effort)?;
        report.group(&format!("connect(2) to a Service, {services} Services"), figures);
    }
    if wanted(Part::Control) {
        let figures = control::run(SERVICES, &effort)?;
        report.group("Control plane: from a decoded event to committed tables", figures);
    }
    if wanted(Part::Traffic) {
        let figures = traffic::run(SERVICES, &effort)?;
        report.group("Traffic through a ClusterIP, from pod to pod on one node, both on one CPU", figures);
    }
    write(&report, &arguments.name)
}

fn write(report: &Report, name: &str) -> Result<()> {
    let path = Path::new("bench-results").join(format!("{name}.json"));
    report.write(&path)?;
    println!("\nwritten to {}", path.display());
    Ok(())
}
