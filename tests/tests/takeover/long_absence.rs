//! An API server that is away for an hour and comes back with other data, when the agents' tokens have long expired.
//!
//! ```text
//! cargo xtask test --tier takeover -- --ignored --nocapture without_an_api_server
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use penstock_tests::cluster::addresses::SECOND_API_PORT;
use penstock_tests::cluster::{Proxy, server, until};
use penstock_tests::needs;
use serde_json::{Value, json};

use super::api_server::follows;
use super::traffic::Traffic;
use super::world::{World, answer};

/// For another time than an hour, in seconds: to try the test itself. Tokens are valid for an hour and seven seconds.
const AWAY: &str = "PENSTOCK_TEST_AWAY";
/// Between a request of each client and its next one.
const PAUSE_MS: u64 = 1_000;
/// Without this, the API server believes the tokens of pods for a year, whatever they say of themselves.
const TOKENS_EXPIRE: &str = "--service-account-extend-token-expiration=false";
/// The most that an agent may say of one absence, in lines.
const LINES: usize = 40;
/// The most that an agent may grow by, in bytes.
const GROWTH: f64 = 10e6;
/// Services that others have made meanwhile.
const MADE: u8 = 100;

fn away() -> Result<Duration> {
    let seconds = std::env::var(AWAY).unwrap_or_else(|_| "3600".to_owned());
    Ok(Duration::from_secs(seconds.parse().with_context(|| format!("{AWAY} is no number of seconds"))?))
}

/// The agents' pods.
fn agents(world: &World) -> Result<Vec<Value>> {
    let pods = world.system(&["get", "pods", "-o", "json"])?;
    let pods: Value = serde_json::from_str(&pods)?;
    Ok(pods["items"].as_array().context("pods are a list")?.clone())
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

/// The memory of each node's agent, in bytes.
fn memory(world: &World) -> Result<Vec<f64>> {
    let resident = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        line.and_then(|value| value.parse().ok()).context("no metric of memory")
    };
    let nodes = world.cluster.nodes().iter();
    nodes.map(|node| resident(answer(node, "http://127.0.0.1:10249/metrics")?)).collect()
}

/// The lines that each agent has said until now.
fn lines(world: &World) -> Result<Vec<usize>> {
    agents(world)?.iter().map(|pod| Ok(world.system(&["logs", name(pod)])?.lines().count())).collect()
}

/// A Service and its slice, made by hand.
fn by_hand(name: &str, endpoint: &str) -> [Value; 2] {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": { "ports": [{ "name": "http", "port": 80 }] },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": format!("{name}-1"), "labels": { "kubernetes.io/service-name": name } },
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": [{ "addresses": [endpoint] }],
    });
    [service, slice]
}

fn list(objects: impl IntoIterator<Item = [Value; 2]>) -> String {
    let items: Vec<Value> = objects.into_iter().flatten().collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

/// Changes the data by way of an API server that no agent and no controller knows of.
fn change_behind_all_backs(world: &World) -> Result<()> {
    let control_plane = world.cluster.control_plane();
    control_plane.start_second_api_server()?;
    let server = format!("--server={}", server(SECOND_API_PORT));
    let kubectl = world.cluster.kubectl_handle();
    kubectl.run(&[&server, "delete", "service/goes", "endpointslice/goes-1"])?;
    let made = (1..=MADE).map(|i| by_hand(&format!("comes-{i}"), "10.99.0.2"));
    let changed = [by_hand("stays", "10.99.0.3")];
    kubectl.feed(&[&server, "apply", "-f", "-"], &list(made.chain(changed)))?;
    control_plane.second_api_server().end(Signal::SIGKILL)
}

#[test]
#[ignore = "takes more than an hour: its module says how to run it"]
fn an_hour_without_an_api_server_costs_no_request_and_then_what_has_changed_is_followed() -> Result<()> {
    needs!(Cluster);
    let away = away()?;
    let world = World::new(Proxy::Penstock)?;
    let control_plane = world.cluster.control_plane();
    control_plane.api_server().end(Signal::SIGKILL)?;
    control_plane.api_server().start_with(&[TOKENS_EXPIRE])?;
    control_plane.wait_ready()?;
    // With tokens that expire.
    world.system(&["rollout", "restart", "daemonset/penstock"])?;
    world.system(&["rollout", "status", "daemonset/penstock", "--timeout=5m"])?;
    world.cluster.apply(&list(["goes", "stays"].map(|name| by_hand(name, "10.99.0.1"))))?;
    follows(&world)?;
    world.served()?;
    let mut traffic = Traffic::start_every(&world, PAUSE_MS)?;
    let (pods, memory_before, lines_before) = (agents(&world)?, memory(&world)?, lines(&world)?);

    traffic.step("while the API server is away");
    control_plane.api_server().end(Signal::SIGKILL)?;
    let begin = Instant::now();
    while begin.elapsed() < away {
        std::thread::sleep(Duration::from_secs(60).min(away.saturating_sub(begin.elapsed())));
        traffic.goes_on()?;
        println!("{:?}: {:?} bytes", begin.elapsed(), memory(&world)?);
    }
    let memory_after = memory(&world)?;
    change_behind_all_backs(&world)?;

    traffic.step("with the API server back");
    control_plane.api_server().start_with(&[TOKENS_EXPIRE])?;
    control_plane.wait_ready()?;
    let back = Instant::now();
    follows(&world)?;
    println!("followed after {:?}", back.elapsed());
    for pod in &pods {
        until(&format!("{} is well", name(pod)), || {
            let status = world.system(&["exec", name(pod), "--", "penstock", "status", "-o", "json"])?;
            let status: Value = serde_json::from_str(&status)?;
            Ok(status["source_problems"] == json!([]))
        })?;
    }
    traffic.goes_on()?;
    println!("{} requests, none has failed", traffic.stop()?);

    for (before, after) in pods.iter().zip(agents(&world)?) {
        ensure!(before["metadata"]["uid"] == after["metadata"]["uid"], "{} is another pod", name(&after));
        let restarts = &after["status"]["containerStatuses"][0]["restartCount"];
        ensure!(*restarts == 0, "{} was restarted {restarts} times", name(&after));
    }
    for (before, after) in memory_before.iter().zip(memory_after) {
        ensure!(after - before < GROWTH, "an agent has grown from {before} to {after} bytes");
    }
    let said: Vec<_> =
        lines_before.iter().zip(lines(&world)?).map(|(before, after)| after - before).collect();
    println!("said {said:?} lines");
    ensure!(said.iter().all(|count| *count <= LINES), "the agents have said {said:?} lines");
    Ok(())
}
