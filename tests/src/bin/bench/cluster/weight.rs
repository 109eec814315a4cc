//! What the process takes that implements Services on a node: memory, and processor time for a large cluster.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use penstock_tests::cluster::Choice;

use super::api::Api;
use super::switches;
use super::world::World;
use crate::report::{Figure, Goal};
use crate::world::ENDPOINTS;

/// Megabytes.
const MEMORY_GOAL: f64 = 150.0;

/// Creates the Services of a large cluster, waits until traffic follows a change that comes after all of them, and tells
/// what that took on the client's node.
pub(crate) fn load(world: &World, api: &Api, services: u32) -> Result<Vec<Figure>> {
    let Some(name) = world.choice.process() else { return Ok(Vec::new()) };
    let pid = process(world, name)?;
    let (cpu_before, begin) = (cpu_seconds(pid)?, Instant::now());
    println!("  creating {services} Services of {ENDPOINTS} endpoints");
    api.create_services(services)?;
    let created = begin.elapsed().as_secs_f64();
    switches::settle(world, api).context("waiting until all Services are served")?;
    let served = begin.elapsed().as_secs_f64();
    let cpu = cpu_seconds(pid)? - cpu_before;
    let [resident, peak] = memory(pid)?;
    let case = format!("{}, {services} Services of {ENDPOINTS} endpoints", world.choice.name());
    let figure = Figure::new("resident memory", format!("{case}; {peak:.0} MB at its peak"), resident, "MB");
    let is_penstock = world.choice == Choice::Penstock;
    Ok(vec![
        if is_penstock { figure.goal(Goal::AtMost(MEMORY_GOAL)) } else { figure },
        Figure::new("processor time", &case, cpu, "s"),
        Figure::new(
            "created until served",
            format!("{case}, created in {created:.0} s"),
            served - created,
            "s",
        ),
    ])
}

/// The process of this name on the client's node.
fn process(world: &World, name: &str) -> Result<u32> {
    let group = world.cluster.run().name("n1");
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process may end while it is looked at.
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        if read("comm").trim_end() == name && read("cgroup").lines().any(|line| is_in(line, &group)) {
            return Ok(pid);
        }
    }
    anyhow::bail!("no process {name} runs on the node n1")
}

/// Whether a line of `/proc/PID/cgroup` names a group of this name or one below it.
fn is_in(line: &str, group: &str) -> bool {
    line.splitn(3, ':').nth(2).is_some_and(|path| path.split('/').any(|part| part == group))
}

/// Processor time that a process has used, in seconds.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    ticks(&stat).map(|ticks| ticks / ticks_per_second()).with_context(|| format!("{path} says {stat:?}"))
}

/// User and system time in `/proc/PID/stat`, in clock ticks.
fn ticks(stat: &str) -> Option<f64> {
    // The name, in parentheses, may hold anything; after it the state is the third field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
}

fn ticks_per_second() -> f64 {
    // Cannot fail on Linux, where the value is 100 to user space on every architecture.
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64
}

/// Resident memory of a process now and at its peak, in megabytes.
fn memory(pid: u32) -> Result<[f64; 2]> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let megabytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1_024.0 / 1e6)
    };
    let of = |field: &str| megabytes(field).with_context(|| format!("{path} tells no {field}"));
    Ok([of("VmRSS:")?, of("VmHWM:")?])
}

#[cfg(test)]
mod tests {
    use super::{is_in, ticks};

    #[test]
    fn processor_time_is_read_behind_a_name_with_anything_in_it() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 4 0 100 1 2";
        assert_eq!(ticks(stat), Some(12.0));
        assert_eq!(ticks("42 (a"), None);
    }

    #[test]
    fn a_process_is_on_a_node_where_a_group_of_its_is_the_nodes_or_below() {
        assert!(is_in("0::/pst-12-1-n1/host", "pst-12-1-n1"));
        assert!(is_in("4:cpu,cpuacct:/x/pst-12-1-n1/kubepods/pod1", "pst-12-1-n1"));
        assert!(!is_in("0::/pst-12-1-n11/host", "pst-12-1-n1"));
    }
}
