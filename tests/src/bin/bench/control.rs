//! What a change of the cluster costs the agent: from a decoded event until the programs see it.
//!
//! The agent's own model writes the kernel's tables through the agent's own adapter; what is left out is the source, and
//! the way of an event from its thread to the control loop. Times are of the wall clock, since a change that waits is
//! late.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use penstock_abi::Protocol;
use penstock_kernel::{Grace, Pins};
use penstock_model::objects::{
    AddressText, AddressType, Conditions, Endpoint, EndpointPort, EndpointSlice, Event, Kind, Labels,
    Metadata, Node, NodeAddress, NodeSpec, NodeStatus, Object, ProtocolText, Service, ServicePort,
    ServiceSpec, ServiceType,
};
use penstock_model::{Controller, NodeFacts};

use crate::agent_tables::KernelTables;
use crate::effort::Effort;
use crate::report::{Figure, Goal};
use crate::sandbox::{self, BPFFS, cpu_time};
use crate::statistics::percentile;
use crate::world::{ENDPOINTS, Family, SERVICE_PORT, frontend, open_dataplane};

const NODE: &str = "node";
/// Changes between two times that what they freed is taken back. The agent does it every 200 ms.
const BETWEEN_RECLAIMS: u32 = 500;
/// The largest number of Services that figures are taken with, and the endpoints of those.
const FULL: u32 = 10_000;
/// The 99th percentile of one change, in microseconds.
const CHANGE_GOAL: f64 = 100.0;
/// A full load, in milliseconds.
const LOAD_GOAL: f64 = 100.0;
/// One change with many Services over one with few.
const GROWTH_GOAL: f64 = 1.5;

/// Bytes that are written between changes, so that the caches next to the processor hold nothing of the last one.
const OTHER_MEMORY: usize = 8 << 20;
const CACHE_LINE: usize = 64;
/// One in so many changes is made in this way, which takes longer.
const COLD_PART: u32 = 5;

type Model = Controller<KernelTables>;

/// Measures one change at each number of Services, full loads of the largest, and the memory of its tables.
pub(crate) fn run(services: [u32; 2], effort: &Effort) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for caches in [Caches::Warm, Caches::Cold] {
        let mut slowest = Vec::new();
        for count in services {
            let micros = sandbox::run(|| changes(count, caches, effort))?;
            let case = format!("{}; {count} Services of {ENDPOINTS} endpoints", caches.name());
            let what = |percent: &str| format!("one changed EndpointSlice, {percent}");
            let p99 = percentile(&micros, 99.0);
            figures.push(Figure::new(what("p50"), &case, percentile(&micros, 50.0), "µs"));
            let figure = Figure::new(what("p99"), &case, p99, "µs");
            figures.push(if count == FULL { figure.goal(Goal::AtMost(CHANGE_GOAL)) } else { figure });
            figures.push(Figure::new(what("max"), &case, percentile(&micros, 100.0), "µs"));
            slowest.push(p99);
        }
        if let [few, many] = slowest[..] {
            let case = format!("{}; {} over {} Services", caches.name(), services[1], services[0]);
            let figure = Figure::new("one changed EndpointSlice, p99", case, many / few, "");
            figures.push(figure.goal(Goal::AtMost(GROWTH_GOAL)));
        }
    }
    let (mut times, mut cpu_times) = (Vec::new(), Vec::new());
    for _ in 0..effort.loads {
        let (time, cpu_time) = sandbox::run(full_load)?;
        times.push(time);
        cpu_times.push(cpu_time);
    }
    let case = format!("{FULL} Services, {} endpoints", FULL * ENDPOINTS);
    figures.push(Figure::median("full load", &case, &times, "ms").goal(Goal::AtMost(LOAD_GOAL)));
    figures.push(Figure::median("full load, CPU time", case, &cpu_times, "ms"));
    figures.extend(sandbox::run(map_memory)?);
    Ok(figures)
}

/// What the processor's caches hold when a change comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caches {
    /// What the last change has left, as in a burst. The few things of few Services are then all there.
    Warm,
    /// Other memory, as where changes come now and then.
    Cold,
}

impl Caches {
    fn name(self) -> &'static str {
        match self {
            Self::Warm => "back to back",
            Self::Cold => "each with cold caches",
        }
    }
}

/// Changes one EndpointSlice after the other, each of another Service than the last; gives the time of each in
/// microseconds.
fn changes(services: u32, caches: Caches, effort: &Effort) -> Result<Vec<f64>> {
    let mut model = model()?;
    commit(&mut model, cluster(services))?;
    let mut other_memory = vec![0_u8; if caches == Caches::Cold { OTHER_MEMORY } else { 0 }];
    let changes = if caches == Caches::Cold { effort.changes / COLD_PART } else { effort.changes };
    let mut micros = Vec::new();
    for change in 0..changes {
        // A factor that has nothing in common with the number visits all Services, with no neighbours in a row.
        let service = (u64::from(change) * 6_151 % u64::from(services)) as u32;
        // One of the ten endpoints is another one.
        let slice = slice(service, 1 + change / services);
        let event = Event::Upsert(Object::EndpointSlice(slice));
        for byte in other_memory.iter_mut().step_by(CACHE_LINE) {
            *byte = byte.wrapping_add(1);
        }
        black_box(&other_memory);
        let before = Instant::now();
        let report = model.apply([event]);
        micros.push(before.elapsed().as_secs_f64() * 1e6);
        ensure!(
            report.failures.is_empty() && report.committed == 1,
            "a change was not committed: {report:?}"
        );
        if change % BETWEEN_RECLAIMS == BETWEEN_RECLAIMS - 1 {
            model.housekeeping().context("reclaiming")?;
        }
    }
    Ok(micros)
}

/// Loads a cluster into empty tables; gives the time and the CPU time in milliseconds, which differ where others want the
/// processor too.
fn full_load() -> Result<(f64, f64)> {
    let mut model = model()?;
    let events = cluster(FULL);
    let (before, cpu_before) = (Instant::now(), cpu_time()?);
    commit(&mut model, events)?;
    Ok((before.elapsed().as_secs_f64() * 1e3, (cpu_time()? - cpu_before) as f64 / 1e6))
}

fn map_memory() -> Result<Vec<Figure>> {
    let _dataplane = open_dataplane()?;
    let maps = penstock_kernel::memory(&Pins::new(BPFFS))?;
    let bytes: u64 = maps.iter().map(|map| map.bytes).sum();
    let mut figures =
        vec![Figure::new("kernel memory of all maps", "tables of default sizes", mebibytes(bytes), "MiB")];
    let mut largest = maps;
    largest.sort_unstable_by_key(|map| std::cmp::Reverse(map.bytes));
    figures.extend(largest.iter().take(4).map(|map| {
        Figure::new(
            format!("of those: {}", map.name),
            format!("{} elements", map.elements),
            mebibytes(map.bytes),
            "MiB",
        )
    }));
    Ok(figures)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The agent's model on new tables.
fn model() -> Result<Model> {
    let dataplane = open_dataplane()?;
    let tables = KernelTables::new(dataplane.tables, Grace::new()?);
    let facts = NodeFacts {
        node: NODE.into(),
        addresses: vec![Ipv4Addr::new(172, 30, 0, 1).into()],
        ..NodeFacts::default()
    };
    Controller::new(facts, tables).context("reading empty tables")
}

fn commit(model: &mut Model, events: Vec<Event>) -> Result<()> {
    let report = model.apply(events);
    ensure!(report.synced && report.failures.is_empty(), "the cluster was not loaded: {:?}", report.failures);
    ensure!(report.warnings.is_empty(), "the cluster is not as it should be: {:?}", report.warnings);
    Ok(())
}

/// All that a source tells at first.
fn cluster(services: u32) -> Vec<Event> {
    let mut events = vec![Event::Upsert(Object::Node(node()))];
    for number in 0..services {
        events.push(Event::Upsert(Object::Service(service(number))));
        events.push(Event::Upsert(Object::EndpointSlice(slice(number, 0))));
    }
    events.extend(Kind::ALL.map(Event::Synced));
    events
}

fn metadata(name: String) -> Metadata {
    Metadata { name: name.into(), namespace: "default".into(), ..Metadata::default() }
}

fn node() -> Node {
    Node {
        metadata: Metadata { name: NODE.into(), ..Metadata::default() },
        spec: NodeSpec { pod_cidrs: vec!["10.244.0.0/24".into()], ..NodeSpec::default() },
        status: NodeStatus {
            addresses: vec![NodeAddress { address_type: "InternalIP".into(), address: "172.30.0.1".into() }],
        },
    }
}

fn service(number: u32) -> Service {
    let ip = AddressText::Ip(frontend(Family::V4, number + 1));
    Service {
        metadata: metadata(format!("service-{number}")),
        spec: ServiceSpec {
            service_type: ServiceType::ClusterIp,
            cluster_ip: Some(ip.clone()),
            cluster_ips: vec![ip],
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: ProtocolText::Known(Protocol::TCP),
                port: i32::from(SERVICE_PORT),
            }],
        },
    }
}

/// The slice of a Service. Each version has one endpoint in place of one of the last version's.
fn slice(number: u32, version: u32) -> EndpointSlice {
    let service: Box<str> = format!("service-{number}").into();
    let endpoint = |position: u32| {
        // A ring of twice as many addresses as endpoints, of which each version has the next part.
        let place = (version + position) % (2 * ENDPOINTS);
        let ip = Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 0).to_bits() + number * 2 * ENDPOINTS + place);
        Endpoint { address: Some(AddressText::Ip(IpAddr::V4(ip))), conditions: Conditions::default() }
    };
    EndpointSlice {
        metadata: Metadata {
            labels: Labels { service_name: Some(service.clone()), ..Labels::default() },
            ..metadata(format!("{service}-v4"))
        },
        address_type: AddressType::Ipv4,
        endpoints: (0..ENDPOINTS).map(endpoint).collect(),
        ports: vec![EndpointPort {
            name: Some("http".into()),
            port: Some(8080),
            protocol: ProtocolText::Known(Protocol::TCP),
        }],
    }
}
