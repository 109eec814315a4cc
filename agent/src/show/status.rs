//! `penstock status`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use penstock_abi::Counter;
use penstock_kernel::attach::{Attacher, DeviceMode};
use penstock_kernel::node::NodeNet;
use penstock_kernel::{Lock, Tables, memory};
use serde::Serialize;

use super::render::{Row, json, line, table};
use crate::agent::AgentStatus;
use crate::cli::{Output, Places};
use crate::observe::Listener;
use crate::{runtime, usage};

/// Everything that is known of Penstock on this node.
#[derive(Serialize)]
struct Report {
    /// The process that serves this node, if one does.
    running: Option<u32>,
    /// What the agent, or the last one there was, said of itself. It has synced only where it still runs.
    #[serde(flatten)]
    agent: Option<AgentStatus>,
    /// Why the tables cannot be read.
    tables_problem: Option<String>,
    tables: Vec<TableRow>,
    programs: Vec<ProgramRow>,
    counters: BTreeMap<&'static str, u64>,
}

/// One table.
#[derive(Serialize)]
struct TableRow {
    table: &'static str,
    used: Option<u64>,
    size: u32,
    memory: u64,
}

impl Row for TableRow {
    const TITLES: &'static [&'static str] = &["TABLE", "#USED", "#SIZE", "#KiB"];

    fn cells(&self) -> Vec<String> {
        let used = self.used.map_or_else(|| "-".into(), |used| used.to_string());
        vec![self.table.into(), used, self.size.to_string(), self.memory.div_ceil(1_024).to_string()]
    }
}

/// One attached program.
#[derive(Serialize)]
struct ProgramRow {
    program: &'static str,
    device: Option<String>,
    alive: bool,
}

impl Row for ProgramRow {
    const TITLES: &'static [&'static str] = &["PROGRAM", "AT", "STATE"];

    fn cells(&self) -> Vec<String> {
        let state = if self.alive { "attached" } else { "gone" };
        vec![self.program.into(), self.device.clone().unwrap_or_else(|| "cgroup".into()), state.into()]
    }
}

pub(super) fn show(places: &Places, output: Output) -> Result<()> {
    let report = report(places)?;
    line(&match output {
        Output::Json => json(&report)?,
        Output::Table => in_words(&report),
    })
}

fn report(places: &Places) -> Result<Report> {
    let running = Lock::holder(&places.run_dir);
    let mut agent = AgentStatus::read(&places.run_dir)?;
    if let Some(agent) = &mut agent {
        // What an agent said that has ended is no news of the one that runs and has said nothing yet.
        agent.synced &= running == Some(agent.pid);
    }
    let mut report = Report {
        running,
        agent,
        tables_problem: None,
        tables: Vec::new(),
        programs: Vec::new(),
        counters: BTreeMap::new(),
    };
    let result = match report.agent.as_ref().map(|agent| agent.schema) {
        Some(schema) if schema != places.schema => {
            Err(anyhow!("the tables are of schema {schema}, this command reads schema {}", places.schema))
        }
        _ => look(places, &mut report),
    };
    if let Err(error) = result {
        if report.agent.is_none() {
            bail!(error);
        }
        report.tables_problem = Some(format!("{error:#}"));
    }
    Ok(report)
}

/// What the kernel says.
fn look(places: &Places, report: &mut Report) -> Result<()> {
    let pins = super::pins(places);
    let tables = Tables::open(&pins)?;
    let used = usage::all(&tables, usage::flows(&tables)?)?;
    for map in memory(&pins)? {
        let used = used.get(map.name).map(|usage| usage.used);
        report.tables.push(TableRow { table: map.name, used, size: map.elements, memory: map.bytes });
    }
    for counter in Counter::ALL {
        report.counters.insert(counter.label(), tables.counters.get(*counter as u32)?);
    }
    let runtime = runtime::new()?;
    let net = runtime.block_on(NodeNet::read())?;
    let attacher = Attacher::new(&pins, DeviceMode::Tcx);
    let attached = runtime.block_on(attacher.attached()).context("read the links")?;
    for attachment in attached {
        let device = attachment.ifindex.map(|ifindex| match net.devices.get(&ifindex) {
            Some(device) => device.name.clone(),
            None => format!("device {ifindex}"),
        });
        report.programs.push(ProgramRow { program: attachment.hook.name(), device, alive: attachment.alive });
    }
    report.programs.sort_by(|a, b| (&a.device, a.program).cmp(&(&b.device, b.program)));
    Ok(())
}

fn in_words(report: &Report) -> String {
    let mut lines = vec![match (report.running, report.agent.as_ref().is_some_and(|agent| agent.synced)) {
        (Some(pid), true) => format!("agent: running, pid {pid}, synced"),
        (Some(pid), false) => format!("agent: running, pid {pid}, not synced yet"),
        (None, _) => "agent: not running".to_owned(),
    }];
    if let Some(agent) = &report.agent {
        let cgroup = agent.cgroup.as_ref().map_or_else(|| "off".into(), |path| path.display().to_string());
        lines.push(format!("node: {}, {} addresses of pods", agent.node, agent.pods));
        lines.push(format!("source: {}, {} objects ignored", agent.source, agent.ignored_objects));
        if !agent.service_cidrs.is_empty() {
            lines.push(format!("services from: {}", agent.service_cidrs.join(", ")));
        }
        lines.push(format!("version: {}, schema {}", agent.version, agent.schema));
        lines.push(format!("devices: {}, uplinks {}", agent.attach, agent.uplinks.join(", ")));
        lines.push(format!("sockets: {cgroup}"));
        lines.extend(agent.servers.iter().map(|listener| server(listener, report.running.is_some())));
        lines.push(match agent.node_eligible {
            Some(true) => "load balancers: may send to this node".into(),
            Some(false) => "load balancers: should not send to this node, which is being removed".into(),
            None => "load balancers: should not send to this node, whose Node object was not seen".into(),
        });
        if !agent.kube_proxy.is_empty() {
            lines.push(format!("kube-proxy: {}", agent.kube_proxy));
        }
        lines.extend(agent.node_problem.iter().map(|problem| format!("problem: {}: {problem}", agent.node)));
        lines.extend(agent.source_problems.iter().map(|problem| format!("problem: {problem}")));
        lines.extend(agent.failures.iter().map(|failure| format!("failure: {failure}")));
    }
    if let Some(problem) = &report.tables_problem {
        lines.push(format!("tables: {problem}"));
    }
    if !report.tables.is_empty() {
        lines.extend([String::new(), table(&report.tables)]);
    }
    if !report.programs.is_empty() {
        lines.extend([String::new(), table(&report.programs)]);
    }
    let counted: Vec<_> = report.counters.iter().filter(|(_, count)| **count > 0).collect();
    if !counted.is_empty() {
        lines.push(String::new());
        lines.extend(counted.into_iter().map(|(name, count)| format!("{name}: {count}")));
    }
    lines.join("\n")
}

fn server(listener: &Listener, running: bool) -> String {
    let Listener { server, address, problem } = listener;
    match problem {
        _ if !running => format!("{server}: not served"),
        None => format!("{server}: served at {address}"),
        Some(problem) => format!("{server}: not served at {address}: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use penstock_abi::maps;

    use super::*;
    use crate::observe::Server;

    fn report(agent: AgentStatus) -> Report {
        Report {
            running: None,
            agent: Some(agent),
            tables_problem: Some("gone".into()),
            tables: vec![TableRow { table: maps::SLOTS, used: Some(30), size: 100, memory: 2_000 }],
            programs: vec![ProgramRow { program: "connect4", device: None, alive: true }],
            counters: [("port-clash", 2), ("event-lost", 0)].into(),
        }
    }

    #[test]
    fn a_report_tells_problems_tables_programs_and_what_was_counted() {
        let agent = AgentStatus {
            node: "n1".into(),
            node_problem: Some("no podCIDRs".into()),
            source_problems: vec!["a.yaml: line 3".into()],
            ..AgentStatus::default()
        };
        let text = in_words(&report(agent));
        for part in [
            "agent: not running",
            "problem: n1: no podCIDRs",
            "problem: a.yaml: line 3",
            "tables: gone",
            "slots    30   100    2",
            "connect4  cgroup  attached",
            "port-clash: 2",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("event-lost"));
    }

    #[test]
    fn servers_and_eligibility_are_told_with_what_keeps_a_server_from_its_address() {
        let listener = |server, address: &str, problem: Option<&str>| Listener {
            server,
            address: address.parse().unwrap(),
            problem: problem.map(str::to_owned),
        };
        let agent = AgentStatus {
            node_eligible: Some(false),
            servers: vec![
                listener(Server::Health, "0.0.0.0:10256", None),
                listener(Server::Metrics, "127.0.0.1:10249", Some("the port is taken")),
            ],
            ..AgentStatus::default()
        };
        let text = in_words(&Report { running: Some(7), ..report(agent) });
        for part in [
            "health: served at 0.0.0.0:10256",
            "metrics: not served at 127.0.0.1:10249: the port is taken",
            "load balancers: should not send",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }

    #[test]
    fn json_has_each_field_once_at_the_top() {
        let agent = AgentStatus { ignored_objects: 1, ..AgentStatus::default() };
        let text = json(&report(agent)).unwrap();
        assert_eq!(text.matches("\"synced\"").count(), 1, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["synced"], &value["ignored_objects"]), (&false.into(), &1.into()));
        assert_eq!(value["tables"][0]["used"], 30);
    }
}
