//! Upstream's test binary: which tests it has, and a run of some of them by ginkgo.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::{self, Cluster};

use crate::outcome::{self, Outcome};

/// How ginkgo marks what did not pass.
const FAILED: [&str; 5] = ["[FAILED]", "[PANICKED]", "[TIMEDOUT]", "[INTERRUPTED]", "[ABORTED]"];

/// Upstream's tests and what runs them.
pub(crate) struct Suite {
    tests: PathBuf,
    ginkgo: PathBuf,
}

impl Suite {
    /// The programs that `cargo xtask e2e` has built.
    pub(crate) fn find() -> Result<Self> {
        let find = |name: &str| {
            cluster::program(name)
                .with_context(|| format!("{name} is not there; `cargo xtask e2e` builds it and starts this"))
        };
        Ok(Self { tests: find("e2e.test")?, ginkgo: find("ginkgo")? })
    }

    /// The names of all tests, of every group of Kubernetes.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let output = Command::new(&self.tests)
            .arg("--list-tests")
            .stdin(Stdio::null())
            .output()
            .context("starting e2e.test")?;
        ensure!(
            output.status.success(),
            "e2e.test cannot list its tests: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(listed(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Runs tests in parallel, beside the cluster's API server, and gives their outcomes. What they say is written to files
    /// in `directory`.
    pub(crate) fn run(
        &self,
        cluster: &Cluster,
        tests: &[&str],
        side_by_side: u8,
        directory: &Path,
    ) -> Result<BTreeMap<String, Outcome>> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let report = directory.join("report.json");
        let said = directory.join("said.txt");
        let mut command = cluster.command(&self.ginkgo);
        command
            .args(["run", "--no-color", "-v", "--silence-skips", "--timeout=3h", "--json-report=report.json"])
            .arg(format!("--procs={side_by_side}"))
            .arg(format!("--output-dir={}", directory.display()))
            .arg(format!("--focus={}", focus(tests)))
            .arg(&self.tests)
            .args(["--", "--provider=skeleton"])
            .arg(format!("--kubeconfig={}", cluster.kubeconfig().display()))
            .arg(format!("--num-nodes={}", cluster.nodes().len()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.join("errors.txt")).context("creating errors.txt")?);
        // What a former run left must not be taken for this one's.
        if report.exists() {
            fs::remove_file(&report).with_context(|| format!("removing {}", report.display()))?;
        }
        let mut child = command.spawn().context("starting ginkgo")?;
        let output = child.stdout.take().context("ginkgo has no output")?;
        let copied = follow(BufReader::new(output), &said, tests.len());
        // Its status says whether every test passed; the report says which.
        child.wait().context("waiting for ginkgo")?;
        copied?;
        let text = fs::read_to_string(&report).with_context(|| {
            format!("ginkgo has written no report; what it said is in {}", directory.display())
        })?;
        outcome::read(&text)
    }
}

/// Copies what ginkgo says to a file, and tells how far it is.
fn follow(output: impl BufRead, file: &Path, tests: usize) -> Result<()> {
    let begin = Instant::now();
    let mut file = File::create(file).with_context(|| format!("creating {}", file.display()))?;
    let (mut done, mut failed) = (0, 0);
    for line in output.split(b'\n') {
        let line = line.context("reading ginkgo's output")?;
        file.write_all(&line).and_then(|()| file.write_all(b"\n")).context("writing ginkgo's output")?;
        // The head of a report about one test that has ended, e.g. `• [FAILED] [12.3 seconds]`.
        let text = String::from_utf8_lossy(&line);
        if let Some(head) = text.strip_prefix("• ") {
            done += 1;
            failed += usize::from(FAILED.iter().any(|word| head.contains(word)));
            println!("  {done} of {tests} done, {failed} failed, after {} s", begin.elapsed().as_secs());
        }
    }
    Ok(())
}

/// An expression that matches the names of these tests and no other.
fn focus(tests: &[&str]) -> String {
    let names: Vec<String> = tests.iter().map(|name| regex::escape(name)).collect();
    // Ginkgo looks at the suite's description, a space, and the name.
    format!(" ({})$", names.join("|"))
}

/// The names in the output of `e2e.test --list-tests`: a title, then lines of `    FILE:LINE: NAME`.
fn listed(output: &str) -> Vec<String> {
    let lines = output.lines().filter_map(|line| line.strip_prefix("    "));
    lines.filter_map(|line| line.split_once(": ")).map(|(_, name)| name.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn names_are_read_without_where_they_are_from() {
        let output = "The following spec names can be used with 'ginkgo run --focus/skip':\n    \
            ../test/e2e/network/dns.go:54: [sig-network] DNS should: work [Conformance]\n    \
            ../test/e2e/node/pods.go:12: [sig-node] Pods should run\n\n";
        assert_eq!(
            listed(output),
            ["[sig-network] DNS should: work [Conformance]", "[sig-node] Pods should run"]
        );
    }

    #[test]
    fn the_focus_matches_the_names_themselves() {
        let focus = Regex::new(&focus(&["[sig-network] DNS (a|b) c.d", "[sig-network] Services e"])).unwrap();
        assert!(focus.is_match("Kubernetes e2e suite [sig-network] DNS (a|b) c.d"));
        assert!(focus.is_match("Kubernetes e2e suite [sig-network] Services e"));
        assert!(!focus.is_match("Kubernetes e2e suite [sig-network] Services e [Slow]"));
        assert!(!focus.is_match("Kubernetes e2e suite [sig-network] DNS a c.d"));
    }
}
