//! A file of options.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Arg;
use serde_yaml_ng::{Mapping, Value};

use super::kube_proxy;
use super::value::{self, BadValue};

/// `apiVersion` of Penstock's own files.
const API_VERSION: &str = "penstock.io/v1alpha1";
/// `kind` of those.
const KIND: &str = "AgentConfiguration";
/// How alike two words are, from 0 to 1, for one to be taken for the other misspelt.
const ALIKE: f64 = 0.75;

/// What a file sets.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    settings: Vec<Setting>,
    /// What has no effect, one line each.
    pub(super) warnings: Vec<String>,
}

/// An option as a file sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The argument's id.
    pub(super) id: String,
    /// The key in the file, dots between its parts.
    pub(super) key: String,
    /// The values, as the flag would take them.
    pub(super) values: Vec<String>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("read the configuration {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// It is no YAML mapping.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column where it knows them.
        reason: String,
    },
    /// It is of a kind that is not read.
    #[error(
        "{}: apiVersion {version:?}, kind {kind:?} is no configuration that is read here; one is apiVersion {API_VERSION}, \
         kind {KIND}, another apiVersion {}, kind {}", path.display(), kube_proxy::API_VERSION, kube_proxy::KIND
    )]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// Its `apiVersion`.
        version: String,
        /// Its `kind`.
        kind: String,
    },
    /// It has a key that there is no option for.
    #[error("{}: {key}: there is no such key{}", path.display(), Nearest(nearest.as_deref()))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The key that was perhaps meant.
        nearest: Option<String>,
    },
    /// A value cannot be used.
    #[error("{}: {key}: {problem}", path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: BadValue,
    },
}

struct Nearest<'a>(Option<&'a str>);

impl std::fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(key) => write!(f, "; did you mean {key}?"),
            None => f.write_str("; `penstock config` lists the options"),
        }
    }
}

impl File {
    /// Reads a file that may set these options.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn read(path: &Path, options: &[Arg]) -> Result<Self, FileError> {
        let text = fs::read_to_string(path)
            .map_err(|cause| FileError::Unreadable { path: path.to_path_buf(), cause })?;
        Self::parse(path, &text, options)
    }

    pub(super) fn parse(path: &Path, text: &str, options: &[Arg]) -> Result<Self, FileError> {
        let mapping: Mapping = serde_yaml_ng::from_str(text)
            .map_err(|error| FileError::Malformed { path: path.to_path_buf(), reason: error.to_string() })?;
        let word = |key: &str| mapping.get(key).and_then(Value::as_str).unwrap_or_default();
        match (word("apiVersion"), word("kind")) {
            (API_VERSION, KIND) => Self::own(path, &mapping, options),
            (kube_proxy::API_VERSION, kube_proxy::KIND) => Self::of_kube_proxy(path, &mapping, options),
            (version, kind) => Err(FileError::WrongKind {
                path: path.to_path_buf(),
                version: version.to_owned(),
                kind: kind.to_owned(),
            }),
        }
    }

    /// How the file sets an option, if it does.
    pub(super) fn setting(&self, id: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.id == id)
    }

    fn own(path: &Path, mapping: &Mapping, options: &[Arg]) -> Result<Self, FileError> {
        let keyed: Vec<(String, &Arg)> =
            options.iter().filter_map(|option| Some((camel_case(option.get_long()?), option))).collect();
        let mut file = Self { path: path.to_path_buf(), settings: Vec::new(), warnings: Vec::new() };
        for (key, value) in mapping {
            let key = match key {
                Value::String(key) => key.clone(),
                other => format!("{other:?}"),
            };
            if ["apiVersion", "kind"].contains(&key.as_str()) {
                continue;
            }
            match keyed.iter().find(|(name, _)| *name == key) {
                Some((_, option)) => file.set(&key, value, option)?,
                None => {
                    let nearest = nearest(&key, keyed.iter().map(|(name, _)| name.as_str()));
                    return Err(FileError::UnknownKey { path: file.path, key, nearest });
                }
            }
        }
        Ok(file)
    }

    fn of_kube_proxy(path: &Path, mapping: &Mapping, options: &[Arg]) -> Result<Self, FileError> {
        let mut file = Self { path: path.to_path_buf(), settings: Vec::new(), warnings: Vec::new() };
        let read = kube_proxy::read(mapping);
        for (key, option, value) in read.honoured {
            if let Some(option) = options.iter().find(|known| known.get_long() == Some(option)) {
                file.set(&key, &value, option)?;
            }
        }
        let name = file.path.display();
        file.warnings = read.ignored.iter().map(|ignored| format!("{name}: {ignored}")).collect();
        Ok(file)
    }

    fn set(&mut self, key: &str, value: &Value, option: &Arg) -> Result<(), FileError> {
        let bad = |problem| FileError::BadValue { path: self.path.clone(), key: key.to_owned(), problem };
        let values = value::texts(value, option).map_err(bad)?;
        value::check(option, &values).map_err(bad)?;
        if !values.is_empty() {
            self.settings.push(Setting { id: option.get_id().to_string(), key: key.to_owned(), values });
        }
        Ok(())
    }
}

/// `max-services` as `maxServices`.
pub(super) fn camel_case(flag: &str) -> String {
    let mut key = String::with_capacity(flag.len());
    for (index, word) in flag.split('-').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 => key.push(first.to_ascii_uppercase()),
            Some(first) => key.push(first),
            None => {}
        }
        key.push_str(letters.as_str());
    }
    key
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(&key.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name.to_owned())
}
