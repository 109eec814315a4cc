//! `cargo xtask fuzz`: the fuzz targets of the datapath, one after the other.

use anyhow::{Result, bail};

use crate::{pins, shell, workspace};

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these targets; all where none is named
    targets: Vec<String>,
    /// For each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Fuzzes; a crash fails the chore, and cargo-fuzz names the input.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !shell::exists("cargo-fuzz") {
        bail!("fuzzing needs cargo-fuzz: `cargo install --locked cargo-fuzz@{}`", pins::CARGO_FUZZ);
    }
    let fuzz = || {
        let mut cargo = workspace::cargo();
        // The stable compiler has the sanitizers too; like `-Z build-std` they are behind this switch.
        cargo.arg("fuzz").env("RUSTC_BOOTSTRAP", "1").current_dir(workspace::root().join("ebpf/datapath"));
        cargo.env("CARGO_TARGET_DIR", workspace::target().join("fuzz"));
        cargo
    };
    let all = shell::output(fuzz().arg("list"))?;
    let targets =
        if args.targets.is_empty() { all.lines().map(str::to_owned).collect() } else { args.targets.clone() };
    for target in targets {
        let limit = format!("-max_total_time={}", args.seconds);
        shell::run(fuzz().args(["run", &target, "--", &limit]))?;
    }
    Ok(())
}
