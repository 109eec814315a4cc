//! The agent against a real API server that ends, hangs, forgets, refuses and is not who it should be. Needs root rights and the
//! programs of Kubernetes.

mod bad_input;
mod credentials;
mod fixture;
mod own_node;
mod two_servers;

use anyhow::Result;
use nix::sys::signal::Signal;
use penstock_tests::needs;
use serde_json::json;

use fixture::{FIRST, NAME, api};

/// The Service that the API servers make for themselves.
const OWN: &str = "default/kubernetes:https";

#[test]
fn while_the_api_server_is_gone_everything_stays_and_then_what_changed_is_followed() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    let agent = api.agent()?;
    agent.service("stays", 3)?;
    agent.wait_backends("default/stays:http", Some(3))?;
    agent.api.server().end(Signal::SIGKILL)?;
    agent.wait_problem(&[FIRST, "refused"])?;
    assert_eq!(agent.backends("default/stays:http")?, Some(3));
    assert_eq!(agent.backends(OWN)?, Some(1));
    agent.api.server().start()?;
    agent.api.cluster.control_plane().wait_ready()?;
    agent.service("stays", 2)?;
    agent.wait_backends("default/stays:http", Some(2))?;
    agent.wait_well()?;
    agent.end()
}

#[test]
fn an_api_server_that_withdraws_itself_stays_the_backend_of_its_service() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    let agent = api.agent()?;
    agent.wait_backends(OWN, Some(1))?;
    // What a server that ends does first; the slice follows, and comes back with the server.
    let slice = ["get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints}"];
    agent.api.cluster.kubectl(&[
        "patch",
        "endpointslices",
        "kubernetes",
        "--type=merge",
        "-p",
        r#"{"endpoints": []}"#,
    ])?;
    agent.service("behind", 1)?;
    agent.wait_backends("default/behind:http", Some(1))?;
    assert_eq!(agent.backends(OWN)?, Some(1));
    penstock_tests::lab::wait_until("the server is back in its slice", fixture::LIMIT, || {
        Ok(agent.api.cluster.kubectl(&slice)?.contains("addresses"))
    })?;
    assert_eq!(agent.backends(OWN)?, Some(1));
    agent.end()
}

#[test]
fn an_api_server_that_hangs_is_noticed_and_its_problem_clears_once_it_goes_on() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    let agent = api.agent()?;
    agent.service("hangs", 2)?;
    agent.wait_backends("default/hangs:http", Some(2))?;
    agent.api.server().pause()?;
    let noticed = agent.wait_problem(&[FIRST, "no connection within"]);
    agent.api.server().resume()?;
    noticed?;
    agent.wait_well()?;
    assert_eq!(agent.backends("default/hangs:http")?, Some(2));
    agent.end()
}

#[test]
fn an_api_server_that_has_lost_its_store_is_believed() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    let agent = api.agent()?;
    agent.service("lost", 2)?;
    agent.wait_backends("default/lost:http", Some(2))?;
    agent.api.cluster.control_plane().empty()?;
    // The account went with everything else; the token of before names another one, so credentials are refused.
    agent.wait_problem(&["credentials"])?;
    assert_eq!(agent.backends("default/lost:http")?, Some(2));
    agent.end()?;
    let agent = api.agent()?;
    agent.wait_backends("default/lost:http", None)?;
    agent.wait_backends(OWN, Some(1))?;
    agent.end()
}

#[test]
fn without_streaming_lists_the_agent_reads_pages() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    api.restart_with(&["--feature-gates=WatchList=false"])?;
    let agent = api.agent()?;
    agent.service("paged", 2)?;
    agent.wait_backends("default/paged:http", Some(2))?;
    assert!(agent.said()?.contains("no streaming list"), "{}", agent.said()?);
    agent.end()?;
    api.restart_with(&[])
}

#[test]
fn each_missing_right_is_named_with_verb_resource_and_role() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    let resources = [
        ("", "services"),
        ("", "nodes"),
        ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "servicecidrs"),
    ];
    for missing in resources {
        api.account()?;
        let rules: Vec<_> = resources
            .iter()
            .map(|(group, resource)| {
                let verbs: &[&str] = if *resource == missing.1 { &["list"] } else { &["list", "watch"] };
                json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
            })
            .collect();
        let patch = json!({"rules": rules}).to_string();
        api.cluster.kubectl(&["patch", "clusterrole", NAME, "--type=merge", "-p", &patch])?;
        let kubeconfig = api.kubeconfig(None)?;
        let agent = api.agent_with(&kubeconfig)?;
        let (verb, resource) = (r#"verb "watch""#, format!("resource {:?}", missing.1));
        agent.wait_problem(&["ClusterRole", NAME, verb, &resource, &format!("{:?}", missing.0)])?;
        // The right is given back, and nobody has to restart anything.
        agent.api.account()?;
        agent.wait_well()?;
        agent.wait("the agent has synced", |status| status["synced"] == true)?;
        agent.end()?;
    }
    Ok(())
}

#[test]
fn a_server_of_another_authority_is_refused_by_name() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    api.account()?;
    // A certificate of this cluster, but of no authority.
    let other = api.cluster.run().directory().join("pki/admin.crt");
    let kubeconfig = api.kubeconfig(Some(&other))?;
    let agent = api.agent_with(&kubeconfig)?;
    agent.wait_problem(&[FIRST, "certificate is not accepted"])?;
    agent.end()
}
