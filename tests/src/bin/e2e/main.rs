//! Upstream's own network tests (`k8s.io/kubernetes/test/e2e`) as the judges of Penstock in a real cluster, beside
//! kube-proxy.
//!
//! Owns the lists of what is expected (`tests/e2e`), runs the tests by ginkgo against a new cluster for each proxy, and
//! prints a line for each test. Nothing is skipped silently: a test that is in no list, or that was expected to pass and
//! did not, also by skipping itself, is a failure of the run.

mod lists;
mod outcome;
mod suite;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use penstock_tests::cluster::Choice;
use regex::Regex;

use lists::{Lists, NETWORK, Set};
use suite::Suite;
use table::{Column, Summary};

/// Runs upstream's network tests against a new cluster for each proxy.
#[derive(Parser)]
#[command(name = "cargo xtask e2e")]
struct Arguments {
    /// Only tests whose full name matches this regular expression
    #[arg(long)]
    focus: Option<Regex>,
    /// Which of the lists to run
    #[arg(long, value_enum, default_value = "expected")]
    set: Set,
    /// What implements Services, a run for each
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["penstock", "nftables"])]
    proxy: Vec<Choice>,
    /// Number of nodes
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// Number of tests that run side by side
    #[arg(long, default_value_t = 6)]
    side_by_side: u8,
    /// Print what the lists say of every network test, and run none
    #[arg(long)]
    list: bool,
    /// Where reports and what the tests said are written
    #[arg(long, default_value = "e2e-results")]
    results: PathBuf,
}

fn main() -> ExitCode {
    match judge(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for.
fn judge(arguments: &Arguments) -> Result<()> {
    let lists = Lists::committed()?;
    let suite = Suite::find()?;
    let names = suite.names()?;
    if arguments.list {
        print_lists(&lists, &names);
        return lists.check(&names);
    }
    lists.check(&names)?;
    let tests = lists.choose(arguments.set, arguments.focus.as_ref());
    ensure!(!tests.is_empty(), "no test of this set has a name that matches");
    fs::create_dir_all(&arguments.results)
        .with_context(|| format!("making {}", arguments.results.display()))?;
    // Ginkgo runs elsewhere.
    let results = arguments.results.canonicalize().context("finding the folder of results")?;
    let mut columns = Vec::new();
    for &proxy in &arguments.proxy {
        let column = run(&suite, proxy, &tests, arguments, &results);
        columns.push(column.with_context(|| format!("with {}", proxy.name()))?);
    }
    let summary = Summary { tests: tests.into_iter().map(str::to_owned).collect(), columns };
    println!("{}\n\n{}", summary.table(&lists), summary.closing(&lists));
    let file = results.join("summary.json");
    fs::write(&file, serde_json::to_string_pretty(&summary)?)
        .with_context(|| format!("writing {}", file.display()))?;
    println!("what the tests said, and the reports: {}", results.display());
    verdict(&summary, &lists)
}

/// Runs the tests against a new cluster.
fn run(
    suite: &Suite,
    proxy: Choice,
    tests: &[&str],
    arguments: &Arguments,
    results: &Path,
) -> Result<Column> {
    println!("== {}: {} tests, {} side by side", proxy.name(), tests.len(), arguments.side_by_side);
    let cluster = proxy.up(arguments.nodes)?;
    let outcomes = suite.run(&cluster, tests, arguments.side_by_side, &results.join(proxy.name()))?;
    cluster.check().context("after the tests")?;
    Ok(Column { proxy: proxy.name().to_owned(), outcomes })
}

/// An error where Penstock did not pass what it was expected to.
fn verdict(summary: &Summary, lists: &Lists) -> Result<()> {
    for name in summary.passes_already(lists) {
        println!("passes already, though it is listed as not built yet: {name}");
    }
    let failures = summary.failures(lists);
    if !failures.is_empty() {
        bail!("{} tests did not pass that should have:\n  {}", failures.len(), failures.join("\n  "));
    }
    Ok(())
}

fn print_lists(lists: &Lists, names: &[String]) {
    for name in names.iter().filter(|name| name.starts_with(NETWORK)) {
        match lists.get(name) {
            Some(listed) => println!("{} ({}): {name}", listed.standing.text(), listed.heading),
            None => println!("in no list: {name}"),
        }
    }
}
