//! Configuration: flags, environment and a file, in this order of precedence, then defaults.
//!
//! An option is defined once, by its argument in [`crate::cli`]. What a file says becomes the default of that argument before
//! the command line is parsed, so clap itself keeps the order of precedence; the same argument's parser checks the file's
//! value. The key of an option in a file is its flag in camelCase: `--max-services` is `maxServices`.

mod file;
mod kube_proxy;
mod show;
mod value;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args as _, Command, CommandFactory, FromArgMatches};

use crate::cli::{AgentArgs, Cli};

use self::file::{File, FileError};
pub(crate) use self::show::Effective;

/// The agent's subcommand, whose options a file may set.
const AGENT: &str = "agent";
/// The subcommand that shows them.
const CONFIG: &str = "config";

/// What a process was told, all sources taken together.
pub(crate) struct Loaded {
    pub(crate) cli: Cli,
    /// Every option of `penstock config`; empty for other commands.
    pub(crate) effective: Effective,
    /// What the file says that has no effect here, one line each.
    pub(crate) warnings: Vec<String>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line or the environment; also what asks for help.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Reads the command line, the environment and the file that one of them names.
///
/// # Errors
/// What cannot be used, by its flag, variable, or file and key.
pub(crate) fn load(arguments: impl IntoIterator<Item = OsString>) -> Result<Loaded, Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // What is required may stand in the file, which must be found first.
    let first = command().mut_subcommand(AGENT, optional).try_get_matches_from(&arguments)?;
    let file = match first.get_one::<PathBuf>("config") {
        Some(path) => Some(File::read(path, &options())?),
        None => None,
    };
    let command = match &file {
        Some(file) => with_defaults(command(), file),
        None => command(),
    };
    let mut matches = command.clone().try_get_matches_from(&arguments)?;
    let effective = match matches.subcommand_matches(CONFIG) {
        Some(matches) => Effective::new(&options(), matches, file.as_ref()),
        None => Effective::default(),
    };
    let cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command.clone()))?;
    let warnings = file.map(|file| file.warnings).unwrap_or_default();
    Ok(Loaded { cli, effective, warnings })
}

/// The command line. `penstock config` takes what the agent takes, and needs none of it.
fn command() -> Command {
    Cli::command().mut_subcommand(CONFIG, |config| optional(AgentArgs::augment_args(config)))
}

fn optional(command: Command) -> Command {
    command.mut_args(|argument| argument.required(false))
}

/// The options that a file may set and that `penstock config` shows: the agent's, and those of every command.
fn options() -> Vec<Arg> {
    let agent = AgentArgs::augment_args(Command::new(AGENT));
    let all = Cli::command();
    let shared = all.get_arguments().filter(|argument| argument.get_id() != "config");
    let shown = |argument: &&Arg| argument.get_long().is_some() && !argument.is_hide_set();
    agent.get_arguments().chain(shared).filter(shown).cloned().collect()
}

/// Makes what the file says the arguments' defaults.
fn with_defaults(command: Command, file: &File) -> Command {
    let set = |argument: Arg| match file.setting(argument.get_id().as_str()) {
        Some(setting) => argument.required(false).default_values(setting.values.clone()),
        None => argument,
    };
    command
        .mut_args(set)
        .mut_subcommand(AGENT, |agent| agent.mut_args(set))
        .mut_subcommand(CONFIG, |config| config.mut_args(set))
}

#[cfg(test)]
mod tests;
