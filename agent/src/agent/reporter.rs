//! What the control loop tells of its work: lines of the log, metrics, health, Events and the status file.
//!
//! The loop tells what it did, and the reporter decides who hears of it. Nothing here has a say in the work itself.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use penstock_model::objects::{Event, Kind};
use penstock_model::tables::{Family, PerFamily, TableError};
use penstock_model::{ClusterView, Report, Warning};

use super::status::AgentStatus;
use crate::observe::{Moment, Notice, Observed, ToldChanges};

/// Lines of the log that are remembered so that none is logged twice; beyond, some are.
const REMEMBERED: usize = 4_096;

/// One round of writing.
pub(super) struct Round<'a> {
    /// Events that it came from.
    pub(super) events: usize,
    /// What the model says of it.
    pub(super) report: &'a Report,
    /// Operations on tables.
    pub(super) ops: u64,
    pub(super) duration: Duration,
}

/// See the module.
pub(super) struct Reporter {
    observed: Arc<Observed>,
    /// What is not to be logged again.
    said: HashSet<String>,
    /// The next round compares a whole kind of objects: it is the first one, or a list was told.
    relisted: bool,
    /// The tables that had no room in the last round.
    full: BTreeSet<&'static str>,
    /// The families whose tables are not what they should be.
    failed: PerFamily<bool>,
    /// Those of them that another attempt, or another process, may put right: all but those with a full table and nothing worse.
    unhealthy: PerFamily<bool>,
    /// What of a kube-proxy's was removed when this agent took over.
    removed: Option<Vec<String>>,
    /// The status as it was written last.
    written: AgentStatus,
}

impl Reporter {
    /// Of an agent that has written this status.
    pub(super) fn new(observed: Arc<Observed>, written: AgentStatus) -> Self {
        Self {
            observed,
            said: HashSet::new(),
            relisted: true,
            full: BTreeSet::new(),
            failed: PerFamily::default(),
            unhealthy: PerFamily::default(),
            removed: None,
            written,
        }
    }

    /// The loop has something to do.
    pub(super) fn woken(&self) {
        self.observed.woken(Moment::now());
    }

    /// The loop has done what there was to do; the tables apart, something may have `failed`.
    pub(super) fn rested(&self, failed: bool) {
        let PerFamily { v4, v6 } = self.unhealthy;
        self.observed.rested(PerFamily { v4: failed | v4, v6: failed | v6 }, Moment::now());
    }

    /// How much there is of what the loop looks after.
    pub(super) fn set_counts(&self, view: &ClusterView, pods: usize, devices: usize, failures: usize) {
        let metrics = &self.observed.metrics.agent;
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::Node] {
            metrics.set_objects(kind, view.count(kind));
        }
        metrics.set_node(pods, devices);
        metrics.set_failures(failures);
    }

    /// What the source cannot read at present.
    pub(super) fn set_source_problems(&self, count: usize) {
        self.observed.metrics.agent.set_source_problems(count);
    }

    /// Whether load balancers should send to this node.
    pub(super) fn set_eligible(&self, eligible: bool) {
        self.observed.set_eligible(eligible);
    }

    /// What the node's own object lacks now is another thing than before.
    pub(super) fn node_problem(&self, node: &str, problem: Option<&str>) {
        match problem {
            Some(problem) => {
                self.observed.metrics.agent.warned(Kind::Node);
                tracing::warn!(node, "{problem}");
            }
            None => tracing::info!(node, "the Node object lacks nothing any longer"),
        }
    }

    /// The source has told these.
    pub(super) fn told(&mut self, events: &[Event]) {
        self.relisted |= events.iter().any(|event| matches!(event, Event::Replace { .. }));
        self.observed.metrics.proxy.queued(told_changes(events), SystemTime::now());
    }

    /// A round of writing is over.
    pub(super) fn wrote(&mut self, round: &Round<'_>) {
        if round.report.committed > 0 || round.ops > 0 {
            tracing::info!(
                events = round.events,
                services = round.report.committed,
                ops = round.ops,
                micros = u64::try_from(round.duration.as_micros()).unwrap_or(u64::MAX),
                "reconciled"
            );
        }
        self.count_failures(round.report);
        self.count(round);
        for warning in &round.report.warnings {
            self.warn(warning);
        }
    }

    /// Logs this, unless it was logged already as far as is remembered.
    pub(super) fn say_once(&mut self, text: &str) {
        if self.is_news(text) {
            tracing::info!("{text}");
        }
    }

    /// The programs serve, and the tables behind them are whole, for the first time.
    pub(super) fn ready(&self, pods: usize, devices: usize) {
        self.observed.set_ready();
        self.observed.notify(Notice::Ready);
        tracing::info!(devices, pods, "ready");
    }

    /// What was removed of a kube-proxy's, where anything was looked for.
    pub(super) fn removed(&mut self, removed: Option<Vec<String>>) {
        if removed == self.removed {
            return;
        }
        if let Some(removed) = removed.as_deref().filter(|removed| !removed.is_empty()) {
            let what = format!("took over from kube-proxy and removed {}", removed.join(", "));
            self.observed.notify(Notice::TakenOver { what });
        }
        self.removed = removed;
    }

    /// Writes the status where something in it has changed, which an ordinary change of the cluster does not do.
    pub(super) fn write_status(&mut self, status: &AgentStatus, run_dir: &Path) {
        if *status != self.written {
            if let Err(error) = status.write(run_dir) {
                tracing::warn!("{error:#}");
            }
            self.written.clone_from(status);
        }
    }

    /// A full table is no failure for those who ask for the health: all that fits is written, and a restart makes no room. The
    /// Event, the log and the metrics tell of it.
    fn count_failures(&mut self, report: &Report) {
        let (mut failed, mut unhealthy) = (PerFamily::default(), PerFamily::default());
        let mut full = BTreeSet::new();
        for failure in &report.failures {
            let table = failure.error.table();
            self.observed.metrics.agent.update_failed(table);
            let concerned = Family::ALL
                .into_iter()
                .filter(|family| table.and_then(family_of).is_none_or(|of| of == *family));
            for family in concerned {
                *failed.get_mut(family) = true;
                *unhealthy.get_mut(family) |= !matches!(failure.error, TableError::Full { .. });
            }
            if let TableError::Full { table, size } = failure.error
                && full.insert(table)
                && !self.full.contains(table)
            {
                self.observed.notify(Notice::TableFull { table, size });
            }
        }
        (self.full, self.failed, self.unhealthy) = (full, failed, unhealthy);
    }

    fn count(&mut self, round: &Round<'_>) {
        let Round { report, ops, duration, .. } = *round;
        let now = SystemTime::now();
        let metrics = &self.observed.metrics;
        if report.committed > 0 || ops > 0 || !report.failures.is_empty() {
            metrics.agent.reconciled(duration, ops, now);
            if report.synced {
                let whole = std::mem::take(&mut self.relisted);
                metrics.proxy.synced(duration, whole, self.failed, now);
            }
        }
        if report.synced && report.failures.is_empty() {
            metrics.proxy.caught_up();
        }
        for (family, trigger) in &report.triggers {
            metrics.proxy.programmed(*family, *trigger, now);
        }
    }

    fn warn(&mut self, warning: &Warning) {
        self.observed.metrics.agent.warned(warning.object.kind);
        let text = warning.to_string();
        if self.is_news(&text) {
            tracing::warn!("{text}");
            self.observed.notify_of(warning);
        }
    }

    /// Whether something is to be logged: it was not yet, as far as is remembered.
    fn is_news(&mut self, text: &str) -> bool {
        if self.said.len() >= REMEMBERED {
            self.said.clear();
        }
        !self.said.contains(text) && self.said.insert(text.to_owned())
    }
}

/// The family of a table, where it is of one.
fn family_of(table: &str) -> Option<Family> {
    match table.as_bytes().last() {
        Some(b'4') => Some(Family::V4),
        Some(b'6') => Some(Family::V6),
        _ => None,
    }
}

/// The changes that kube-proxy counts: each Service and each slice that was told, gone or not.
fn told_changes(events: &[Event]) -> ToldChanges {
    events.iter().fold(ToldChanges::default(), |mut told, event| {
        let count = match event {
            Event::Upsert(_) | Event::Delete(_) => 1,
            Event::Replace { objects, .. } => objects.len() as u64,
            Event::Synced(_) => 0,
        };
        match event.kind() {
            Kind::Service => told.services += count,
            Kind::EndpointSlice => told.slices += count,
            _ => {}
        }
        told
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Instant;

    use penstock_model::Failure;

    use super::*;

    /// Whether the agent is live, two minutes after a round in which one Service had this error.
    fn is_live_after(error: TableError) -> PerFamily<bool> {
        let observed = Arc::new(Observed::new(Moment::now()));
        let mut reporter = Reporter::new(Arc::clone(&observed), AgentStatus::default());
        let failures = vec![Failure { what: "Service default/web".into(), error }];
        let report = Report { failures, committed: 1, synced: true, ..Report::default() };
        reporter.woken();
        reporter.wrote(&Round { events: 2, report: &report, ops: 3, duration: Duration::from_millis(1) });
        reporter.rested(false);
        let later = Duration::from_secs(120);
        let later = Moment { instant: Instant::now() + later, time: SystemTime::now() + later };
        let health = observed.health();
        let [v4, v6] = Family::ALL.map(|family| health.is_healthy(family, later));
        assert_eq!(health.livez(later).ok, v4 && v6);
        PerFamily { v4, v6 }
    }

    #[test]
    fn an_agent_whose_tables_are_full_is_live_since_no_restart_makes_room() {
        let full = TableError::Full { table: "frontends4", size: 1 };
        assert_eq!(is_live_after(full), PerFamily { v4: true, v6: true });
    }

    #[test]
    fn an_agent_that_cannot_write_a_table_is_not_live_in_the_tables_family_or_in_both() {
        let io = |table| TableError::Io { table, source: io::Error::other("no") };
        assert_eq!(is_live_after(io("frontends4")), PerFamily { v4: false, v6: true });
        assert_eq!(is_live_after(io("frontends6")), PerFamily { v4: true, v6: false });
        assert_eq!(is_live_after(io("services")), PerFamily { v4: false, v6: false });
    }
}
