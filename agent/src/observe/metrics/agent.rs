//! What the agent counts of its own work.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use penstock_abi::SCHEMA;
use penstock_model::objects::Kind;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{Label, seconds};

/// See the module.
#[derive(Debug)]
pub(crate) struct AgentMetrics {
    reconcile: Histogram,
    last_reconcile: Gauge<f64, AtomicU64>,
    operations: Counter,
    update_errors: Labelled<Label, Counter>,
    warnings: Labelled<Label, Counter>,
    objects: Labelled<Label, Gauge>,
    pods: Gauge,
    devices: Gauge,
    failures: Gauge,
    ready: Gauge,
    eligible: Gauge,
    source_problems: Gauge,
    source_trouble: Arc<Disconnected>,
    notices: Counter,
    lost_notices: Counter,
}

impl Default for AgentMetrics {
    fn default() -> Self {
        Self {
            // 10 µs to 10 s.
            reconcile: Histogram::new(exponential_buckets(0.000_01, 2.0, 21)),
            last_reconcile: Gauge::default(),
            operations: Counter::default(),
            update_errors: Labelled::default(),
            warnings: Labelled::default(),
            objects: Labelled::default(),
            pods: Gauge::default(),
            devices: Gauge::default(),
            failures: Gauge::default(),
            ready: Gauge::default(),
            eligible: Gauge::default(),
            source_problems: Gauge::default(),
            source_trouble: Arc::default(),
            notices: Counter::default(),
            lost_notices: Counter::default(),
        }
    }
}

fn kind(kind: Kind) -> Label {
    [("kind", kind.as_str())]
}

impl AgentMetrics {
    /// A round of writing is through.
    pub(crate) fn reconciled(&self, duration: Duration, operations: u64, now: SystemTime) {
        self.reconcile.observe(duration.as_secs_f64());
        self.last_reconcile.set(seconds(now));
        self.operations.inc_by(operations);
    }

    /// A table could not be written; without a name, its readers could not be waited for.
    pub(crate) fn update_failed(&self, table: Option<&'static str>) {
        self.update_errors.get_or_create(&[("map", table.unwrap_or("none"))]).inc();
    }

    /// A part of an object was skipped.
    pub(crate) fn warned(&self, of: Kind) {
        self.warnings.get_or_create(&kind(of)).inc();
    }

    /// So many objects of a kind are known.
    pub(crate) fn set_objects(&self, of: Kind, count: usize) {
        set(&self.objects.get_or_create(&kind(of)), count);
    }

    /// So many addresses of pods are on this node, and so many devices have our programs.
    pub(crate) fn set_node(&self, pods: usize, devices: usize) {
        set(&self.pods, pods);
        set(&self.devices, devices);
    }

    /// So many things could not be done at the last attempt.
    pub(crate) fn set_failures(&self, count: usize) {
        set(&self.failures, count);
    }

    pub(crate) fn set_ready(&self) {
        self.ready.set(1);
    }

    pub(crate) fn set_eligible(&self, eligible: bool) {
        self.eligible.set(eligible.into());
    }

    /// The source cannot read so many things.
    pub(crate) fn set_source_problems(&self, count: usize) {
        set(&self.source_problems, count);
        let mut since = self.source_trouble.since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if count == 0 { None } else { since.or_else(|| Some(Instant::now())) };
    }

    /// An Event was sent to the cluster.
    pub(crate) fn noticed(&self) {
        self.notices.inc();
    }

    /// An Event was not sent: there were too many, or the API did not take it.
    pub(crate) fn notice_lost(&self) {
        self.lost_notices.inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("penstock");
        registry.register_collector(Box::new(BuildInfo));
        registry.register(
            "reconcile_duration_seconds",
            "Time from what was told to the last write to a table, by round",
            self.reconcile.clone(),
        );
        registry.register(
            "last_reconcile_timestamp_seconds",
            "When the last round of writing ended",
            self.last_reconcile.clone(),
        );
        registry.register(
            "map_updates",
            "Operations on tables that were carried out",
            self.operations.clone(),
        );
        registry.register(
            "map_update_errors",
            "Operations on tables that failed, by map; they are tried again",
            self.update_errors.clone(),
        );
        registry.register(
            "warnings",
            "Parts of objects that were skipped since they make no sense, by kind of object",
            self.warnings.clone(),
        );
        registry.register(
            "objects",
            "Objects of the cluster that are followed, by kind",
            self.objects.clone(),
        );
        let gauges = [
            ("pods", "Addresses of pods on this node", &self.pods),
            ("attached_devices", "Devices that have a program", &self.devices),
            ("failures", "Things that failed at the last attempt and will be tried again", &self.failures),
            ("ready", "1 once the first full sync is through and the programs are attached", &self.ready),
            (
                "node_eligible",
                "1 where load balancers should send to this node, as /healthz tells",
                &self.eligible,
            ),
            (
                "source_problems",
                "What the source of objects cannot read or watch at present",
                &self.source_problems,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register_collector(Box::new(Arc::clone(&self.source_trouble)));
        registry.register("events", "Kubernetes Events that were sent", self.notices.clone());
        registry.register(
            "events_lost",
            "Kubernetes Events that were not sent: too many at once, or refused by the API",
            self.lost_notices.clone(),
        );
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Since when the source has had problems.
#[derive(Debug, Default)]
struct Disconnected {
    since: Mutex<Option<Instant>>,
}

impl Collector for Disconnected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let gauge = ConstGauge::new(since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
        gauge.encode(encoder.encode_descriptor(
            "watch_disconnected_seconds",
            "How long something of the source could not be read or watched; 0 while all is well.",
            None,
            MetricType::Gauge,
        )?)
    }
}

/// What this binary is.
#[derive(Debug)]
struct BuildInfo;

impl Collector for BuildInfo {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let labels = [("version", env!("CARGO_PKG_VERSION").to_owned()), ("schema", SCHEMA.to_string())];
        let mut family = encoder.encode_descriptor(
            "build_info",
            "1, with the version of the agent and of the tables as labels.",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(1).encode(family.encode_family(&labels)?)
    }
}
