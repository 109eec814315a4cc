//! What people read: a line for each test, Penstock beside the others, and what it comes to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::lists::{Lists, NETWORK, Standing};
use crate::outcome::{Outcome, Verdict};

/// The name that Penstock has among the proxies.
pub(crate) const PENSTOCK: &str = "penstock";

/// What became of the tests with one proxy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) proxy: String,
    pub(crate) outcomes: BTreeMap<String, Outcome>,
}

/// All that a run has to say.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// The tests that were chosen.
    pub(crate) tests: Vec<String>,
    pub(crate) columns: Vec<Column>,
}

impl Summary {
    /// One line for each test.
    pub(crate) fn table(&self, lists: &Lists) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        let mut header = vec!["test".to_owned()];
        header.extend(self.columns.iter().map(|column| column.proxy.clone()));
        table.set_header(header);
        for name in &self.tests {
            let mark = match lists.get(name).map(|listed| listed.standing) {
                Some(Standing::NotBuilt) => " (not built yet)",
                _ => "",
            };
            let mut row = vec![format!("{}{mark}", name.trim_start_matches(NETWORK))];
            row.extend(self.columns.iter().map(|column| cell(column.outcomes.get(name))));
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// How many tests passed and did not, by proxy, and what is not even tried.
    pub(crate) fn closing(&self, lists: &Lists) -> String {
        let mut text = String::new();
        for column in &self.columns {
            let count =
                |verdict| column.outcomes.values().filter(|outcome| outcome.verdict == verdict).count();
            let minutes =
                column.outcomes.values().map(|outcome| outcome.time.as_secs_f64()).sum::<f64>() / 60.0;
            let _ = writeln!(
                text,
                "{}: {} of {} passed, {} failed, {} skipped; {minutes:.0} minutes of tests",
                column.proxy,
                count(Verdict::Passed),
                self.tests.len(),
                count(Verdict::Failed),
                count(Verdict::Skipped),
            );
        }
        for standing in [Standing::NotBuilt, Standing::NotHere] {
            let _ = writeln!(text, "\n{}:", standing.text());
            for (heading, tests) in lists.headings(standing) {
                let _ = writeln!(text, "  {tests:>3}  {heading}");
            }
        }
        text
    }

    /// Every test that Penstock was expected to pass and did not, with what it said.
    pub(crate) fn failures(&self, lists: &Lists) -> Vec<String> {
        let Some(column) = self.penstock() else { return Vec::new() };
        let expected = self.tests.iter().filter(|name| standing(lists, name) == Some(Standing::Expected));
        expected
            .filter_map(|name| match column.outcomes.get(name) {
                None => Some(format!("{name}: it was not run")),
                Some(outcome) if outcome.verdict == Verdict::Passed => None,
                Some(Outcome { verdict, said, .. }) => {
                    let how = if *verdict == Verdict::Skipped { "skipped itself: " } else { "" };
                    Some(format!("{name}: {how}{}", said.as_deref().unwrap_or("it said nothing")))
                }
            })
            .collect()
    }

    /// The tests that are listed as not built yet, and that Penstock passes.
    pub(crate) fn passes_already(&self, lists: &Lists) -> Vec<&str> {
        let Some(column) = self.penstock() else { return Vec::new() };
        let passed =
            |name: &&String| column.outcomes.get(*name).is_some_and(|o| o.verdict == Verdict::Passed);
        let not_built = self.tests.iter().filter(|name| standing(lists, name) == Some(Standing::NotBuilt));
        not_built.filter(passed).map(String::as_str).collect()
    }

    fn penstock(&self) -> Option<&Column> {
        self.columns.iter().find(|column| column.proxy == PENSTOCK)
    }
}

fn standing(lists: &Lists, name: &str) -> Option<Standing> {
    lists.get(name).map(|listed| listed.standing)
}

fn cell(outcome: Option<&Outcome>) -> String {
    let Some(Outcome { verdict, time, .. }) = outcome else { return "not run".to_owned() };
    let word = match verdict {
        Verdict::Passed => "pass",
        Verdict::Failed => "FAIL",
        Verdict::Skipped => return "skipped".to_owned(),
    };
    format!("{word} {:.0} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const A: &str = "[sig-network] DNS a";
    const B: &str = "[sig-network] Services b";
    const C: &str = "[sig-network] Services c";

    fn outcome(verdict: Verdict, said: Option<&str>) -> Outcome {
        Outcome { verdict, time: Duration::from_millis(12_300), said: said.map(str::to_owned) }
    }

    fn lists() -> Lists {
        Lists::parse(
            &[
                (Standing::Expected, ("expected.txt", &format!("## x\n{A}\n{B}\n"))),
                (Standing::NotBuilt, ("not-built.txt", &format!("## NodePort Services\n{C}\n"))),
            ],
            ("ci.txt", ""),
        )
        .unwrap()
    }

    fn summary(columns: [(&str, &[(&str, Verdict)]); 2]) -> Summary {
        let column = |(proxy, outcomes): (&str, &[(&str, Verdict)])| Column {
            proxy: proxy.to_owned(),
            outcomes: outcomes
                .iter()
                .map(|&(name, verdict)| {
                    let said = (verdict != Verdict::Passed).then_some("no");
                    (name.to_owned(), outcome(verdict, said))
                })
                .collect(),
        };
        Summary { tests: [A, B, C].map(str::to_owned).to_vec(), columns: columns.map(column).to_vec() }
    }

    #[test]
    fn each_test_has_a_line_with_every_proxys_outcome() {
        use Verdict::{Failed, Passed, Skipped};
        let summary = summary([
            (PENSTOCK, &[(A, Passed), (B, Failed), (C, Skipped)]),
            ("nftables", &[(A, Passed), (B, Passed)]),
        ]);
        let table = summary.table(&lists()).to_string();
        let line = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line("DNS a").contains("pass 12 s"), "{table}");
        assert!(line("Services b").contains("FAIL 12 s"), "{table}");
        assert!(line("Services c (not built yet)").contains("skipped"), "{table}");
        assert!(line("Services c").contains("not run"), "{table}");
        let closing = summary.closing(&lists());
        assert!(closing.contains("penstock: 1 of 3 passed, 1 failed, 1 skipped"), "{closing}");
        assert!(closing.contains("    1  NodePort Services"), "{closing}");
    }

    #[test]
    fn what_was_expected_and_did_not_pass_is_a_failure_also_where_it_skipped_itself() {
        use Verdict::{Failed, Passed, Skipped};
        let lists = lists();
        let failures = summary([(PENSTOCK, &[(A, Skipped), (C, Passed)]), ("iptables", &[(A, Failed)])])
            .failures(&lists);
        assert_eq!(failures, [format!("{A}: skipped itself: no"), format!("{B}: it was not run")]);
    }

    #[test]
    fn what_passes_before_it_is_expected_to_is_told() {
        use Verdict::{Failed, Passed};
        let lists = lists();
        let summary =
            summary([(PENSTOCK, &[(A, Passed), (B, Passed), (C, Passed)]), ("iptables", &[(A, Failed)])]);
        assert!(summary.failures(&lists).is_empty());
        assert_eq!(summary.passes_already(&lists), [C]);
    }
}
