//! What a call of the controller has come to.

use crate::objects::TriggerTime;
use crate::tables::{Family, TableError};
use crate::warning::Warning;

/// What a call of the controller has come to.
#[derive(Debug, Default)]
pub struct Report {
    /// Parts of objects that were skipped.
    pub warnings: Vec<Warning>,
    /// What could not be written. It keeps its old state and is tried again with the next call.
    pub failures: Vec<Failure>,
    /// How many Services were looked at and are as they should be.
    pub committed: usize,
    /// What set off the changes of slices that are committed now ([`crate::Controller::keep_triggers`]), in no order.
    pub triggers: Vec<(Family, TriggerTime)>,
    /// The cluster was told whole, so the tables follow it and what is stale is removed.
    pub synced: bool,
    /// [`crate::Controller::routes`] may give other routes now.
    pub routes_changed: bool,
}

/// What could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {error}")]
pub struct Failure {
    /// What stays as it was.
    pub what: String,
    /// Why.
    #[source]
    pub error: TableError,
}
