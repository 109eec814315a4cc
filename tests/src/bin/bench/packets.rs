//! What a packet to a Service costs at TC, by `BPF_PROG_TEST_RUN`.
//!
//! A wrapper program writes the headers anew on each pass, picks a flow and calls the program under test. The thread's
//! CPU time of one system call that repeats it is divided by the number of passes; "net" is what remains over the same with
//! an empty program. Each round measures every program once, so that a figure and what it is compared with are
//! neighbours in time.

use anyhow::{Result, ensure};
use penstock_abi::{Plain as _, Protocol};
use penstock_kernel::Hook;
use penstock_kernel::sys::{Program, TestRun};
use yardsticks::{FIRST_CLIENT_PORT, HEADER_WORDS, Scene};

use crate::effort::Effort;
use crate::report::{Figure, Goal};
use crate::sandbox::{self, cpu_time};
use crate::statistics::{median, net, ratios};
use crate::world::{Family, SERVICE_PORT, World, frontend};

/// `TC_ACT_REDIRECT`: the packet goes to a pod.
const REDIRECT: u32 = 7;
/// `TC_ACT_UNSPEC`: the packet is left as it is.
const UNSPEC: u32 = u32::MAX;
/// A frame of this many bytes: the headers and some payload.
const FRAME: usize = 128;
const TCP_ACK: u8 = 0x10;
const TCP_SYN: u8 = 0x02;
/// The first address of Services is moved by this much for packets to none.
const NO_SERVICE: u32 = 1 << 16;

/// Which packets come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Of so many flows, a power of two, one after the other.
    Established(u32),
    /// Of a flow that was never seen.
    New,
    /// To an address that is no Service's.
    NotAService,
}

impl Case {
    const ALL: [Self; 5] = [
        Self::Established(1),
        Self::Established(1_024),
        Self::Established(16_384),
        Self::NotAService,
        // The last, since it fills the tables of flows.
        Self::New,
    ];

    fn name(self) -> String {
        match self {
            Self::Established(1) => "established, 1 flow".to_owned(),
            Self::Established(flows) => format!("established, {flows} flows"),
            Self::New => "new flow".to_owned(),
            Self::NotAService => "not a service, 1,024 flows".to_owned(),
        }
    }

    fn flow_mask(self) -> u32 {
        match self {
            Self::Established(flows) => flows - 1,
            Self::New => u32::MAX,
            Self::NotAService => 1_023,
        }
    }

    fn flags(self) -> u8 {
        if self == Self::New { TCP_SYN } else { TCP_ACK }
    }

    fn verdict(self) -> u32 {
        if self == Self::NotAService { UNSPEC } else { REDIRECT }
    }
}

/// A program under test: its place before the wrapper, and the packets that it gets.
struct Target {
    place: u32,
    name: &'static str,
    family: Family,
    is_empty: bool,
}

const TARGETS: [Target; 5] = [
    Target { place: 0, name: "empty", family: Family::V4, is_empty: true },
    Target { place: 1, name: "minimal", family: Family::V4, is_empty: false },
    Target { place: 2, name: "penstock", family: Family::V4, is_empty: false },
    Target { place: 0, name: "empty", family: Family::V6, is_empty: true },
    Target { place: 2, name: "penstock", family: Family::V6, is_empty: false },
];

/// The most that many Services may cost over few: cache misses of larger tables.
const GROWTH_GOAL: f64 = 1.5;

/// Measures at each number of Services in the tables. Gives the figures of each, and how they differ.
pub(crate) fn run(services: [u32; 2], effort: &Effort) -> Result<[Vec<Figure>; 3]> {
    let [few, many] = services;
    let (figures, few_medians) = at(few, effort)?;
    let (more_figures, many_medians) = at(many, effort)?;
    let growth =
        Case::ALL.iter().zip(few_medians.iter().zip(&many_medians)).map(|(case, (few_ns, many_ns))| {
            let case = format!("{}; {many} over {few} Services", case.name());
            Figure::new("Penstock IPv4, net", case, many_ns / few_ns, "").goal(Goal::AtMost(GROWTH_GOAL))
        });
    Ok([figures, more_figures, growth.collect()])
}

/// The figures, and Penstock's median of each case.
fn at(services: u32, effort: &Effort) -> Result<(Vec<Figure>, Vec<f64>)> {
    sandbox::run(|| {
        let world = World::new(services, Protocol::TCP)?;
        let programs: [&Program; 3] = [
            world.yardsticks.program("empty")?,
            world.yardsticks.program("minimal")?,
            world.penstock.programs.get(Hook::PodIngress)?,
        ];
        for (place, program) in (0..).zip(programs) {
            world.yardsticks.set_target(place, program)?;
        }
        let (mut figures, mut medians) = (Vec::new(), Vec::new());
        for case in Case::ALL {
            let (more, median) = measure(&world, case, effort)?;
            figures.extend(more);
            medians.push(median);
        }
        Ok((figures, medians))
    })
}

/// The figures of a case, and Penstock's median.
fn measure(world: &World, case: Case, effort: &Effort) -> Result<(Vec<Figure>, f64)> {
    for target in &TARGETS {
        check(world, target, case)?;
        pass(world, target, case, effort.passes)?;
    }
    let mut times = TARGETS.each_ref().map(|_| Vec::new());
    for _ in 0..effort.rounds {
        for (target, times) in TARGETS.iter().zip(&mut times) {
            times.push(pass(world, target, case, effort.passes)?.1);
        }
    }
    let [empty4, minimal4, penstock4, empty6, penstock6] = times;
    let (minimal, v4, v6) = (net(&minimal4, &empty4), net(&penstock4, &empty4), net(&penstock6, &empty6));
    let conditions = format!("{}; {} Services", case.name(), world.services);
    let over = ratios(&v4, &minimal);
    let ratio = Figure::median("IPv4 over minimal, net", &conditions, &over, "");
    let figures = vec![
        Figure::median("empty, raw", &conditions, &empty4, "ns"),
        Figure::median("minimal IPv4, net", &conditions, &minimal, "ns"),
        Figure::median("Penstock IPv4, net", &conditions, &v4, "ns"),
        match case {
            Case::Established(_) => ratio.goal(Goal::AtMost(1.6)),
            _ => ratio,
        },
        Figure::median("Penstock IPv6, net", &conditions, &v6, "ns"),
        Figure::new("IPv6 over IPv4, net", &conditions, median(&v6) / median(&v4), ""),
    ];
    Ok((figures, median(&v4)))
}

/// One pass by itself has the verdict that the case is about; otherwise the figure would be of something else.
fn check(world: &World, target: &Target, case: Case) -> Result<()> {
    let (outcome, _) = pass(world, target, case, 1)?;
    let expected = if target.is_empty { UNSPEC } else { case.verdict() };
    ensure!(
        outcome.return_value == expected,
        "{} {} gave the verdict {} in place of {expected} to a packet, {}",
        target.name,
        target.family.name(),
        outcome.return_value.cast_signed(),
        case.name(),
    );
    Ok(())
}

/// Runs the wrapper so many times; gives the last outcome, and the CPU time of each pass in nanoseconds.
fn pass(world: &World, target: &Target, case: Case, passes: u32) -> Result<(TestRun, f64)> {
    let frame = frame(target.family, case);
    let mut header = [0; HEADER_WORDS];
    for (word, bytes) in header.iter_mut().zip(frame.chunks_exact(8)) {
        *word = u64::from_bytes(bytes).unwrap_or_default();
    }
    let scene = &world.yardsticks.scene;
    // Passes go on counting, so that a new flow is one that no earlier run had.
    let next = scene.read(0)?.next;
    let frontends = world.services;
    let (flow_mask, target_place) = (case.flow_mask(), target.place);
    scene.write(0, &Scene { header, next, flow_mask, frontends, target: target_place })?;
    let wrapper = match target.family {
        Family::V4 => "wrapper4",
        Family::V6 => "wrapper6",
    };
    let wrapper = world.yardsticks.program(wrapper)?;
    let before = cpu_time()?;
    let outcome = wrapper.test_run(&frame, &[], passes)?;
    let spent = cpu_time()? - before;
    Ok((outcome, spent as f64 / f64::from(passes)))
}

/// A TCP packet from the first client to the first Service. The wrapper fills in which ones they are, and nobody on this
/// way looks at checksums other than to bring them up to date.
fn frame(family: Family, case: Case) -> Vec<u8> {
    let mut frame = vec![0; FRAME];
    let (ip, tcp) = match family {
        Family::V4 => (14, 34),
        Family::V6 => (14, 54),
    };
    let first = if case == Case::NotAService { NO_SERVICE } else { 0 };
    let mut put = |offset: usize, bytes: &[u8]| frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    let length = |from: usize| ((FRAME - from) as u16).to_be_bytes();
    match (family, frontend(family, first)) {
        (Family::V4, std::net::IpAddr::V4(to)) => {
            put(12, &[0x08, 0x00]);
            put(ip, &[0x45, 0]);
            put(ip + 2, &length(ip));
            put(ip + 8, &[64, Protocol::TCP.0]);
            put(ip + 12, &[10, 244, 0, 0]);
            put(ip + 16, &to.octets());
        }
        (_, to) => {
            put(12, &[0x86, 0xdd]);
            put(ip, &[0x60]);
            put(ip + 4, &length(tcp));
            put(ip + 6, &[Protocol::TCP.0, 64]);
            put(ip + 8, &[0xfd, 0x44]);
            if let std::net::IpAddr::V6(to) = to {
                put(ip + 24, &to.octets());
            }
        }
    }
    put(tcp, &FIRST_CLIENT_PORT.to_be_bytes());
    put(tcp + 2, &SERVICE_PORT.to_be_bytes());
    put(tcp + 12, &[5 << 4, case.flags()]);
    frame
}
