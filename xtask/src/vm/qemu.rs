//! One boot of a virtual machine, by plain emulation: no right to KVM is needed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use crate::shell;

/// The processor. Without CMPXCHG16B, which QEMU 7.2 (Debian 12) emulates with wrong flags now and then: the kernel's
/// allocator then runs into a double fault.
const CPU: &str = "qemu64,-cx16";
/// The machine's memory. It also holds the whole file system.
const MEMORY_MIB: &str = "2048";
const POLL: Duration = Duration::from_millis(100);

/// Boots a kernel and waits for the machine's result: what its init wrote to the second serial line.
///
/// # Errors
/// Where the machine ends without a result, or is not done in time; it is then ended.
pub(super) fn boot(kernel: &Kernel, initramfs: &Path, result: &Path, timeout: Duration) -> Result<i32> {
    fs::write(result, "").with_context(|| format!("cannot write {}", result.display()))?;
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg", "-cpu", CPU, "-smp", "2", "-m", MEMORY_MIB])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-serial"])
        .arg(format!("file:{}", result.display()))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(Stdio::null());
    eprintln!("$ {}", shell::line(&command));
    let mut machine = command.spawn().context("cannot run qemu-system-x86_64")?;
    let ended = wait(&mut machine, timeout)?;
    if !ended {
        machine.kill().context("cannot end the machine")?;
        machine.wait().context("cannot end the machine")?;
        bail!("kernel {} was not done after {} s", kernel.release, timeout.as_secs());
    }
    let written = fs::read_to_string(result).with_context(|| format!("cannot read {}", result.display()))?;
    let code = written.trim().parse();
    code.with_context(|| {
        format!("kernel {} ended without a result: it panicked, or its init failed", kernel.release)
    })
}

fn wait(machine: &mut Child, timeout: Duration) -> Result<bool> {
    let deadline = Instant::now() + timeout;
    while machine.try_wait().context("cannot wait for the machine")?.is_none() {
        if Instant::now() > deadline {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
    Ok(true)
}
