//! `cargo xtask vm`: the programs, the packet tests and the agent's life on kernels other than this machine's.
//!
//! A machine is QEMU without KVM, a Debian kernel, and a file system made of busybox and of what was built here, each
//! file at the path that it has here: so paths that were compiled in or handed over hold inside too.

mod guest;
mod initramfs;
mod kernel;
mod modules;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::{bpf, setup, shell, test, workspace};
use guest::Step;
use initramfs::Initramfs;
use kernel::Kernel;

/// What to boot, and what to run there.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A series of kernels; the newest that is packaged of it is taken
    #[arg(long = "kernel", default_values = ["6.1", "6.12"])]
    kernels: Vec<String>,
    /// Seconds until a machine that is not done has failed
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
    /// A file of this machine to take along, a program with its libraries; it is at the same path there
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Run this there instead of the tests; without a command, nothing of the project is built
    #[arg(last = true)]
    command: Vec<String>,
}

/// Programs of this machine that tests run; those that are not installed are left out.
const TOOLS: &[&str] = &["ip", "tc", "ethtool", "nft"];

/// Boots every kernel, all of them even where one fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::require(setup::VM)?;
    let mut load = if args.command.is_empty() { Load::tests()? } else { Load::command(&args.command) };
    for file in &args.with {
        let file = file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?;
        if shell::is_executable(&file) { &mut load.programs } else { &mut load.files }.push(file);
    }
    let mut failed = Vec::new();
    for series in &args.kernels {
        match boot(series, &load, Duration::from_secs(args.timeout)) {
            Ok(release) => println!("kernel {release}: ok"),
            Err(error) => failed.push(format!("kernel {series}: {error:#}")),
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

/// What a machine gets to run.
struct Load {
    programs: Vec<PathBuf>,
    files: Vec<PathBuf>,
    environment: Vec<(&'static str, PathBuf)>,
    steps: Vec<Step>,
}

impl Load {
    fn command(command: &[String]) -> Self {
        let step = Step { name: command.join(" "), command: command.to_vec() };
        Self { programs: Vec::new(), files: Vec::new(), environment: Vec::new(), steps: vec![step] }
    }

    /// The packet tests, and the agent attached, killed and restarted with traffic running.
    fn tests() -> Result<Self> {
        let object = bpf::build(workspace::PROGRAMS)?;
        // Emulation is slow enough without debug builds.
        build::binaries(Profile::Release, &object)?;
        let agent = build::binary(Profile::Release)?;
        let packet = test::binary(test::Tier::Packet, &object)?;
        let smoke = build::artifact(Profile::Release, "vm-smoke")?;
        let probe = build::artifact(Profile::Release, "pst-probe")?;
        let step = |name: &str, program: &Path| Step {
            name: name.to_owned(),
            command: vec![program.to_string_lossy().into_owned()],
        };
        Ok(Self {
            steps: vec![step("packet tests", &packet), step("agent's life", &smoke)],
            environment: vec![(build::OBJECT, object.clone()), (test::BINARY, agent.clone())],
            programs: vec![agent, packet, smoke, probe],
            files: vec![object],
        })
    }
}

/// Boots one kernel with a load and returns the kernel's release.
fn boot(series: &str, load: &Load, timeout: Duration) -> Result<String> {
    let kernel = Kernel::fetch(series)?;
    let folder = workspace::target().join("vm");
    // Two runs may go on at the same time.
    let name = format!("{}-{}", kernel.release, std::process::id());
    let image = folder.join(format!("initramfs-{name}.cpio"));
    let contents = pack(&kernel, load)?;
    fs::write(&image, contents).with_context(|| format!("cannot write {}", image.display()))?;
    let result = folder.join(format!("result-{name}"));
    let outcome = qemu::boot(&kernel, &image, &result, timeout);
    for file in [image, result] {
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    let failed = outcome?;
    if failed != 0 {
        bail!("{failed} of {} steps failed", load.steps.len());
    }
    Ok(kernel.release)
}

fn pack(kernel: &Kernel, load: &Load) -> Result<Vec<u8>> {
    let mut archive = Initramfs::default();
    for folder in ["/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/etc", "/var"] {
        archive.folder(Path::new(folder))?;
    }
    let busybox = shell::find("busybox").context("busybox is not installed")?;
    archive.program(&busybox, Path::new("/bin/busybox"))?;
    for tool in TOOLS {
        if let Some(program) = shell::find(tool) {
            archive.program(&program, &Path::new("/usr/sbin").join(tool))?;
        }
    }
    for program in &load.programs {
        archive.program(program, program)?;
    }
    for file in &load.files {
        let contents = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.file(file, 0o644, &contents)?;
    }
    let modules = modules::in_order(&kernel.modules)?;
    for module in &modules {
        archive.file(&Path::new("/modules").join(format!("{}.ko", module.name)), 0o644, &module.contents)?;
    }
    let names: Vec<String> = modules.into_iter().map(|module| module.name).collect();
    let init = guest::init(&names, &load.environment, &load.steps);
    archive.file(Path::new("/init"), 0o755, init.as_bytes())?;
    archive.finish()
}
