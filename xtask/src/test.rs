//! `cargo xtask test`: every tier of tests, with the eBPF object and the agent's binary built for them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde::Deserialize;

use crate::build::{self, Profile};
use crate::{bpf, cluster, setup, shell, workspace};

/// Tells lab and restart tests where the agent's binary is.
pub(crate) const BINARY: &str = "PENSTOCK_BIN";

/// A tier of tests: what it needs grows from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// Unit and property tests of every crate: no root, no kernel
    Unit,
    /// Programs as loaded, fed by BPF_PROG_TEST_RUN, whole output packets compared
    Packet,
    /// Nodes and pods in network namespaces, real sockets
    Lab,
    /// Agents killed, restarted and upgraded under live connections
    Restart,
    /// An agent and a real API server that misbehaves: only where it is asked for
    Apiserver,
    /// A real Kubernetes: only where it is asked for
    Cluster,
    /// From the real kube-proxy to Penstock and back, under traffic: only where it is asked for
    Takeover,
}

impl Tier {
    /// What runs where no tier is named.
    const DEFAULT: &[Self] = &[Self::Unit, Self::Packet, Self::Lab, Self::Restart];
}

/// Which tests to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these tiers; all that need no Kubernetes where none is named
    #[arg(long, value_enum)]
    tier: Vec<Tier>,
    /// Passed on to the test runner: a part of a test's name, or its options
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the tiers, all of them even where one fails, and prints the runners' own closing lines once more at the end.
pub(crate) fn run(args: &Args) -> Result<()> {
    let tiers = if args.tier.is_empty() { Tier::DEFAULT } else { &args.tier };
    let is_root = shell::is_root();
    let (tiers, refused): (Vec<Tier>, Vec<Tier>) =
        tiers.iter().partition(|tier| is_root || **tier == Tier::Unit);
    if tiers.iter().any(|tier| *tier != Tier::Unit) {
        setup::require(setup::LAB)?;
    }
    let object = bpf::build(workspace::PROGRAMS)?;
    build::binaries(Profile::Debug, &object)?;
    let binary = build::binary(Profile::Debug)?;
    let parts = if tiers.iter().any(|tier| [Tier::Cluster, Tier::Takeover].contains(tier)) {
        cluster::environment(&[])?
    } else if tiers.contains(&Tier::Apiserver) {
        cluster::parts(&[])?
    } else {
        Vec::new()
    };

    let mut closing = Vec::new();
    let mut failed = Vec::new();
    for tier in tiers {
        for selection in tier.selections() {
            let mut cargo = workspace::cargo();
            cargo.arg("test").args(selection).env(build::OBJECT, &object).env(BINARY, &binary);
            cargo.envs(parts.iter().map(|(name, value)| (name, value)));
            // All test binaries run, also after one that failed.
            cargo.args(["--no-fail-fast", "--"]).args(&args.rest);
            if let Err(error) = run_and_collect(&mut cargo, &mut closing) {
                failed.push(format!("{}: {error:#}", tier.name()));
            }
        }
    }
    println!("\n{}", closing.join("\n"));
    if !refused.is_empty() {
        let names: Vec<_> = refused.iter().map(|tier| tier.name()).collect();
        failed.push(format!("not run, they load eBPF programs and so need root: {}", names.join(", ")));
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

/// Builds a tier's test binary and returns its path.
pub(crate) fn binary(tier: Tier, object: &Path) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    for selection in tier.selections() {
        cargo.arg("test").args(selection);
    }
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]).env(build::OBJECT, object);
    eprintln!("$ {}", shell::line(&cargo));
    let messages = shell::output(&mut cargo)?;
    executable(&messages, tier.name()).with_context(|| format!("cargo built no test named {}", tier.name()))
}

/// The binary of the test target of this name, from cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        target: Target,
        executable: PathBuf,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let mut found = messages.filter(|m| m.target.name == name && m.target.kind == ["test"]);
    found.next().map(|message| message.executable)
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Packet => "packet",
            Self::Lab => "lab",
            Self::Restart => "restart",
            Self::Apiserver => "apiserver",
            Self::Cluster => "cluster",
            Self::Takeover => "takeover",
        }
    }

    /// What `cargo test` is asked for, call by call.
    fn selections(self) -> Vec<Vec<&'static str>> {
        let of_tests = |what: &[&'static str]| [&["--package", workspace::TESTS], what].concat();
        match self {
            Self::Unit => vec![
                [workspace::HOST, &["--exclude", workspace::TESTS]].concat(),
                of_tests(&["--lib", "--bins"]),
            ],
            tier => vec![of_tests(&["--test", tier.name()])],
        }
    }
}

/// Runs a test command, passing its lines on and keeping each runner's closing line with the name of what it ran.
fn run_and_collect(command: &mut Command, closing: &mut Vec<String>) -> Result<()> {
    let line = shell::line(command);
    eprintln!("$ {line}");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{line}`"))?;
    let output = child.stdout.take().context("the child has no stdout")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("the test runner's output")?;
        println!("{line}");
        if is_closing(&line) {
            closing.push(line);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Whether a line closes a runner's report of tests that it did run.
fn is_closing(line: &str) -> bool {
    line.starts_with("test result:") && !line.contains(" 0 passed; 0 failed; 0 ignored;")
}

#[cfg(test)]
mod tests {
    use super::{executable, is_closing};

    #[test]
    fn a_tests_binary_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"packet"},"executable":null}
            {"reason":"compiler-artifact","target":{"kind":["bin"],"name":"packet"},"executable":"/t/bin"}
            {"reason":"compiler-artifact","target":{"kind":["test"],"name":"packet"},"executable":"/t/packet-1"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "packet"), Some("/t/packet-1".into()));
        assert_eq!(executable(messages, "lab"), None);
    }

    #[test]
    fn closing_lines_are_kept_unless_nothing_ran() {
        assert!(is_closing("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"));
        assert!(is_closing("test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out"));
        assert!(!is_closing("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"));
        assert!(!is_closing("test a_name_with_test result: ok"));
    }
}
