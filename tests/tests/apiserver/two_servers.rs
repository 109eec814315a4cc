//! Two API servers over one store, of which one or the other is gone.

use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use penstock_tests::needs;

use super::fixture::{Agent, Api, FIRST, SECOND, api};

/// Changes that are made while a server ends.
const CHANGES: u8 = 6;

/// Makes Services by way of `stays`, one after the other, while `ends` ends, and waits until the agent has them all.
fn changes_meanwhile(
    agent: &Agent<'_>,
    prefix: &str,
    stays: &str,
    ends: impl Fn() -> Result<()>,
) -> Result<()> {
    let name = |i| format!("{prefix}-{i}");
    thread::scope(|scope| {
        let changes = scope.spawn(|| (1..=CHANGES).try_for_each(|i| agent.service_by(stays, &name(i), i)));
        agent.wait_backends(&format!("default/{}:http", name(2)), Some(2))?;
        ends()?;
        changes.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    for i in 1..=CHANGES {
        agent.wait_backends(&format!("default/{}:http", name(i)), Some(i.into()))?;
    }
    Ok(())
}

/// An agent that knows of both servers.
fn agent_of_both(api: &mut Api) -> Result<Agent<'_>> {
    api.account()?;
    let kubeconfig = api.kubeconfig(None)?;
    let node = api.cluster.node(1).name();
    let agent = api.agent_of(&node, &kubeconfig, &["--apiserver", FIRST, "--apiserver", SECOND])?;
    agent.wait("the agent has synced", |status| status["synced"] == true)?;
    Ok(agent)
}

#[test]
fn of_two_api_servers_the_agent_follows_the_one_that_is_there_under_changes() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    api.cluster.control_plane().start_second_api_server()?;
    let agent = agent_of_both(&mut api)?;
    let control_plane = agent.api.cluster.control_plane();

    let ends = || control_plane.api_server().end(Signal::SIGKILL);
    changes_meanwhile(&agent, "first-ends", SECOND, ends).context("as the first server ends")?;
    agent.wait_well().context("with the second server alone")?;
    assert!(agent.said()?.contains("asking another server"), "{}", agent.said()?);

    control_plane.api_server().start()?;
    control_plane.wait_ready()?;
    let ends = || control_plane.second_api_server().end(Signal::SIGKILL);
    changes_meanwhile(&agent, "second-ends", FIRST, ends).context("as the second server ends")?;
    agent.wait_well().context("with the first server alone")?;

    control_plane.api_server().end(Signal::SIGKILL)?;
    agent.wait_problem(&[FIRST, SECOND]).context("with none")?;
    assert_eq!(agent.backends("default/first-ends-2:http")?, Some(2));
    control_plane.api_server().start()?;
    control_plane.wait_ready()?;
    agent.wait_well()?;
    agent.end()
}
