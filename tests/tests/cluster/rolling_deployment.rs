//! A Deployment that is rolled under load, as its users do it.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::until;
use penstock_tests::lab::Family;
use penstock_tests::needs;
use serde_json::json;

use super::fixture::{self, TIMEOUT};
use super::namespace::Namespace;
use super::objects::{HTTP, UDP, service};

/// Asks until its flag is gone: a line for each request, the pod's name or what went wrong.
fn script(family: Family, flag: &str) -> String {
    let option = if family == Family::V4 { "-4" } else { "-6" };
    format!(
        "touch {flag}; while [ -e {flag} ]; do \
         curl --silent --show-error --max-time 10 {option} http://web/hostname 2>&1 || echo \" failed: $?\"; echo; sleep 0.02; done"
    )
}

#[test]
fn a_deployment_rolls_under_load_and_every_request_is_answered() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let namespace = Namespace::new(&fixture.cluster, "rolling")?;
    // A server goes on for a while after it is on its way out: until then every node has heard of it.
    let graceful = json!({ "terminationGracePeriodSeconds": 30 });
    let mut web = namespace.deployment("web", 3, &graceful);
    web["spec"]["template"]["spec"]["containers"][0]["lifecycle"] =
        json!({ "preStop": { "sleep": { "seconds": 5 } } });
    namespace.apply(&[
        namespace.client("client-1", "n1")?,
        namespace.client("client-2", "n2")?,
        web,
        service("web", "web", HTTP, UDP),
    ])?;
    namespace.ready("app")?;

    let mut loads = Vec::new();
    for pod in ["client-1", "client-2"] {
        for family in Family::BOTH {
            let flag = format!("/tmp/{family:?}");
            let once = super::clients::Client { namespace: &namespace, pod };
            until("the Service answers", || Ok(!once.http(family, "web", 80)?.is_empty()))?;
            let mut command = namespace.command(pod, &["sh", "-c", &script(family, &flag)]);
            let load =
                command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting kubectl")?;
            loads.push((pod, flag, load));
        }
    }
    namespace.kubectl(&["rollout", "restart", "deployment/web"])?;
    namespace.kubectl(&["rollout", "status", "deployment/web", TIMEOUT])?;
    // The last of the former pods is gone, not only on its way.
    until("only the new pods are there", || {
        let pods = namespace.get("pods")?;
        let pods = pods["items"].as_array().context("kubectl gave no list")?;
        Ok(pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == "web").count() == 3)
    })?;
    for (pod, flag, load) in loads {
        namespace.exec(pod, &["rm", &flag])?;
        let output = load.wait_with_output().context("waiting for kubectl")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        let failed: Vec<_> = lines.iter().filter(|line| !line.starts_with("web-")).collect();
        ensure!(
            failed.is_empty(),
            "{} of {} requests of {pod} failed: {failed:?}",
            failed.len(),
            lines.len()
        );
        let mut names = lines.clone();
        names.sort_unstable();
        names.dedup();
        ensure!(names.len() > 3, "{pod} saw no other pods than {names:?} in {} requests", lines.len());
    }
    Ok(())
}
