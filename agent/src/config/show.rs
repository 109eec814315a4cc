//! `penstock config`.

use std::path::PathBuf;

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};
use serde::Serialize;

use super::file::File;
use crate::cli::Output;
use crate::show::render::{Row, json, line, table};

/// Every option with the value that would be in force.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Effective {
    /// The file that was read.
    file: Option<PathBuf>,
    options: Vec<OptionRow>,
    /// What the file says that has no effect, one line each.
    ignored: Vec<String>,
}

/// One option.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct OptionRow {
    /// Its flag, without dashes.
    pub(super) option: String,
    /// None where it has no value; several where the flag may be given several times.
    pub(super) value: Vec<String>,
    #[serde(flatten)]
    pub(super) source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub(super) enum Source {
    /// The command line.
    Flag,
    /// A variable of the environment.
    Environment {
        /// Its name.
        name: String,
    },
    /// The file.
    File {
        /// Its path.
        path: PathBuf,
        /// The key in it.
        key: String,
    },
    /// What is built in.
    Default,
    /// It has none.
    Unset,
}

impl Row for OptionRow {
    const TITLES: &'static [&'static str] = &["OPTION", "VALUE", "FROM"];

    fn cells(&self) -> Vec<String> {
        let from = match &self.source {
            Source::Flag => format!("flag --{}", self.option),
            Source::Environment { name } => format!("environment {name}"),
            Source::File { path, key } => format!("file {} {key}", path.display()),
            Source::Default => "default".into(),
            Source::Unset => "-".into(),
        };
        let value = if self.value.is_empty() { "-".into() } else { self.value.join(",") };
        vec![self.option.clone(), value, from]
    }
}

impl Effective {
    /// What the matches say of these options.
    pub(super) fn new(options: &[Arg], matches: &ArgMatches, file: Option<&File>) -> Self {
        let mut rows: Vec<_> = options.iter().filter_map(|option| row(option, matches, file)).collect();
        rows.sort_by(|one, other| one.option.cmp(&other.option));
        Self {
            file: file.map(|file| file.path.clone()),
            options: rows,
            ignored: file.map(|file| file.warnings.clone()).unwrap_or_default(),
        }
    }

    /// Prints it.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub(crate) fn show(&self, output: Output) -> Result<()> {
        match output {
            Output::Json => line(&json(self)?),
            Output::Table => {
                line(&table(&self.options))?;
                self.ignored.iter().try_for_each(|ignored| line(&format!("ignored: {ignored}")))
            }
        }
    }

    #[cfg(test)]
    pub(super) fn option(&self, name: &str) -> Option<&OptionRow> {
        self.options.iter().find(|row| row.option == name)
    }
}

fn row(option: &Arg, matches: &ArgMatches, file: Option<&File>) -> Option<OptionRow> {
    let id = option.get_id().as_str();
    let values = matches.get_raw(id).into_iter().flatten();
    let value = values.map(|value| value.to_string_lossy().into_owned()).collect();
    let source = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(ValueSource::EnvVariable) => {
            let name = option.get_env().map(|name| name.to_string_lossy().into_owned());
            Source::Environment { name: name.unwrap_or_default() }
        }
        Some(_) => match file.and_then(|file| Some((file, file.setting(id)?))) {
            Some((file, setting)) => Source::File { path: file.path.clone(), key: setting.key.clone() },
            None => Source::Default,
        },
        None => Source::Unset,
    };
    Some(OptionRow { option: option.get_long()?.to_owned(), value, source })
}
