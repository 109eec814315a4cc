//! The operator's commands: they read the pinned tables, whether an agent runs or not.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use penstock_tests::lab::{Family, Node, Protocol, Service};
use penstock_tests::needs;
use penstock_tests::probe::{Ask, Style};
use serde_json::Value;

use crate::fixture::{Fixture, of_packets, served_by};

/// The rows that a command prints as JSON.
fn rows(node: &Node, command: &[&str]) -> Result<Vec<Value>> {
    let text = node.penstock(&[command, &["-o", "json"]].concat())?;
    let rows: Value = serde_json::from_str(&text).with_context(|| format!("{command:?} printed {text}"))?;
    rows.as_array().cloned().with_context(|| format!("{command:?} printed no list"))
}

fn everything_is_listed(fixture: &Fixture, service: &Service) -> Result<()> {
    let node = fixture.lab.node(1);
    for family in Family::BOTH {
        let vip = service.ip(family).to_string();
        let services = rows(node, &["service", "list"])?;
        let ours: Vec<_> = services.iter().filter(|row| row["address"] == vip).collect();
        assert_eq!(ours.len(), 2, "a row for TCP and one for UDP: {services:#?}");
        assert!(ours.iter().all(|row| row["backends"] == 2 && row["port"] == 80), "{ours:#?}");
        assert!(
            ours.iter()
                .all(|row| row["service"].as_str().is_some_and(|name| name.contains("default/listed")))
        );

        let backends = rows(node, &["backend", "list"])?;
        for pod in [&fixture.near, &fixture.far] {
            let address = pod.ip(family).to_string();
            let ours = backends.iter().filter(|row| row["address"] == address && row["port"] == 8080);
            assert_eq!(ours.count(), 2, "a row for TCP and one for UDP: {backends:#?}");
        }

        let flows = node.penstock(&["flow", "list", "--address", &vip])?;
        assert!(flows.contains(&fixture.client.ip(family).to_string()), "{flows}");
        for command in [&["service", "list"][..], &["backend", "list"]] {
            let table = node.penstock(command)?;
            assert!(table.contains("default/listed"), "{table}");
        }
    }
    assert!(!rows(node, &["drops"])?.is_empty());
    Ok(())
}

#[test]
fn services_backends_flows_and_drops_are_listed_whether_an_agent_runs_or_not() -> Result<()> {
    needs!(Agent);
    let fixture = of_packets()?;
    let service = fixture.service("listed", &[&fixture.near, &fixture.far])?;
    for family in Family::BOTH {
        served_by(
            &fixture.client,
            &Ask::new(service.address(family, Protocol::Tcp), Style::TcpEach).times(4),
        )?;
    }
    everything_is_listed(&fixture, &service).context("while an agent runs")?;
    let node = fixture.lab.node(1);
    node.end_agent(Signal::SIGKILL)?;
    everything_is_listed(&fixture, &service).context("without an agent")?;
    let status: Value = serde_json::from_str(&node.penstock(&["status", "-o", "json"])?)?;
    assert_eq!((&status["synced"], &status["running"]), (&Value::Bool(false), &Value::Null));
    Ok(())
}
