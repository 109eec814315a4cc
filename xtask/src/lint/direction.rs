//! Dependencies point one way, and what is pure stays pure.
//!
//! Only what is compiled into a crate for the host counts: normal dependencies, not those of tests and build scripts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{shell, workspace};

/// Which crates of the workspace each crate may depend on. A crate that is not named here may depend on none.
const MAY_USE: &[(&str, &[&str])] = &[
    ("penstock-datapath", &["penstock-abi"]),
    ("penstock-programs", &["penstock-datapath", "penstock-abi"]),
    ("penstock-model", &["penstock-abi"]),
    ("penstock-kernel", &["penstock-abi"]),
    ("penstock", &["penstock-model", "penstock-kernel", "penstock-abi"]),
    ("penstock-yardsticks", &["penstock-abi"]),
    (
        "penstock-tests",
        &[
            "penstock",
            "penstock-model",
            "penstock-kernel",
            "penstock-datapath",
            "penstock-abi",
            "penstock-yardsticks",
        ],
    ),
];

/// The crates that know neither a kernel nor a cluster nor a clock, so that a laptop can test them.
const PURE: &[&str] = &["penstock-abi", "penstock-datapath", "penstock-model"];

/// What a pure crate must not come to depend on, however far away.
const IMPURE: &[&str] =
    &["aya", "aya-ebpf", "aya-obj", "tokio", "kube", "kube-client", "kube-core", "libc", "nix"];

/// Who depends on whom, by the crates' names.
#[derive(Debug, Default)]
pub(super) struct Graph {
    members: BTreeSet<String>,
    uses: BTreeMap<String, BTreeSet<String>>,
}

/// A dependency that must not be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A crate of the workspace uses one that it must not know.
    Direction { from: String, to: String },
    /// A pure crate depends on something impure, by this way.
    Impure { way: Vec<String> },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direction { from, to } => write!(f, "{from} must not depend on {to}"),
            Self::Impure { way } => write!(f, "a pure crate must not get there: {}", way.join(" -> ")),
        }
    }
}

/// Every fault, in the order of the crates' names.
pub(super) fn check(graph: &Graph) -> Vec<Fault> {
    let mut faults = Vec::new();
    for member in &graph.members {
        let allowed = MAY_USE.iter().find(|(name, _)| name == member).map_or(&[][..], |(_, allowed)| allowed);
        for used in graph.uses.get(member).into_iter().flatten() {
            if graph.members.contains(used) && !allowed.contains(&used.as_str()) {
                faults.push(Fault::Direction { from: member.clone(), to: used.clone() });
            }
        }
    }
    for pure in PURE.iter().filter(|pure| graph.members.contains(**pure)) {
        faults
            .extend(IMPURE.iter().filter_map(|impure| Some(Fault::Impure { way: graph.way(pure, impure)? })));
    }
    faults
}

impl Graph {
    /// The graph that cargo resolves for the host.
    pub(super) fn of_workspace() -> Result<Self> {
        let host = shell::output(workspace::rustc().args(["--print", "host-tuple"]))?;
        let metadata = shell::output(workspace::cargo().args([
            "metadata",
            "--format-version=1",
            "--filter-platform",
            host.trim(),
        ]))?;
        Self::of_metadata(&metadata)
    }

    fn of_metadata(json: &str) -> Result<Self> {
        let metadata: Metadata = serde_json::from_str(json).context("cargo metadata")?;
        let names: BTreeMap<&str, &str> =
            metadata.packages.iter().map(|package| (&*package.id, &*package.name)).collect();
        let name = |id: &str| names.get(id).map(|&name| name.to_owned());
        let mut graph = Self {
            members: metadata.workspace_members.iter().filter_map(|id| name(id)).collect(),
            ..Self::default()
        };
        for node in &metadata.resolve.nodes {
            let normal = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            let used = normal.filter_map(|dep| name(&dep.pkg));
            // Two versions of a crate are one name, and what either uses counts.
            graph.uses.entry(name(&node.id).context("a node without a package")?).or_default().extend(used);
        }
        Ok(graph)
    }

    /// The shortest way from one crate to another, both included.
    fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut seen = BTreeSet::from([from]);
        let mut open = VecDeque::from([vec![from]]);
        while let Some(way) = open.pop_front() {
            let &last = way.last()?;
            if last == to {
                return Some(way.into_iter().map(str::to_owned).collect());
            }
            for next in self.uses.get(last).into_iter().flatten() {
                if seen.insert(next) {
                    open.push_back([&way[..], &[next]].concat());
                }
            }
        }
        None
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// `None` is a normal dependency.
    kind: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Fault, Graph, check};

    /// Metadata as cargo prints it; each edge is (from, to, kind).
    fn graph(members: &[&str], edges: &[(&str, &str, Option<&str>)]) -> Graph {
        let mut names: Vec<&str> =
            edges.iter().flat_map(|(from, to, _)| [*from, *to]).chain(members.iter().copied()).collect();
        names.sort_unstable();
        names.dedup();
        let id = |name: &str| format!("registry+index#{name}@1.0.0");
        let packages: Vec<Value> = names.iter().map(|name| json!({ "id": id(name), "name": name })).collect();
        let node = |name: &&str| {
            let deps = edges.iter().filter(|(from, ..)| from == name);
            let deps: Vec<Value> =
                deps.map(|(_, to, kind)| json!({ "pkg": id(to), "dep_kinds": [{ "kind": kind }] })).collect();
            json!({ "id": id(name), "deps": deps })
        };
        let nodes: Vec<Value> = names.iter().map(node).collect();
        let members: Vec<String> = members.iter().map(|name| id(name)).collect();
        let metadata =
            json!({ "packages": packages, "workspace_members": members, "resolve": { "nodes": nodes } });
        Graph::of_metadata(&metadata.to_string()).expect("the metadata can be read")
    }

    #[test]
    fn dependencies_in_the_designs_direction_pass() {
        let edges = [
            ("penstock-programs", "penstock-datapath", None),
            ("penstock-datapath", "penstock-abi", None),
            ("penstock", "penstock-kernel", None),
            ("penstock-kernel", "aya", None),
            ("aya", "libc", None),
        ];
        let members =
            ["penstock", "penstock-kernel", "penstock-programs", "penstock-datapath", "penstock-abi"];
        assert_eq!(check(&graph(&members, &edges)), []);
    }

    #[test]
    fn a_pure_crate_must_not_reach_libc_over_another_crate() {
        let edges = [("penstock-model", "chrono", None), ("chrono", "libc", None)];
        let way = ["penstock-model", "chrono", "libc"].map(str::to_owned).to_vec();
        assert_eq!(check(&graph(&["penstock-model"], &edges)), [Fault::Impure { way }]);
    }

    #[test]
    fn what_only_tests_and_build_scripts_use_does_not_count() {
        let edges = [
            ("penstock-datapath", "proptest", Some("dev")),
            ("proptest", "libc", None),
            ("penstock-datapath", "cc", Some("build")),
            ("cc", "libc", None),
        ];
        assert_eq!(check(&graph(&["penstock-datapath"], &edges)), []);
    }

    #[test]
    fn a_dependency_against_the_direction_is_a_fault() {
        let edges =
            [("penstock-abi", "penstock-datapath", None), ("penstock-model", "penstock-kernel", None)];
        let members = ["penstock-abi", "penstock-datapath", "penstock-kernel", "penstock-model"];
        let direction = |from: &str, to: &str| Fault::Direction { from: from.to_owned(), to: to.to_owned() };
        let wanted =
            [direction("penstock-abi", "penstock-datapath"), direction("penstock-model", "penstock-kernel")];
        assert_eq!(check(&graph(&members, &edges)), wanted);
    }
}
