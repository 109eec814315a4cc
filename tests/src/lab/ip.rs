//! Devices, addresses and routes, by way of iproute2: one process for a whole batch of commands.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs lines of `ip` commands inside a network namespace.
pub(crate) fn batch(namespace: &str, lines: &[String]) -> Result<()> {
    run(&["-n", namespace], lines).with_context(|| format!("configuring the namespace {namespace}"))
}

/// Makes network namespaces.
pub(crate) fn add_namespaces(names: &[String]) -> Result<()> {
    let lines: Vec<String> = names.iter().map(|name| format!("netns add {name}")).collect();
    run(&[], &lines).context("making network namespaces")
}

/// Deletes network namespaces, and the devices in them.
pub(crate) fn delete_namespaces(names: &[String]) -> Result<()> {
    let lines: Vec<String> = names.iter().map(|name| format!("netns delete {name}")).collect();
    // Another clean-up of the same run may be at work: what is gone is no error.
    run(&["-force"], &lines).or_else(|error| {
        let left = names.iter().any(|name| std::path::Path::new(super::run::NETNS).join(name).exists());
        if left { Err(error.context("deleting network namespaces")) } else { Ok(()) }
    })
}

fn run(options: &[&str], lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut child = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting `ip`: is iproute2 installed?")?;
    child.stdin.take().context("no pipe to `ip`")?.write_all((lines.join("\n") + "\n").as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "`ip` failed: {}\nthe batch was:\n{}",
        String::from_utf8_lossy(&output.stderr).trim(),
        lines.join("\n")
    );
    Ok(())
}
