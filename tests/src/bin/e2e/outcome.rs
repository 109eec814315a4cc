//! What became of tests: ginkgo's own report (`--json-report`), read.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The outcome of one test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// From the test's beginning to the end of its cleaning up.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub(crate) time: Duration,
    /// What it said where it did not pass: the first lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) said: Option<String>,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It passed.
    Passed,
    /// It failed, panicked, or took too long.
    Failed,
    /// It found that it cannot run here.
    Skipped,
}

/// The longest that is kept of what a test said.
const SAID: usize = 600;

/// A suite's report, the part of it that is read here (ginkgo's `types.Report`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Option<Vec<Spec>>,
    special_suite_failure_reasons: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    /// Nanoseconds.
    run_time: u64,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

/// Reads a report: the outcome of each test that was chosen, by its full name.
///
/// # Errors
/// Where the text is no such report, or says that something around the tests failed.
pub(crate) fn read(report: &str) -> Result<BTreeMap<String, Outcome>> {
    let suites: Vec<Suite> = serde_json::from_str(report).context("this is no report of ginkgo's")?;
    let mut outcomes = BTreeMap::new();
    for suite in suites {
        let specs = suite.spec_reports.unwrap_or_default();
        if let (true, Some(reason)) =
            (specs.is_empty(), suite.special_suite_failure_reasons.unwrap_or_default().first())
        {
            bail!("the tests did not run: {reason}");
        }
        for spec in specs {
            let failure = spec.failure.map(|failure| failure.message);
            let verdict = match spec.state.as_str() {
                "passed" => Verdict::Passed,
                // Without a word: it was not chosen.
                "skipped" | "pending" if failure.is_none() => continue,
                "skipped" => Verdict::Skipped,
                _ => Verdict::Failed,
            };
            if spec.leaf_node_type != "It" {
                // Suite-wide preparations: their failure is that of all tests.
                if verdict == Verdict::Failed {
                    bail!("{} failed: {}", spec.leaf_node_type, shortened(&failure.unwrap_or_default()));
                }
                continue;
            }
            let mut words = spec.container_hierarchy_texts.unwrap_or_default();
            words.push(spec.leaf_node_text);
            words.retain(|word| !word.is_empty());
            let outcome = Outcome {
                verdict,
                time: Duration::from_nanos(spec.run_time),
                said: failure.filter(|_| verdict != Verdict::Passed).map(|said| shortened(&said)),
            };
            outcomes.insert(words.join(" "), outcome);
        }
    }
    Ok(outcomes)
}

/// The first part of a text.
fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(SAID) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(specs: &str) -> String {
        format!(r#"[{{"SuitePath":"/e2e.test","SpecialSuiteFailureReasons":null,"SpecReports":[{specs}]}}]"#)
    }

    fn spec(kind: &str, leaf: &str, state: &str, failure: &str) -> String {
        format!(
            r#"{{"ContainerHierarchyTexts":["[sig-network] Services",""],"LeafNodeType":"{kind}",
                "LeafNodeText":"{leaf}","State":"{state}","RunTime":1500000000,"NumAttempts":1{failure}}}"#
        )
    }

    #[test]
    fn each_chosen_test_has_its_outcome_by_its_full_name() {
        let failure = r#","Failure":{"Message":" no route\n","FailureNodeType":"It"}"#;
        let skip = r#","Failure":{"Message":"needs three nodes"}"#;
        let text = report(
            &[
                spec("It", "passes", "passed", ""),
                spec("It", "fails", "failed", failure),
                spec("It", "is late", "timedout", ""),
                spec("It", "cannot", "skipped", skip),
                spec("It", "is another", "skipped", ""),
                spec("SynchronizedBeforeSuite", "", "passed", ""),
            ]
            .join(","),
        );
        let outcomes = read(&text).unwrap();
        let got: Vec<_> = outcomes
            .iter()
            .map(|(name, outcome)| (name.as_str(), outcome.verdict, outcome.said.as_deref()))
            .collect();
        assert_eq!(
            got,
            [
                ("[sig-network] Services cannot", Verdict::Skipped, Some("needs three nodes")),
                ("[sig-network] Services fails", Verdict::Failed, Some("no route")),
                ("[sig-network] Services is late", Verdict::Failed, None),
                ("[sig-network] Services passes", Verdict::Passed, None),
            ]
        );
        assert_eq!(outcomes["[sig-network] Services passes"].time, Duration::from_millis(1500));
    }

    #[test]
    fn where_the_preparations_fail_no_test_has_an_outcome() {
        let failure = r#","Failure":{"Message":"no API server"}"#;
        let text = report(&spec("SynchronizedBeforeSuite", "", "failed", failure));
        let said = read(&text).unwrap_err().to_string();
        assert_eq!(said, "SynchronizedBeforeSuite failed: no API server");
        assert!(read("{}").is_err());
    }

    #[test]
    fn a_long_story_is_cut() {
        let story = "x".repeat(10_000);
        let text = report(&spec("It", "fails", "failed", &format!(r#","Failure":{{"Message":"{story}"}}"#)));
        let said = read(&text).unwrap()["[sig-network] Services fails"].said.clone().unwrap();
        assert_eq!(said.chars().count(), SAID + 1);
    }
}
