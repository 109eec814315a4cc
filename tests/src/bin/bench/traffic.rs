//! Connections and requests per second from pod to pod on one node, over several paths that differ in nothing else.
//!
//! Each path is a lab of its own, all of them up at one time. A round measures every path once, so that a figure and what it
//! is compared with are neighbours in time; what is reported are ratios within rounds. Both ends run on one CPU.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use penstock_abi::{Counter, FrontendKey, Port, Protocol, Reason};
use penstock_kernel::sys::{Link, attach_types};
use penstock_kernel::{Pins, Tables};
use penstock_tests::lab::{AgentOptions, Family as LabFamily, Lab, Pod, Runs as _, ServicePort};
use yardsticks::{MinimalBackend, MinimalService};

use crate::effort::Effort;
use crate::exchange::Exchange;
use crate::report::{Figure, Goal};
use crate::statistics::ratios;
use crate::world::ENDPOINTS;
use crate::yardstick::Yardsticks;

/// Port of the Service that is measured, and of the others.
const PORT: u16 = 80;
/// Port of the endpoints.
const TARGET_PORT: u16 = 8080;
/// Of the minimal program's rate.
const RATE_GOAL: f64 = 0.97;
/// Of the rate with few Services, with many.
const SCALE_GOAL: f64 = 0.95;

/// How packets get from the client to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// By the kernel's routing, to the pod's own address: no Service.
    Plain,
    /// By the minimal program.
    Minimal,
    /// By Penstock's packet programs alone.
    PacketByPacket,
    /// By Penstock's socket hooks, and its packet programs for what they leave.
    AtSocket,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain routing to the pod",
            Self::Minimal => "minimal with redirect_peer",
            Self::PacketByPacket => "Penstock, socket hooks off",
            Self::AtSocket => "Penstock, socket hooks on",
        }
    }
}

/// A path that is up, with a server at its end.
struct Path {
    kind: Kind,
    services: u32,
    target: SocketAddr,
    // In the order in which they must go.
    _server: Server,
    _attached: Vec<Link>,
    client: Pod,
    lab: Lab,
}

/// A server process, ended with its handle.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; the lab ends what is left in its groups.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures all paths at each number of Services, and the agent's memory with the largest.
pub(crate) fn run([few, many]: [u32; 2], effort: &Effort) -> Result<Vec<Figure>> {
    let mut paths = Vec::new();
    for (kind, services) in [
        (Kind::Plain, 0),
        (Kind::Minimal, few),
        (Kind::PacketByPacket, few),
        (Kind::AtSocket, few),
        (Kind::Minimal, many),
        (Kind::PacketByPacket, many),
        (Kind::AtSocket, many),
    ] {
        let path = Path::new(kind, services);
        paths.push(path.with_context(|| format!("{}, {services} Services", kind.name()))?);
    }
    let mut figures = Vec::new();
    for (exchange, word) in Exchange::ALL {
        let mut rates: Vec<Vec<f64>> = paths.iter().map(|_| Vec::new()).collect();
        // One round more than asked for: the first primes, and is not counted.
        for round in 0..=effort.rounds as usize {
            for place in 0..paths.len() {
                // Each round begins with another path, so that none always follows the same one.
                let place = (place + round) % paths.len();
                let rate = paths[place].measure(word, effort.traffic_ms)?;
                if round > 0 {
                    rates[place].push(rate);
                }
            }
        }
        figures.extend(compare(exchange, &paths, &rates));
    }
    for path in paths.iter().filter(|path| path.lab.node(1).agent_pid().is_some()) {
        figures.push(path.drops()?);
    }
    figures.extend(paths.iter().filter_map(Path::agent_memory));
    Ok(figures)
}

fn compare(exchange: Exchange, paths: &[Path], rates: &[Vec<f64>]) -> Vec<Figure> {
    let what = match exchange {
        Exchange::Connections => "connections/s",
        Exchange::Requests => "requests/s",
    };
    let of = |kind, services| {
        let place = paths.iter().position(|path| path.kind == kind && path.services == services);
        place.and_then(|place| rates.get(place))
    };
    let mut figures = Vec::new();
    let Some(plain) = of(Kind::Plain, 0) else { return figures };
    figures.push(Figure::median(what, Kind::Plain.name(), plain, "/s"));
    let mut least = None;
    for (path, rate) in paths.iter().zip(rates) {
        let Path { kind, services, .. } = path;
        if *kind == Kind::Plain {
            continue;
        }
        let case = format!("{}, {services} Services", kind.name());
        figures.push(Figure::median(format!("{what}, of plain"), &case, &ratios(rate, plain), ""));
        if *kind == Kind::Minimal {
            continue;
        }
        if let Some(minimal) = of(Kind::Minimal, *services) {
            let figure = Figure::median(format!("{what}, of minimal"), &case, &ratios(rate, minimal), "");
            figures.push(figure.goal(Goal::AtLeast(RATE_GOAL)));
        }
        let least = *least.get_or_insert(*services);
        if let Some(few) = of(*kind, least).filter(|_| least != *services) {
            let case = format!("{}, {services} over {least} Services", kind.name());
            let figure = Figure::median(what, case, &ratios(rate, few), "");
            figures.push(figure.goal(Goal::AtLeast(SCALE_GOAL)));
        }
    }
    figures
}

impl Path {
    fn new(kind: Kind, services: u32) -> Result<Self> {
        let lab = Lab::new(1)?;
        let node = lab.node(1);
        let (client, server) = (node.pod("client")?, node.pod("server")?);
        let service = lab.service("measured", &[ServicePort::tcp(PORT, TARGET_PORT)]).with([&server]);
        let listen = SocketAddr::new(server.ip4().into(), TARGET_PORT);
        let target = match kind {
            Kind::Plain => listen,
            _ => SocketAddr::new(service.ip(LabFamily::V4), PORT),
        };
        let mut attached = Vec::new();
        match kind {
            Kind::Plain => {}
            Kind::Minimal => attached = attach_minimal(&lab, [&client, &server], target, services)?,
            Kind::PacketByPacket | Kind::AtSocket => {
                lab.apply(&service)?;
                lab.write("others", &manifests(services))?;
                let without_socket_hooks = kind == Kind::PacketByPacket;
                lab.start_agents(&AgentOptions { without_socket_hooks, ..AgentOptions::default() })?;
            }
        }
        let server = start_server(&server, listen)?;
        Ok(Self { kind, services, target, _server: server, _attached: attached, client, lab })
    }

    /// Exchanges in a second.
    fn measure(&self, exchange: &str, milliseconds: u64) -> Result<f64> {
        let output = role(&self.client)?
            .args(["client", &self.target.to_string(), exchange, &milliseconds.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .context("starting the client")?;
        ensure!(output.status.success(), "the client of {} has failed", self.kind.name());
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| format!("the client said {text:?}"))
    }

    /// What Penstock has dropped on this path until now: a packet that is sent again costs a rate more than any program.
    fn drops(&self) -> Result<Figure> {
        let tables = Tables::open(&Pins::new(self.lab.node(1).bpffs()))?;
        let mut packets = 0;
        let mut reasons = String::new();
        for reason in Reason::ALL {
            let count = tables.drops.get(*reason as u32)?.packets;
            packets += count;
            if count > 0 {
                let _ = write!(reasons, ", {reason} {count}");
            }
        }
        let clashes = tables.counters.get(Counter::PortClash as u32)?;
        let case =
            format!("{}, {} Services{reasons}; {clashes} port clashes", self.kind.name(), self.services);
        Ok(Figure::new("packets dropped", case, packets as f64, ""))
    }

    /// What the agent's process takes.
    fn agent_memory(&self) -> Option<Figure> {
        let pid = self.lab.node(1).agent_pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let megabytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            let kibibytes: f64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kibibytes * 1_024.0 / 1e6)
        };
        let (resident, own, peak) = (megabytes("VmRSS")?, megabytes("RssAnon")?, megabytes("VmHWM")?);
        let case = format!(
            "{} Services, {} endpoints, manifests; {own:.0} MB its own, {peak:.0} MB at its peak",
            self.services,
            self.services * ENDPOINTS
        );
        Some(Figure::new("agent's resident memory", case, resident, "MB").goal(Goal::AtMost(100.0)))
    }
}

/// Loads the minimal program, fills its tables and attaches it where Penstock's would be: to what pods send.
fn attach_minimal(lab: &Lab, pods: [&Pod; 2], target: SocketAddr, services: u32) -> Result<Vec<Link>> {
    let node = lab.node(1);
    let yardsticks = Yardsticks::load(&node.bpffs().join("yardsticks"))?;
    let program = yardsticks.program("minimal")?;
    let [_, server] = pods;
    let (links, ifindex) = node.run(|| {
        let mut links = Vec::new();
        let mut last = 0;
        for pod in pods {
            last = if_nametoindex(pod.host_device().as_str())?;
            links.push(Link::tcx(program.as_fd(), attach_types::TCX_INGRESS, last).context("attaching")?);
        }
        Ok((links, last))
    })?;
    let backend =
        MinimalBackend { addr: server.ip4().into(), port: Port::new(TARGET_PORT), _pad: 0, ifindex };
    yardsticks.backends4.write(1, &backend)?;
    let one = MinimalService { first: 1, count: 1 };
    let key = |ip: Ipv4Addr| FrontendKey::cluster(ip.into(), Port::new(PORT), Protocol::TCP);
    let mut frontends: Vec<_> = (0..services).map(|number| (key(other_service(number)), one)).collect();
    if let SocketAddr::V4(target) = target {
        frontends.push((key(*target.ip()), one));
    }
    yardsticks.frontends4.insert_all(&frontends)?;
    Ok(links)
}

/// Starts the server and waits until it listens.
fn start_server(pod: &Pod, listen: SocketAddr) -> Result<Server> {
    use std::io::{BufRead as _, BufReader};
    let mut command = role(pod)?;
    let mut child = command
        .args(["server", &listen.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the server")?;
    let output = child.stdout.take().context("the server has no output")?;
    let server = Server(child);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).context("reading from the server")?;
    ensure!(line.trim() == "ready", "the server said {line:?} in place of \"ready\"");
    Ok(server)
}

/// This program, in a pod.
fn role(pod: &Pod) -> Result<Command> {
    Ok(pod.place().command(std::env::current_exe().context("finding this program")?))
}

/// The address of a Service that nobody asks for.
fn other_service(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 97, 0, 0).to_bits() + number)
}

/// Services that nobody asks for, of one family, as YAML.
fn manifests(services: u32) -> String {
    let mut text = String::new();
    for number in 0..services {
        let ip = other_service(number);
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{ name: other-{number}, namespace: default }}
spec:
  clusterIP: {ip}
  clusterIPs: [{ip}]
  ports: [{{ name: http, protocol: TCP, port: {PORT} }}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: other-{number}-ipv4
  namespace: default
  labels: {{ kubernetes.io/service-name: other-{number} }}
addressType: IPv4
ports: [{{ name: http, protocol: TCP, port: {TARGET_PORT} }}]
endpoints:
"
        );
        for endpoint in 0..ENDPOINTS {
            let first = Ipv4Addr::new(10, 128, 0, 0).to_bits();
            let ip = Ipv4Addr::from_bits(first + number * ENDPOINTS + endpoint);
            let _ = writeln!(text, "  - addresses: [{ip}]");
        }
    }
    text
}
