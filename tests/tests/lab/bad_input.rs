//! What an agent says and does where its input, its rights or its node are not as they should be.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use penstock_tests::lab::{
    AgentOptions, Family, Lab, Node, Pod, Process, Protocol, Runs, Service, ServicePort, wait_until,
};
use penstock_tests::needs;
use penstock_tests::probe::{Ask, Serve, Style};

/// A node with an agent, a client and a server.
struct Small {
    client: Pod,
    server: Pod,
    _process: Process,
    lab: Lab,
}

impl Small {
    fn new(options: &AgentOptions) -> Result<Self> {
        let lab = Lab::new(1)?;
        let (client, server) = (lab.node(1).pod("client")?, lab.node(1).pod("server")?);
        let process = server.serve(&Serve::on("server", 8080))?;
        lab.start_agents(options)?;
        Ok(Self { client, server, _process: process, lab })
    }

    fn node(&self) -> &Node {
        self.lab.node(1)
    }

    fn service(&self, name: &str) -> Service {
        self.lab.service(name, &[ServicePort::tcp(80, 8080)]).with([&self.server])
    }

    fn answers(&self, service: &Service) -> Result<bool> {
        let ask =
            Ask { timeout_ms: 200, ..Ask::new(service.address(Family::V4, Protocol::Tcp), Style::TcpEach) };
        Ok(self.client.ask(&ask)?.iter().all(|answer| answer.is_ok()))
    }

    fn wait_served(&self, service: &Service) -> Result<()> {
        wait_until(&format!("{} is served", service.name), Duration::from_secs(10), || self.answers(service))
    }

    /// Waits for a line of the agent's log that has all these words.
    fn wait_log(&self, words: &[&str]) -> Result<()> {
        let log = || Ok::<_, anyhow::Error>(std::fs::read_to_string(self.node().agent_log())?);
        wait_until(&format!("the agent has logged {words:?}"), Duration::from_secs(10), || {
            Ok(log()?.lines().any(|line| words.iter().all(|word| line.contains(word))))
        })
        .with_context(|| format!("its log:\n{}", log().unwrap_or_default()))
    }
}

fn arguments(words: &[&str]) -> AgentOptions {
    AgentOptions {
        arguments: words.iter().map(|word| (*word).to_owned()).collect(),
        ..AgentOptions::default()
    }
}

/// Runs an agent that is expected to give up, and gives what it said.
fn refusal(node: &Node, mut command: std::process::Command) -> Result<String> {
    let log = node.agent_log().with_extension("refused");
    let file = std::fs::File::create(&log)?;
    let child = command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let mut process = Process::adopt(child, "the agent that is to be refused");
    let status = process.wait(Duration::from_secs(20))?;
    assert!(!status.success(), "the agent ended as if all were well");
    Ok(std::fs::read_to_string(&log)?)
}

#[test]
fn a_malformed_manifest_is_named_with_line_and_field_and_the_other_objects_go_on() -> Result<()> {
    needs!(Agent);
    let small = Small::new(&AgentOptions::default())?;
    let malformed = small.service("malformed").manifest().replace("port: 80,", "port: eighty,");
    let line = malformed.lines().position(|line| line.contains("eighty")).context("no such line")? + 1;
    let good = small.service("good");
    // In the same file, behind the object that cannot be read.
    small.lab.write("mixed", &format!("{malformed}---\n{}", good.manifest()))?;
    small.wait_log(&["mixed.yaml", &line.to_string(), "spec.ports[0].port"])?;
    small.wait_served(&good)
}

#[test]
fn an_object_of_an_unknown_kind_is_ignored_and_counted() -> Result<()> {
    needs!(Agent);
    let small = Small::new(&AgentOptions::default())?;
    let good = small.service("good");
    let unknown = "apiVersion: v1\nkind: Sandwich\nmetadata:\n  name: lunch\n";
    small.lab.write("mixed", &format!("{unknown}---\n{}", good.manifest()))?;
    small.wait_served(&good)?;
    let status: serde_json::Value = serde_json::from_str(&small.node().penstock(&["status", "-o", "json"])?)?;
    assert_eq!(status["ignored_objects"], 1, "{status}");
    Ok(())
}

#[test]
fn the_older_of_two_services_keeps_an_address_that_both_claim() -> Result<()> {
    needs!(Agent);
    let small = Small::new(&AgentOptions::default())?;
    let stamped = |service: &Service, time: &str| {
        let stamp = format!("  namespace: default\n  creationTimestamp: \"{time}\"\nspec:");
        service.manifest().replacen("  namespace: default\nspec:", &stamp, 1)
    };
    let older = small.service("older");
    let mut newer = Service { name: "newer".to_owned(), ..older.clone() };
    newer.endpoints.clear();
    // The newer one first: it is not the order of arrival that counts.
    small.lab.write("newer", &stamped(&newer, "2026-01-02T00:00:00Z"))?;
    small.lab.write("older", &stamped(&older, "2026-01-01T00:00:00Z"))?;
    small.wait_served(&older)?;
    small.wait_log(&["default/older", "default/newer", &older.ip4.to_string()])
}

#[test]
fn endpoints_may_come_before_their_service() -> Result<()> {
    needs!(Agent);
    let small = Small::new(&AgentOptions::default())?;
    let service = small.service("late");
    let manifest = service.manifest();
    let (head, slices) = manifest.split_once("---\n").context("one document only")?;
    small.lab.write("slices", slices)?;
    small.wait_log(&[])?;
    small.lab.write("service", head)?;
    small.wait_served(&service)
}

#[test]
fn a_full_table_is_named_with_its_size_and_the_old_state_is_still_served() -> Result<()> {
    needs!(Agent);
    // Index 0 is never given out: three are left, and a Service takes one for each family.
    let small = Small::new(&arguments(&["--max-services", "4"]))?;
    let (first, second) = (small.service("first"), small.service("second"));
    small.lab.apply(&first)?;
    small.wait_served(&first)?;
    small.lab.apply(&second)?;
    small.wait_log(&["services", "4"])?;
    assert!(small.answers(&first)?);
    // Room is made: what did not fit is served without a restart.
    small.lab.delete("first")?;
    small.wait_served(&second)
}

#[test]
fn a_second_agent_on_a_node_is_refused_with_the_process_id_of_the_first() -> Result<()> {
    needs!(Agent);
    let small = Small::new(&AgentOptions::default())?;
    let said = refusal(small.node(), small.node().agent_command(&AgentOptions::default())?)?;
    let first = small.node().agent_pid().context("there is no agent")?;
    assert!(said.contains(&first.to_string()), "{said}");
    small.node().wait_synced()
}

#[test]
fn an_agent_without_rights_names_the_capability_that_it_lacks() -> Result<()> {
    needs!(Agent);
    let lab = Lab::new(1)?;
    let node = lab.node(1);
    let agent = node.agent_command(&AgentOptions::default())?;
    let mut command = node.command("setpriv");
    // CAP_SYS_ADMIN implies CAP_BPF, so both go.
    command.args(["--bounding-set", "-bpf,-sys_admin", "--inh-caps", "-bpf,-sys_admin", "--"]);
    command.arg(agent.get_program()).args(agent.get_args());
    let said = refusal(node, command)?;
    assert!(said.contains("CAP_BPF"), "{said}");
    Ok(())
}

#[test]
fn an_agent_without_a_bpffs_mounts_one() -> Result<()> {
    needs!(Agent);
    let small = Small::new(&arguments(&["--bpffs", "/run/bpf"]))?;
    let mounts = small.node().output(&["cat", "/proc/self/mounts"])?;
    assert!(mounts.lines().any(|line| line.contains(" /run/bpf bpf ")), "{mounts}");
    small.node().end_agent(Signal::SIGTERM)?;
    Ok(())
}
