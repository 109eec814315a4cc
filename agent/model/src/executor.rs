//! The only writer of the tables: carries operations out and keeps the books.

use crate::applied::Applied;
use crate::reuse::Reclaimed;
use crate::tables::{Backend, Family, Op, PlanError, TableError, Tables};

/// The tables and the books of them.
#[derive(Debug)]
pub(crate) struct Executor<T> {
    pub(crate) tables: T,
    pub(crate) applied: Applied,
}

impl<T: Tables> Executor<T> {
    /// Takes up what the tables hold, and lets one grace period pass before anything is given out.
    pub(crate) fn new(tables: T) -> Result<Self, TableError> {
        let applied = Applied::restore(tables.dump()?, tables.sizes());
        let mut executor = Self { tables, applied };
        executor.wait()?;
        Ok(executor)
    }

    /// Carries out operations in order. After an error those that were not carried out are given up.
    pub(crate) fn run(&mut self, mut ops: Vec<Op>) -> Result<(), PlanError> {
        let mut done = 0;
        while !ops.is_empty() {
            let rest = ops.split_off(self.applied.without_waiting(&ops));
            let batch = std::mem::replace(&mut ops, rest);
            let result = self.run_batch(batch);
            let waited = result.and_then(|count| {
                done += count;
                if ops.is_empty() {
                    Ok(())
                } else {
                    self.wait().map_err(|error| PlanError { done: 0, error })
                }
            });
            if let Err(PlanError { done: more, error }) = waited {
                self.applied.abandon(&ops);
                return Err(PlanError { done: done + more, error });
            }
        }
        Ok(())
    }

    fn run_batch(&mut self, mut ops: Vec<Op>) -> Result<usize, PlanError> {
        let result = self.tables.apply_all(&ops).map(|()| ops.len());
        let rest = match &result {
            Ok(done) => ops.split_off(*done),
            Err(error) => ops.split_off(error.done),
        };
        for op in ops {
            tracing::trace!(%op, "applied");
            self.applied.record(op);
        }
        if result.is_err() {
            self.applied.abandon(&rest);
        }
        result
    }

    /// Carries out what a plan holds, or gives it up where making it has failed.
    pub(crate) fn run_planned(
        &mut self,
        plan: impl FnOnce(&mut Applied, &mut Vec<Op>) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let mut ops = Vec::new();
        match plan(&mut self.applied, &mut ops) {
            Ok(()) => self.run(ops).map_err(|error| error.error),
            Err(error) => {
                self.applied.abandon(&ops);
                Err(error)
            }
        }
    }

    /// A grace period here and now, for slots and for elements of hash tables.
    fn wait(&mut self) -> Result<(), TableError> {
        let epoch = self.applied.end_epoch();
        self.tables.grace_period()?;
        self.applied.grace_period_is_over(epoch);
        Ok(())
    }

    /// Frees what a batch has found to be held by nobody, as far as it has not been taken up since.
    pub(crate) fn release(&mut self, reclaimed: &Reclaimed) -> Result<(), TableError> {
        let epoch = reclaimed.epoch;
        self.applied.grace_period_is_over(epoch);
        for family in Family::ALL {
            let mut ops = Vec::new();
            for index in reclaimed.released.backends.get(family).iter().copied() {
                if self.applied.may_free_backend(family, index, epoch) {
                    let generation = self.applied.backend(family, index).generation;
                    ops.push(Op::WriteBackend { index, backend: Backend::free(family, generation) });
                }
            }
            self.run(ops).map_err(|error| error.error)?;
        }
        let next_hops = reclaimed.released.next_hops.iter().copied();
        let free = next_hops.filter(|index| self.applied.may_free_next_hop(*index, epoch));
        let free = free.map(|index| Op::WriteNextHop { index, next_hop: penstock_abi::NextHop::stack() });
        let ops = free.collect();
        self.run(ops).map_err(|error| error.error)?;
        for service in self.applied.freeable_services(epoch) {
            if self.applied.service(service).is_some_and(|service| service.name.is_some()) {
                self.run(vec![Op::UnnameService { service }]).map_err(|error| error.error)?;
            }
            self.applied.free_service(service);
        }
        Ok(())
    }
}
