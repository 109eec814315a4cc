//! The API's own Service keeps its last endpoints.
//!
//! An API server that ends takes its address out of the slices of `default/kubernetes`; when the last one restarts, or its store
//! was lost, the slices are empty for a while. Who reaches the API through this Service would then be refused by tables that only
//! the API can mend. So in a family in which its slices hold no endpoint, those that they held last stay until they hold others.
//! Calico's Felix does the same.

use super::{Changes, QualifiedName, ServiceView, Slice};
use crate::objects::Kind;
use crate::tables::Family;
use crate::warning::{Problem, Warning};

/// The Service that the API servers make for themselves.
const API: &str = "default/kubernetes";

/// The slices that are to be held against those after a change: of the API's own Service alone.
pub(super) fn before(name: &QualifiedName, view: &ServiceView) -> Option<Vec<Slice>> {
    (name.as_str() == API).then(|| view.slices.to_vec())
}

/// Keeps, in each family that has lost its last endpoint, the slices of before; lets go of those that are needed no longer.
pub(super) fn keep(
    name: &QualifiedName,
    view: &mut ServiceView,
    before: Option<Vec<Slice>>,
    changes: &mut Changes,
) {
    let Some(before) = before else { return };
    for family in Family::ALL {
        let serves = |slice: &Slice| slice.family == family && !slice.endpoints.is_empty();
        let last: Vec<_> = before.iter().filter(|slice| serves(slice)).cloned().collect();
        if view.slices.iter().any(serves) {
            view.kept.retain(|slice| slice.family != family);
        } else if !last.is_empty() {
            view.kept.retain(|slice| slice.family != family);
            view.kept.extend(last);
            let (object, field) = (name.key(Kind::Service), "endpoints".into());
            changes.warnings.push(Warning { object, field, problem: Problem::Kept { family } });
        }
    }
}
