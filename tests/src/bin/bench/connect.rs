//! What connect(2) to a Service costs, over a program that does nothing.
//!
//! UDP sockets: connecting one looks a route up and sends nothing, so the hook is a large part of what is measured. The
//! benchmark joins a group of its own, where one program at a time is attached. Every address has the same route, so
//! that what the kernel does afterwards does not depend on the address that a program chose.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use penstock_abi::Protocol;
use penstock_kernel::Hook;
use penstock_kernel::sys::{Link, Program, attach_types};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::effort::Effort;
use crate::report::{Figure, Goal};
use crate::sandbox::{self, cpu_time};
use crate::statistics::{net, ratios};
use crate::world::{Family, SERVICE_PORT, World, frontend};

/// Sockets that are open at one time.
const BATCH: u32 = 500;

/// Which sockets connect.
#[derive(Clone, Copy)]
enum Sockets {
    /// One for each call.
    Fresh,
    /// One for all.
    Same,
}

impl Sockets {
    fn name(self) -> &'static str {
        match self {
            Self::Fresh => "a fresh socket each time",
            Self::Same => "one socket again and again",
        }
    }
}

/// Measures, with so many Services in the tables.
pub(crate) fn run(services: u32, effort: &Effort) -> Result<Vec<Figure>> {
    let group = Group::join()?;
    sandbox::run(|| {
        sandbox::ip(&[
            "link set lo up",
            "link add pst-here type veth peer name pst-there",
            "address add 192.0.2.1/24 dev pst-here",
            "address add 2001:db8::1/64 dev pst-here nodad",
            "link set pst-here up",
            "link set pst-there up",
            "route add default via 192.0.2.254",
            "route add default via 2001:db8::fe",
        ])?;
        let world = World::new(services, Protocol::UDP)?;
        let mut figures = Vec::new();
        for family in [Family::V4, Family::V6] {
            for sockets in [Sockets::Fresh, Sockets::Same] {
                figures.extend(measure(&world, &group, family, sockets, effort)?);
            }
        }
        Ok(figures)
    })
}

fn measure(
    world: &World,
    group: &Group,
    family: Family,
    sockets: Sockets,
    effort: &Effort,
) -> Result<Vec<Figure>> {
    let (nop, minimal, hook, attach_type) = match family {
        Family::V4 => ("nop4", "minimal4", Hook::Connect4, attach_types::CONNECT4),
        Family::V6 => ("nop6", "minimal6", Hook::Connect6, attach_types::CONNECT6),
    };
    let programs = [
        world.yardsticks.program(nop)?,
        world.yardsticks.program(minimal)?,
        world.penstock.programs.get(hook)?,
    ];
    let frontends: Vec<SockAddr> = (0..world.services)
        .map(|number| SocketAddr::new(frontend(family, number), SERVICE_PORT).into())
        .collect();
    let mut times = programs.map(|_| Vec::new());
    // One round more than asked for: the first primes caches and memory, and is not counted.
    for round in 0..=effort.rounds {
        for ((place, program), times) in programs.iter().enumerate().zip(&mut times) {
            let _attached = attach(program, attach_type, group)?;
            let translates = place > 0;
            let time = round_of(&frontends, family, sockets, effort.connects, translates)?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    let [nop, minimal, penstock] = times;
    let (minimal, penstock) = (net(&minimal, &nop), net(&penstock, &nop));
    let case = format!("{}, {}; {} Services", family.name(), sockets.name(), world.services);
    Ok(vec![
        Figure::median("connect(), program that does nothing", &case, &nop, "ns"),
        Figure::median("minimal, net", &case, &minimal, "ns"),
        Figure::median("Penstock, net", &case, &penstock, "ns"),
        Figure::median("over minimal, net", &case, &ratios(&penstock, &minimal), "").goal(Goal::AtMost(1.8)),
    ])
}

fn attach(program: &Program, attach_type: u32, group: &Group) -> Result<Link> {
    Link::cgroup(program.as_fd(), attach_type, group.folder.as_fd()).context("attaching to the cgroup")
}

/// The CPU time of one call in nanoseconds.
fn round_of(
    frontends: &[SockAddr],
    family: Family,
    sockets: Sockets,
    calls: u32,
    translates: bool,
) -> Result<f64> {
    let mut frontends = frontends.iter().cycle();
    let mut spent = 0;
    let mut timed = |sockets: &[Socket], calls: u32| {
        let before = cpu_time()?;
        for (socket, frontend) in sockets.iter().cycle().zip(&mut frontends).take(calls as usize) {
            socket.connect(frontend)?;
        }
        spent += cpu_time()? - before;
        anyhow::Ok(())
    };
    match sockets {
        Sockets::Fresh => {
            for _ in 0..calls / BATCH {
                let batch = (0..BATCH).map(|_| socket(family)).collect::<Result<Vec<_>>>()?;
                timed(&batch, BATCH)?;
            }
        }
        Sockets::Same => {
            let socket = socket(family)?;
            timed(std::slice::from_ref(&socket), calls)?;
            // What is measured did happen: the kernel knows a backend, the caller would be told otherwise.
            let peer = socket.peer_addr()?.as_socket().context("a peer of an unknown family")?;
            ensure!(
                (peer.port() != SERVICE_PORT) == translates,
                "after connect() the peer is {peer}: the program does not do its work"
            );
        }
    }
    Ok(spent as f64 / f64::from(calls))
}

fn socket(family: Family) -> Result<Socket> {
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    Socket::new(domain, Type::DGRAM, None).context("socket")
}

/// A cgroup of the benchmark's own. Sockets belong to the group that their maker is in when it makes them.
struct Group {
    path: PathBuf,
    folder: File,
    /// Where this process was before.
    home: PathBuf,
}

impl Group {
    /// Makes the group and moves this process in.
    fn join() -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
        let root = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ').skip(1);
                Some((fields.next()?, fields.next()?))
            })
            .find_map(|(path, kind)| (kind == "cgroup2").then_some(path))
            .context("no cgroup2 tree is mounted")?;
        let groups = std::fs::read_to_string("/proc/self/cgroup").context("reading /proc/self/cgroup")?;
        let home = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let path = Path::new(root).join(format!("pst-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        let home = Path::new(root).join(home);
        let folder = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let group = Self { path, folder, home };
        move_to(&group.path)?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let left = move_to(&self.home).and_then(|()| Ok(std::fs::remove_dir(&self.path)?));
        if let Err(error) = left {
            eprintln!("bench: the cgroup {} is left: {error:#}", self.path.display());
        }
    }
}

fn move_to(group: &Path) -> Result<()> {
    let procs = group.join("cgroup.procs");
    std::fs::write(&procs, std::process::id().to_string())
        .with_context(|| format!("writing to {}", procs.display()))
}
