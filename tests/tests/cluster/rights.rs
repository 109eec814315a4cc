//! The agent has the rights that it needs, and says which one is missing.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use penstock_tests::cluster::{NAMESPACE, until};
use penstock_tests::needs;
use serde_json::{Value, json};

use super::fixture::{self, Agent, Fixture, until_told};

/// The node whose agent is started anew for each right.
const NODE: &str = "n1";
const ROLE: &str = "clusterrole/penstock";
/// The switch of the API server by which lists are no streams (KEP-3157): they need another right.
const PAGES_ONLY: &str = "--feature-gates=WatchList=false";

/// The role as the manifests have it. It is put back in place at the end, also after a failure.
struct Role<'a> {
    fixture: &'a Fixture,
    rules: Value,
}

impl<'a> Role<'a> {
    fn of(fixture: &'a Fixture) -> Result<Self> {
        let role = fixture.cluster.kubectl_handle().json(&["get", ROLE])?;
        Ok(Self { fixture, rules: role["rules"].clone() })
    }

    /// Every right: the number of its rule, its resource, and a verb.
    fn rights(&self) -> Vec<(usize, String, String)> {
        let texts = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|text| Some(text.as_str()?.to_owned()))
                .collect()
        };
        let mut rights = Vec::new();
        for (i, rule) in self.rules.as_array().into_iter().flatten().enumerate() {
            for resource in texts(&rule["resources"]) {
                rights.extend(texts(&rule["verbs"]).into_iter().map(|verb| (i, resource.clone(), verb)));
            }
        }
        rights
    }

    /// Puts these rules in the role's place.
    fn set(&self, rules: &Value) -> Result<()> {
        let patch = json!([{ "op": "replace", "path": "/rules", "value": rules }]).to_string();
        self.fixture.cluster.kubectl(&["patch", ROLE, "--type=json", "--patch", &patch]).map(drop)
    }

    /// Takes one right away: its resource gets a rule of its own that has the other verbs.
    fn without(&self, (number, resource, verb): &(usize, String, String)) -> Result<()> {
        let mut rules = self.rules.as_array().context("the role has no rules")?.clone();
        let rule = rules.get_mut(*number).context("the role has no such rule")?;
        let mut own = rule.clone();
        remove(&mut rule["resources"], resource);
        own["resources"] = json!([resource]);
        remove(&mut own["verbs"], verb);
        rules.push(own);
        rules.retain(|rule| rule["resources"] != json!([]) && rule["verbs"] != json!([]));
        self.set(&Value::Array(rules))
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        // Whoever comes next says so where this has failed.
        let _ = self.set(&self.rules);
    }
}

fn remove(list: &mut Value, word: &str) {
    if let Some(list) = list.as_array_mut() {
        list.retain(|item| item != word);
    }
}

/// Starts the node's agent anew.
fn restart(fixture: &Fixture) -> Result<Agent> {
    let former = fixture.agent(NODE)?;
    fixture.system(&["delete", "pod", &former.pod, "--wait=false"])?;
    let mut found = None;
    until("another agent runs", || {
        found = fixture
            .agents()?
            .into_iter()
            .find(|agent| agent.node == NODE && agent.pod != former.pod && agent.running);
        Ok(found.is_some())
    })?;
    found.context("there is none")
}

/// Takes each right away that is of these verbs, and sees that the agent names it; then gives it back.
fn each_is_named(fixture: &Fixture, role: &Role<'_>, verbs: &[&str]) -> Result<()> {
    for right in role.rights().iter().filter(|(_, _, verb)| verbs.contains(&verb.as_str())) {
        let (_, resource, verb) = right;
        role.without(right)?;
        let agent = restart(fixture)?;
        let what = || format!("without the right to {verb} {resource}");
        if resource == "events" {
            until_told(&["cannot send Events", &format!("cannot {verb} resource \"events\"")], || {
                fixture.log(&agent)
            })
            .with_context(what)?;
        } else {
            let parts = ["problem:", &format!("verb \"{verb}\""), &format!("resource \"{resource}\"")];
            until_told(&parts, || fixture.penstock(&agent, &["status"])).with_context(what)?;
        }
        role.set(&role.rules)?;
        // The next attempt at what is not needed to serve may come later than the word that the agent serves.
        let mut status = String::new();
        until("the agent serves and names no problem", || {
            status = fixture.penstock(&agent, &["status"])?;
            Ok(status.contains(", synced") && !status.contains("problem:"))
        })
        .with_context(|| {
            format!("the right to {verb} {resource} is back, and the agent still says:\n{status}")
        })?;
    }
    Ok(())
}

#[test]
fn each_right_that_is_taken_away_is_named_and_its_return_is_enough() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::alone();
    let role = Role::of(&fixture)?;
    assert!(role.rights().len() > 8, "{:?}", role.rights());
    each_is_named(&fixture, &role, &["watch", "create"])?;
    drop(role);
    fixture.rolled_out()
}

#[test]
fn where_the_server_streams_no_lists_the_right_to_list_is_named_too() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::alone();
    let role = Role::of(&fixture)?;
    let server = fixture.cluster.control_plane();
    let start_with = |arguments: &[&str]| {
        // Otherwise it waits for its watches to end.
        server.api_server().end(Signal::SIGKILL)?;
        server.api_server().start_with(arguments)?;
        server.wait_ready()
    };
    start_with(&[PAGES_ONLY])?;
    let named = each_is_named(&fixture, &role, &["list"]);
    drop(role);
    start_with(&[])?;
    named?;
    fixture.rolled_out()
}

#[test]
fn an_account_without_any_right_leaves_what_is_served_alone() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::alone();
    let traffic = super::traffic::Traffic::start(&fixture.cluster, "rights")?;
    let role = Role::of(&fixture)?;
    role.set(&json!([]))?;
    let agent = restart(&fixture)?;
    until_told(&["problem:", "must allow verb"], || fixture.penstock(&agent, &["status"]))?;
    traffic.goes_on().context("without any right")?;
    drop(role);
    fixture.rolled_out()?;
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:penstock");
    fixture.cluster.kubectl(&["auth", "can-i", "watch", "services", &account])?;
    traffic.stop().map(drop)
}
