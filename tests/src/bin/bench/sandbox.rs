//! A place of its own for what is measured: a thread with a network namespace, and a mount namespace with a bpffs. It is
//! gone with the thread.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Where the place has its bpffs.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";
/// The CPU that everything measured runs on: interrupts of most machines go to the first.
const CPU: usize = 1;

/// Runs the work in a new place, on one CPU.
pub(crate) fn run<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            prepare().context("making a place for the benchmark")?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn prepare() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("unshare")?;
    let none: Option<&Path> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).context("mounting a bpffs")?;
    pin_to_one_cpu()
}

/// Keeps this thread, and what it starts, on one CPU.
pub(crate) fn pin_to_one_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    let online = std::thread::available_parallelism()?.get();
    cpus.set(CPU.min(online - 1))?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("sched_setaffinity")
}

/// The CPU time of this thread in nanoseconds.
pub(crate) fn cpu_time() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}

/// Runs ip(8) with each of these lines.
pub(crate) fn ip(lines: &[&str]) -> Result<()> {
    for line in lines {
        let output = Command::new("ip").args(line.split(' ')).output().context("starting ip")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {line}: {}", said.trim());
    }
    Ok(())
}
