//! Loaded programs over tables that a test fills by hand, in a bpffs and a network namespace of the test's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use penstock_abi::{
    Addr, Backend, Counter, DropCount, EmptySet, Flow, FlowKey, FrontendKey, MEMBER_CLUSTER, NextHop, Plain,
    Port, Protocol, Reason, Selection, Service, SetKind,
};
use penstock_kernel::sys::TestRun;
use penstock_kernel::table::{Hash, MappedArray};
use penstock_kernel::{Dataplane, Hook, Pins, Settings, TableSizes, object};

use crate::wire::Packet;

/// Where the Service is reached, and where its endpoints listen.
pub(crate) const PORT: u16 = 80;
pub(crate) const TARGET_PORT: u16 = 8080;
/// Where a Service without endpoints is reached.
pub(crate) const EMPTY_PORT: u16 = 81;
/// Where a Service is reached whose only endpoint is the client.
pub(crate) const HAIRPIN_PORT: u16 = 82;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// Somebody with an address in both families.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Host {
    const fn new(v4: [u8; 4], v6: [u16; 3]) -> Self {
        let [a, b, c, d] = v4;
        Self { v4: Ipv4Addr::new(a, b, c, d), v6: Ipv6Addr::new(v6[0], v6[1], 0, 0, 0, 0, 0, v6[2]) }
    }

    pub(crate) const fn ip(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }
}

/// A pod of this node.
pub(crate) const CLIENT: Host = Host::new([10, 244, 1, 2], [0xfd44, 1, 2]);
/// Another pod of this node.
pub(crate) const LOCAL: Host = Host::new([10, 244, 1, 3], [0xfd44, 1, 3]);
/// A pod of another node.
pub(crate) const REMOTE: Host = Host::new([10, 244, 2, 3], [0xfd44, 2, 3]);
/// The Services' address.
pub(crate) const VIP: Host = Host::new([10, 96, 0, 10], [0xfd96, 0, 10]);
/// Somebody that no table names.
pub(crate) const OUTSIDE: Host = Host::new([198, 51, 100, 7], [0x2001, 0xdb8, 7]);

const CLIENT_HOP: u32 = 1;
const LOCAL_HOP: u32 = 2;
const REMOTE_HOP: u32 = 3;
/// The index of the Service without endpoints; the others' follow.
const EMPTY: u32 = 1;
const FIRST_SERVICE: u32 = 2;

/// Below a file system that only the test sees; opening the dataplane mounts it.
const BPFFS: &str = "/run/bpf";

/// What a program told the kernel to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `TC_ACT_UNSPEC`: as if no program had been there.
    Pass,
    /// `TC_ACT_SHOT`.
    Drop,
    /// `TC_ACT_REDIRECT`.
    Redirect,
}

/// The loaded programs and their tables.
pub(crate) struct Bench {
    dataplane: Dataplane,
}

impl Bench {
    /// Loads the programs; two pods and a Service without endpoints are known.
    pub(crate) fn new() -> Result<Self> {
        let settings = Settings {
            pins: Pins::new(BPFFS),
            sizes: TableSizes { flows: 1_024, backends: 64, slots: 128, ..TableSizes::default() },
        };
        // In a virtual machine the object comes from beside the test, elsewhere from the build.
        let dataplane = match std::env::var_os("PENSTOCK_BPF_OBJECT") {
            Some(path) => {
                let object = std::fs::read(&path).with_context(|| format!("reading {path:?}"))?;
                Dataplane::open_object(&object, &settings)?
            }
            None => Dataplane::open_object(object::bytes()?, &settings)?,
        };
        let bench = Self { dataplane };
        let hops = &bench.dataplane.tables.next_hops;
        hops.write(CLIENT_HOP, &NextHop::local(101, 1_500))?;
        hops.write(LOCAL_HOP, &NextHop::local(102, 1_500))?;
        hops.write(REMOTE_HOP, &NextHop::direct(103, 1_500, IpAddr::V4(Ipv4Addr::new(172, 30, 0, 2))))?;
        for family in Family::BOTH {
            bench.with_family(family, |tables| {
                tables.add_pod(CLIENT, CLIENT_HOP)?;
                tables.add_pod(LOCAL, LOCAL_HOP)?;
                for protocol in [Protocol::TCP, Protocol::UDP] {
                    tables.add_frontend(EMPTY_PORT, protocol, EMPTY)?;
                }
                Ok(())
            })?;
        }
        Ok(bench)
    }

    /// Makes these the endpoints of the Service, by TCP and UDP.
    pub(crate) fn serve(&self, family: Family, backends: &[Host]) -> Result<()> {
        self.publish(family, PORT, 0, backends)
    }

    /// Makes the client the only endpoint of a Service.
    pub(crate) fn serve_hairpin(&self, family: Family) -> Result<()> {
        self.publish(family, HAIRPIN_PORT, 2, &[CLIENT])
    }

    /// Fixed indices: two Services each for a family, room for four backends each.
    fn publish(&self, family: Family, port: u16, number: u32, hosts: &[Host]) -> Result<()> {
        const ROOM: u32 = 4;
        for (protocol, offset) in [(Protocol::TCP, 0), (Protocol::UDP, 1)] {
            let service = FIRST_SERVICE + number + offset;
            let base = service * ROOM;
            self.with_family(family, |tables| {
                for (index, host) in (base..).zip([LOCAL, REMOTE, CLIENT]) {
                    let member = hosts.iter().any(|chosen| chosen.v4 == host.v4);
                    tables.write_backend(index, host, protocol, service, member)?;
                }
                tables.add_frontend(port, protocol, service)
            })?;
            let chosen = (base..).zip([LOCAL, REMOTE, CLIENT]);
            let chosen = chosen.filter(|(_, host)| hosts.iter().any(|wanted| wanted.v4 == host.v4));
            let chosen: Vec<u32> = chosen.map(|(index, _)| index).collect();
            let tables = &self.dataplane.tables;
            tables.slots.fill(base, &chosen)?;
            let cluster = Selection::new(base, chosen.len() as u32, SetKind::Plain, EmptySet::Refuse);
            tables.services.write(service, &Service { cluster: cluster.context("a small set")? })?;
        }
        Ok(())
    }

    /// Runs a program on a packet.
    pub(crate) fn run(&self, hook: Hook, packet: &Packet) -> Result<(Action, Packet)> {
        let (action, bytes) = self.run_bytes(hook, &packet.bytes())?;
        Ok((action, Packet::read(&bytes)))
    }

    /// Runs a program on bytes.
    pub(crate) fn run_bytes(&self, hook: Hook, bytes: &[u8]) -> Result<(Action, Vec<u8>)> {
        let program = self.dataplane.programs.get(hook)?;
        let TestRun { return_value, data, .. } = program
            .test_run(bytes, &[], 1)
            .with_context(|| format!("running {hook} on {} bytes", bytes.len()))?;
        let action = match return_value.cast_signed() {
            -1 => Action::Pass,
            2 => Action::Drop,
            7 => Action::Redirect,
            other => anyhow::bail!("{hook} returned {other}"),
        };
        Ok((action, data))
    }

    /// Removes the half of a flow that packets like this one find.
    pub(crate) fn evict(&self, packet: &Packet) -> Result<()> {
        let family = if packet.src.is_ipv4() { Family::V4 } else { Family::V6 };
        self.with_family(family, |tables| tables.evict(packet))
    }

    /// How often packets were dropped for this reason.
    pub(crate) fn drops(&self, reason: Reason) -> Result<u64> {
        let DropCount { packets, .. } = self.dataplane.tables.drops.get(reason as u32)?;
        Ok(packets)
    }

    /// A counter.
    pub(crate) fn counter(&self, counter: Counter) -> Result<u64> {
        Ok(self.dataplane.tables.counters.get(counter as u32)?)
    }

    fn with_family(&self, family: Family, act: impl Fn(&dyn FamilyTables) -> Result<()>) -> Result<()> {
        let tables = &self.dataplane.tables;
        match family {
            Family::V4 => act(&Of {
                frontends: &tables.frontends4,
                backends: &tables.backends4,
                endpoints: &tables.endpoints4,
                flows: &tables.flows4,
                family,
            }),
            Family::V6 => act(&Of {
                frontends: &tables.frontends6,
                backends: &tables.backends6,
                endpoints: &tables.endpoints6,
                flows: &tables.flows6,
                family,
            }),
        }
    }
}

/// The tables of one family.
struct Of<'a, A> {
    frontends: &'a Hash<FrontendKey<A>, u32>,
    backends: &'a MappedArray<Backend<A>>,
    endpoints: &'a Hash<A, u32>,
    flows: &'a Hash<FlowKey<A>, Flow<A>>,
    family: Family,
}

/// What tests do with the tables of one family.
trait FamilyTables {
    fn add_pod(&self, pod: Host, hop: u32) -> Result<()>;
    fn add_frontend(&self, port: u16, protocol: Protocol, service: u32) -> Result<()>;
    fn write_backend(
        &self,
        index: u32,
        host: Host,
        protocol: Protocol,
        service: u32,
        member: bool,
    ) -> Result<()>;
    fn evict(&self, packet: &Packet) -> Result<()>;
}

impl<A: Addr> FamilyTables for Of<'_, A>
where
    FrontendKey<A>: Plain,
    Backend<A>: Plain,
    FlowKey<A>: Plain,
    Flow<A>: Plain,
{
    fn add_pod(&self, pod: Host, hop: u32) -> Result<()> {
        Ok(self.endpoints.insert(&address(pod.ip(self.family))?, &hop)?)
    }

    fn add_frontend(&self, port: u16, protocol: Protocol, service: u32) -> Result<()> {
        let key = FrontendKey::cluster(address(VIP.ip(self.family))?, Port::new(port), protocol);
        Ok(self.frontends.insert(&key, &service)?)
    }

    fn write_backend(
        &self,
        index: u32,
        host: Host,
        protocol: Protocol,
        service: u32,
        member: bool,
    ) -> Result<()> {
        let next_hop = match host.v4 {
            ip if ip == CLIENT.v4 => CLIENT_HOP,
            ip if ip == LOCAL.v4 => LOCAL_HOP,
            _ => REMOTE_HOP,
        };
        let backend = Backend {
            addr: address(host.ip(self.family))?,
            port: Port::new(TARGET_PORT),
            protocol,
            member: if member { MEMBER_CLUSTER } else { 0 },
            service,
            next_hop,
            generation: 1,
        };
        Ok(self.backends.write(index, &backend)?)
    }

    fn evict(&self, packet: &Packet) -> Result<()> {
        let Packet { src, dst, sport, dport, protocol, .. } = packet;
        let key: FlowKey<A> =
            FlowKey::new(address(*src)?, address(*dst)?, Port::new(*sport), Port::new(*dport), *protocol);
        ensure!(self.flows.remove(&key)?, "there is no {key:?}");
        Ok(())
    }
}

fn address<A: Addr>(ip: IpAddr) -> Result<A> {
    A::from_ip(ip).with_context(|| format!("{ip} is of another family"))
}

/// Runs a test on a thread with a network and a mount namespace of its own. What it mounts goes with it.
pub(crate) fn sandboxed(test: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .context("these tests need root rights")?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).context("mounting on /run")?;
        test()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
