//! A token that is no longer valid, and the file in which its successor comes: as kubelet brings it to a pod, late where the API
//! server was away.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use penstock_tests::cluster::NAMESPACE;
use penstock_tests::needs;
use serde_json::json;

use super::fixture::{Api, api};

/// Replaces a file as kubelet does: whoever reads it sees the old one or the new one.
fn replace(file: &Path, text: &str) -> Result<()> {
    let next = file.with_extension("next");
    fs::write(&next, text).with_context(|| format!("writing {}", next.display()))?;
    fs::rename(&next, file).with_context(|| format!("renaming {}", next.display()))
}

/// A token that is valid while a Secret of this name is there.
fn bound_token(api: &Api, secret: &str) -> Result<String> {
    api.cluster.kubectl(&["create", "secret", "generic", secret, "--namespace", NAMESPACE])?;
    api.token(&["--bound-object-kind=Secret", &format!("--bound-object-name={secret}")])
}

/// Makes tokens invalid that are bound to this Secret, also to a server that remembers them, and ends every watch.
fn revoke(api: &Api, secret: &str) -> Result<()> {
    api.cluster.kubectl(&["delete", "secret", secret, "--namespace", NAMESPACE])?;
    api.restart_with(&[])
}

fn token_file(api: &Api) -> PathBuf {
    api.cluster.run().directory().join("token")
}

#[test]
fn a_token_that_is_renewed_in_its_file_late_or_in_time_is_taken_up() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    api.account()?;
    let file = token_file(&api);
    replace(&file, &bound_token(&api, "token-1")?)?;
    let kubeconfig = api.kubeconfig_of(&json!({"tokenFile": file}), None)?;
    let agent = api.agent_with(&kubeconfig)?;
    agent.wait("the agent has synced", |status| status["synced"] == true)?;
    agent.service("renewed", 3)?;
    agent.wait_backends("default/renewed:http", Some(3))?;

    // In time: the old one is valid until the new one is there.
    replace(&file, &bound_token(agent.api, "token-2")?)?;
    revoke(agent.api, "token-1")?;
    agent.service("renewed", 2)?;
    agent.wait_backends("default/renewed:http", Some(2)).context("with a token that came in time")?;
    agent.wait_well()?;

    // Late: what is refused is said, and served on.
    let next = bound_token(agent.api, "token-3")?;
    revoke(agent.api, "token-2")?;
    agent.wait_problem(&["credentials"])?;
    agent.service("renewed", 1)?;
    assert_eq!(agent.backends("default/renewed:http")?, Some(2));
    replace(&file, &next)?;
    agent.wait_backends("default/renewed:http", Some(1)).context("with a token that came late")?;
    agent.wait_well()?;
    agent.end()
}
