//! Looking around in a demo that was kept.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result};
use penstock_tests::lab::{Place, Run, penstock_binary};

/// A node or a pod of a run: `RUN/n1` or `RUN/n1/client`.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    run: Run,
    node: String,
    pod: Option<String>,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, '/');
        Ok(Self {
            run: parts.next().unwrap_or_default().parse()?,
            node: parts.next().context("which node? RUN/n1 names one, RUN/n1/client a pod on it")?.to_owned(),
            pod: parts.next().map(str::to_owned),
        })
    }
}

/// Becomes the command, in that place. Returns only where that fails.
pub(crate) fn enter(target: &Target, words: &[String]) -> ExitCode {
    let error = match command(target, words) {
        Ok(mut command) => anyhow::Error::new(command.exec()).context("running the command"),
        Err(error) => error,
    };
    eprintln!("demo: {error:#}");
    ExitCode::FAILURE
}

fn command(target: &Target, words: &[String]) -> Result<std::process::Command> {
    let place = Place::of(&target.run, &target.node, target.pod.as_deref())
        .with_context(|| format!("there is no such place in run {}", target.run))?;
    let shell = ["sh".to_owned()];
    let (program, arguments) = words.split_first().or(shell.split_first()).context("no command")?;
    let mut command = place.command(program);
    command.args(arguments);
    let path = std::env::var("PATH").unwrap_or_default();
    if let Some(folder) = penstock_binary()?.parent() {
        command.env("PATH", format!("{}:{path}", folder.display()));
    }
    Ok(command)
}
