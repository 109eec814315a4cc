//! From a value in a file to what a flag would take.

use std::error::Error as _;
use std::fmt;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};
use serde_yaml_ng::Value;

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadValue {
    /// It is of another shape.
    Shape {
        /// What is wanted.
        wanted: &'static str,
        /// What there is.
        found: &'static str,
    },
    /// It is none of the words that there are.
    NoneOf {
        /// The value.
        value: String,
        /// The words.
        known: Vec<String>,
    },
    /// The option's own parser refuses it.
    Refused {
        /// The value.
        value: String,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { wanted, found } => write!(f, "{found}, where {wanted} is wanted"),
            Self::NoneOf { value, known } => write!(f, "{value:?} is none of {}", known.join(", ")),
            Self::Refused { value, reason } => write!(f, "{value:?} cannot be used: {reason}"),
        }
    }
}

impl std::error::Error for BadValue {}

/// The value as texts: one for each time that the flag would be given. None where there is no value.
pub(super) fn texts(value: &Value, option: &Arg) -> Result<Vec<String>, BadValue> {
    let several = matches!(option.get_action(), ArgAction::Append);
    let wanted = if several { "a list of values" } else { "one value" };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Sequence(values) if several => values.iter().map(|value| text(value, wanted)).collect(),
        value => Ok(vec![text(value, wanted)?]),
    }
}

/// A single value as a flag would take it.
pub(super) fn text(value: &Value, wanted: &'static str) -> Result<String, BadValue> {
    let found = match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Number(number) => return Ok(number.to_string()),
        Value::Bool(truth) => return Ok(truth.to_string()),
        Value::Null => "nothing",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a mapping",
        Value::Tagged(_) => "a tagged value",
    };
    Err(BadValue::Shape { wanted, found })
}

/// Lets the option's own parser read the texts.
pub(super) fn check(option: &Arg, values: &[String]) -> Result<(), BadValue> {
    let Some(flag) = option.get_long() else { return Ok(()) };
    for value in values {
        Command::new("penstock")
            .no_binary_name(true)
            .arg(option.clone().required(false))
            .try_get_matches_from([format!("--{flag}={value}")])
            .map_err(|error| refusal(value, &error))?;
    }
    Ok(())
}

/// clap's error about a flag, without the flag: the reader has written none.
fn refusal(value: &str, error: &clap::Error) -> BadValue {
    let value = value.to_owned();
    match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(known)), _) if !known.is_empty() => {
            BadValue::NoneOf { value, known: known.clone() }
        }
        (_, Some(reason)) => BadValue::Refused { value, reason: reason.to_string() },
        (_, None) => BadValue::Refused { value, reason: error.kind().to_string() },
    }
}
