//! The choice of a backend.

use penstock_abi::{Backend, EmptySet, Reason};

use crate::family::Family;
use crate::tables::Tables;

/// A backend and its index.
pub(crate) struct Chosen<F: Family> {
    pub(crate) index: u32,
    pub(crate) backend: Backend<F::Addr>,
}

/// Chooses a backend of a service at random.
///
/// One look-up for each step, and each step holds what the next one needs: the word names a range of slots that stays
/// as it is for as long as anyone may hold the word, a slot names a backend that stays as it is likewise.
#[inline(always)]
pub(crate) fn choose<F: Family, T: Tables<F>>(tables: &T, service: u32) -> Result<Chosen<F>, Reason> {
    let selection = tables.selection(service).ok_or(Reason::BrokenTables)?;
    let Some(slot) = selection.pick(tables.random()) else {
        tables.count_unserved(service);
        return Err(match selection.on_empty() {
            EmptySet::Refuse => Reason::NoEndpoints,
            EmptySet::Drop => Reason::NoUsableEndpoints,
        });
    };
    let index = tables.slot(slot).ok_or(Reason::BrokenTables)?;
    let backend = tables.backend(index).ok_or(Reason::BrokenTables)?;
    if backend.service != service {
        return Err(Reason::BrokenTables);
    }
    Ok(Chosen { index, backend })
}
