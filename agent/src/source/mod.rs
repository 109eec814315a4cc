//! Where cluster objects come from: one interface over a directory of manifests and the Kubernetes API.
//!
//! A source tells [`Update`]s over a channel for as long as the agent lives. It never gives up: what it cannot read, it reports and
//! tries again, and what it told before stays in force.

pub(crate) mod kubernetes;
pub(crate) mod manifests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use penstock_model::objects::Event;
use tokio::sync::mpsc;

/// What a source has to tell.
#[derive(Debug)]
pub(crate) enum Update {
    /// Changed objects. They belong together: nothing between the first and the last was ever true for long.
    Events(Vec<Event>),
    /// How the source itself is. Replaces what it told of itself before.
    Health(Health),
}

/// How a source is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Health {
    /// What cannot be read at present, one line each.
    pub(crate) problems: Vec<String>,
    /// Some of what the source holds could not be read, so that objects may be missing.
    pub(crate) incomplete: bool,
    /// Objects of kinds that the agent has no use for.
    pub(crate) ignored: usize,
}

/// Where a source tells its updates. Bounded, so that a large cluster is not held in memory twice.
pub(crate) type Updates = mpsc::Sender<Update>;

/// Which source to read, as the operator names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SourceKind {
    /// `manifests:DIR`: a watched directory.
    Manifests(PathBuf),
    /// `kubernetes`: watches of the Kubernetes API.
    Kubernetes,
}

impl FromStr for SourceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "kubernetes" => Ok(Self::Kubernetes),
            Some(("manifests", "")) => {
                Err("manifests: needs a directory, as in manifests:/etc/penstock".into())
            }
            Some(("manifests", directory)) => Ok(Self::Manifests(directory.into())),
            _ => Err(format!("{text:?} is no source: use manifests:DIR or kubernetes")),
        }
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifests(directory) => write!(f, "manifests:{}", directory.display()),
            Self::Kubernetes => f.write_str("kubernetes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_directory_of_manifests_or_kubernetes() {
        assert_eq!("kubernetes".parse(), Ok(SourceKind::Kubernetes));
        assert_eq!("manifests:/a:b".parse(), Ok(SourceKind::Manifests("/a:b".into())));
        assert_eq!("manifests:/a".parse::<SourceKind>().unwrap().to_string(), "manifests:/a");
    }

    #[test]
    fn what_is_no_source_is_refused_with_what_would_be_one() {
        for text in ["", "manifests", "etcd", "kubernetes:x"] {
            let error = text.parse::<SourceKind>().unwrap_err();
            assert!(error.contains("manifests:DIR or kubernetes"), "{error}");
        }
        assert!("manifests:".parse::<SourceKind>().unwrap_err().contains("needs a directory"));
    }
}
