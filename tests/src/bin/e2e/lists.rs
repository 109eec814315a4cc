//! Which of upstream's tests are expected to pass, and why the others are not.
//!
//! The lists are text files below `tests/e2e`: one test a line by its full name, below a heading (`## ...`) that says what
//! they have in common; in the lists of tests that are not expected to pass, it says why. Lines of one `#` are comments.
//!
//! Invariant: every `[sig-network]` test of the binary is in exactly one list, and no list names another test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use regex::Regex;

/// What names of upstream's network tests begin with.
pub(crate) const NETWORK: &str = "[sig-network] ";

/// What is said of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It passes.
    Expected,
    /// It needs what Penstock has not yet.
    NotBuilt,
    /// It needs what this cluster is not.
    NotHere,
}

impl Standing {
    /// In a few words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Expected => "expected to pass",
            Self::NotBuilt => "not built yet",
            Self::NotHere => "not for this cluster",
        }
    }
}

/// A test as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) standing: Standing,
    /// The heading that it stands below.
    pub(crate) heading: String,
}

/// All lists.
#[derive(Clone, Debug)]
pub(crate) struct Lists {
    tests: BTreeMap<String, Listed>,
    telling: BTreeSet<String>,
}

/// Which tests to run.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    /// The most telling of those that are expected to pass: ten minutes at most
    Ci,
    /// All that are expected to pass
    Expected,
    /// Those that need what is not built yet: which of them pass already?
    NotBuilt,
    /// Those that are expected to pass, and those that need what is not built yet
    All,
}

impl Lists {
    /// The lists of this source tree.
    pub(crate) fn committed() -> Result<Self> {
        macro_rules! list {
            ($name:literal) => {
                ($name, include_str!(concat!("../../../e2e/", $name)))
            };
        }
        Self::parse(
            &[
                (Standing::Expected, list!("expected.txt")),
                (Standing::NotBuilt, list!("not-built.txt")),
                (Standing::NotHere, list!("not-here.txt")),
            ],
            list!("ci.txt"),
        )
    }

    /// Reads the list of each standing, and the list of the most telling tests, each with its file's name.
    pub(crate) fn parse(lists: &[(Standing, (&str, &str))], (ci_file, ci): (&str, &str)) -> Result<Self> {
        let mut tests: BTreeMap<String, Listed> = BTreeMap::new();
        for &(standing, (file, text)) in lists {
            for (heading, name) in entries(text).with_context(|| format!("reading {file}"))? {
                let listed = Listed { standing, heading: heading.to_owned() };
                if let Some(former) = tests.insert(name.to_owned(), listed) {
                    bail!("{file} names a test that is listed before, as {}: {name}", former.standing.text());
                }
            }
        }
        let mut telling = BTreeSet::new();
        for (_, name) in entries(ci).with_context(|| format!("reading {ci_file}"))? {
            let standing = tests.get(name).map(|listed| listed.standing);
            ensure!(
                standing == Some(Standing::Expected),
                "{ci_file} names a test that is not expected to pass: {name}"
            );
            telling.insert(name.to_owned());
        }
        Ok(Self { tests, telling })
    }

    /// What is said of a test.
    pub(crate) fn get(&self, name: &str) -> Option<&Listed> {
        self.tests.get(name)
    }

    /// An error that names every network test which is in no list, and every listed test which there is not.
    pub(crate) fn check(&self, names: &[String]) -> Result<()> {
        let there: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let unlisted =
            there.iter().filter(|name| name.starts_with(NETWORK) && !self.tests.contains_key(**name));
        let gone = self.tests.keys().filter(|name| !there.contains(name.as_str()));
        let mut said = String::new();
        for name in unlisted {
            write!(said, "\n  in no list of tests/e2e: {name}")?;
        }
        for name in gone {
            write!(said, "\n  listed in tests/e2e, but upstream has no such test: {name}")?;
        }
        ensure!(said.is_empty(), "the lists do not say of every test what is expected:{said}");
        Ok(())
    }

    /// The tests of a set whose names match.
    pub(crate) fn choose(&self, set: Set, focus: Option<&Regex>) -> Vec<&str> {
        let is_wanted = |name: &str, standing| match set {
            Set::Ci => self.telling.contains(name),
            Set::Expected => standing == Standing::Expected,
            Set::NotBuilt => standing == Standing::NotBuilt,
            Set::All => standing != Standing::NotHere,
        };
        self.tests
            .iter()
            .filter(|(name, listed)| is_wanted(name, listed.standing))
            .map(|(name, _)| name.as_str())
            .filter(|name| focus.is_none_or(|focus| focus.is_match(name)))
            .collect()
    }

    /// The headings of a standing, each with its number of tests.
    pub(crate) fn headings(&self, standing: Standing) -> BTreeMap<&str, usize> {
        let mut headings = BTreeMap::new();
        for listed in self.tests.values().filter(|listed| listed.standing == standing) {
            *headings.entry(listed.heading.as_str()).or_default() += 1;
        }
        headings
    }
}

/// The tests of a list, each with its heading.
fn entries(text: &str) -> Result<Vec<(&str, &str)>> {
    let mut heading = None;
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if let Some(words) = line.strip_prefix("## ") {
            heading = Some(words);
        } else if line.starts_with(NETWORK) {
            let heading =
                heading.with_context(|| format!("line {number}: a test before the first heading"))?;
            entries.push((heading, line));
        } else if !line.is_empty() && !line.starts_with("# ") && line != "#" {
            bail!("line {number} is no test, no heading and no comment: {line:?}");
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "# All of them.\n\n## DNS\n[sig-network] DNS a\n[sig-network] DNS b\n\n## Services\n[sig-network] Services c\n";
    const NOT_BUILT: &str = "## NodePort\n[sig-network] Services d\n";
    const NOT_HERE: &str = "## a cloud\n[sig-network] LoadBalancers e\n";
    const CI: &str = "## chosen\n[sig-network] DNS b\n";

    fn lists(not_built: &str, ci: &str) -> Result<Lists> {
        Lists::parse(
            &[
                (Standing::Expected, ("expected.txt", EXPECTED)),
                (Standing::NotBuilt, ("not-built.txt", not_built)),
                (Standing::NotHere, ("not-here.txt", NOT_HERE)),
            ],
            ("ci.txt", ci),
        )
    }

    fn names() -> Vec<String> {
        ["DNS a", "DNS b", "Services c", "Services d", "LoadBalancers e"]
            .iter()
            .map(|name| format!("{NETWORK}{name}"))
            .chain(["[sig-node] Pods f".to_owned()])
            .collect()
    }

    #[test]
    fn the_committed_lists_are_in_order() {
        let lists = Lists::committed().unwrap();
        assert!(!lists.choose(Set::Ci, None).is_empty());
    }

    #[test]
    fn each_test_has_its_standing_and_its_heading() {
        let lists = lists(NOT_BUILT, CI).unwrap();
        lists.check(&names()).unwrap();
        let listed = lists.get("[sig-network] Services d").unwrap();
        assert_eq!((listed.standing, listed.heading.as_str()), (Standing::NotBuilt, "NodePort"));
        assert_eq!(lists.headings(Standing::Expected), BTreeMap::from([("DNS", 2), ("Services", 1)]));
    }

    #[test]
    fn a_set_is_narrowed_by_the_focus() {
        let lists = lists(NOT_BUILT, CI).unwrap();
        assert_eq!(lists.choose(Set::Ci, None), ["[sig-network] DNS b"]);
        assert_eq!(lists.choose(Set::All, None).len(), 4);
        let focus = Regex::new("Services").unwrap();
        assert_eq!(lists.choose(Set::Expected, Some(&focus)), ["[sig-network] Services c"]);
        assert_eq!(lists.choose(Set::NotBuilt, Some(&focus)), ["[sig-network] Services d"]);
    }

    #[test]
    fn a_test_in_no_list_is_an_error_and_so_is_a_listed_one_that_is_gone() {
        let lists = lists(NOT_BUILT, CI).unwrap();
        let mut names = names();
        names.remove(0);
        names.push("[sig-network] Services new".to_owned());
        let said = format!("{:#}", lists.check(&names).unwrap_err());
        assert!(said.contains("in no list of tests/e2e: [sig-network] Services new"), "{said}");
        assert!(said.contains("upstream has no such test: [sig-network] DNS a"), "{said}");
        assert!(!said.contains("sig-node"), "{said}");
    }

    #[test]
    fn a_test_may_be_in_one_list_only() {
        let said = lists("## x\n[sig-network] DNS a\n", CI).unwrap_err().to_string();
        assert!(said.contains("not-built.txt") && said.contains("DNS a"), "{said}");
    }

    #[test]
    fn chosen_tests_are_expected_to_pass() {
        let said = lists(NOT_BUILT, "## x\n[sig-network] Services d\n").unwrap_err().to_string();
        assert!(said.contains("ci.txt names a test that is not expected to pass"), "{said}");
    }

    #[test]
    fn what_is_no_test_is_named_by_its_line() {
        let said = format!("{:#}", lists("## x\nServices d\n", CI).unwrap_err());
        assert!(said.contains("not-built.txt") && said.contains("line 2"), "{said}");
        let said = format!("{:#}", lists("[sig-network] Services d\n", CI).unwrap_err());
        assert!(said.contains("line 1: a test before the first heading"), "{said}");
    }
}
