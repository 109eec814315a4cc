//! What kube-proxy's users know: its names, labels, units and buckets (`pkg/proxy/metrics/metrics.go` of Kubernetes 1.36), where they
//! mean the same here. A dashboard or a recording rule made for kube-proxy goes on working.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use penstock_model::objects::TriggerTime;
use penstock_model::tables::{Family, PerFamily};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Labelled;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

use super::{Label, ip_family, per_family, seconds};

type Histograms = Labelled<Label, Histogram, fn() -> Histogram>;
type Seconds = Gauge<f64, AtomicU64>;

/// See the module.
#[derive(Debug)]
pub(crate) struct ProxyMetrics {
    sync: Timed,
    full_sync: Timed,
    partial_sync: Timed,
    programming: Timed,
    last_timestamp: PerFamily<Seconds>,
    last_timestamps: Labelled<Label, Seconds>,
    last_queued: PerFamily<Seconds>,
    last_queueds: Labelled<Label, Seconds>,
    endpoint_changes: Counter,
    endpoint_changes_pending: Gauge,
    service_changes: Counter,
    service_changes_pending: Gauge,
    healthz: Labelled<Label, Counter>,
    livez: Labelled<Label, Counter>,
}

/// A histogram for each family, found once: a look-up by label would cost more than the observation.
#[derive(Debug)]
struct Timed {
    all: Histograms,
    each: PerFamily<Histogram>,
}

impl Timed {
    fn new(make: fn() -> Histogram) -> Self {
        let all = Histograms::new_with_constructor(make);
        let each = per_family(|family| all.get_or_create_owned(&ip_family(family)));
        Self { all, each }
    }

    fn observe(&self, family: Family, duration: Duration) {
        self.each.get(family).observe(duration.as_secs_f64());
    }
}

/// 1 ms to 16.4 s.
fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// 0.25 s to 5 min.
fn programming_buckets() -> Histogram {
    Histogram::new(
        linear_buckets(0.25, 0.25, 2)
            .chain(linear_buckets(1.0, 1.0, 59))
            .chain(linear_buckets(60.0, 5.0, 12))
            .chain(linear_buckets(120.0, 30.0, 7)),
    )
}

impl Default for ProxyMetrics {
    fn default() -> Self {
        let (last_timestamps, last_queueds) = (Labelled::default(), Labelled::default());
        let (healthz, livez) = (Labelled::default(), Labelled::default());
        for code in [OK, UNAVAILABLE] {
            for probes in [&healthz, &livez] {
                drop(Labelled::<Label, Counter>::get_or_create(probes, &code));
            }
        }
        Self {
            sync: Timed::new(sync_buckets),
            full_sync: Timed::new(sync_buckets),
            partial_sync: Timed::new(sync_buckets),
            programming: Timed::new(programming_buckets),
            last_timestamp: per_family(|family| last_timestamps.get_or_create_owned(&ip_family(family))),
            last_timestamps,
            last_queued: per_family(|family| last_queueds.get_or_create_owned(&ip_family(family))),
            last_queueds,
            endpoint_changes: Counter::default(),
            endpoint_changes_pending: Gauge::default(),
            service_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            healthz,
            livez,
        }
    }
}

const OK: Label = [("code", "200")];
const UNAVAILABLE: Label = [("code", "503")];

/// Objects that were told, of the kinds that kube-proxy counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ToldChanges {
    pub(crate) services: u64,
    pub(crate) slices: u64,
}

impl ProxyMetrics {
    /// Changes were told and wait.
    pub(crate) fn queued(&self, told: ToldChanges, now: SystemTime) {
        if told == ToldChanges::default() {
            return;
        }
        self.service_changes.inc_by(told.services);
        self.service_changes_pending.inc_by(i64::try_from(told.services).unwrap_or(i64::MAX));
        self.endpoint_changes.inc_by(told.slices);
        self.endpoint_changes_pending.inc_by(i64::try_from(told.slices).unwrap_or(i64::MAX));
        for family in Family::ALL {
            self.last_queued.get(family).set(seconds(now));
        }
    }

    /// A round of writing took so long, where families may have failed. A full one compares everything that there is.
    pub(crate) fn synced(&self, duration: Duration, full: bool, failed: PerFamily<bool>, now: SystemTime) {
        for family in Family::ALL {
            self.sync.observe(family, duration);
            if full { &self.full_sync } else { &self.partial_sync }.observe(family, duration);
            if !failed.get(family) {
                self.last_timestamp.get(family).set(seconds(now));
            }
        }
    }

    /// All that was told is in the tables.
    pub(crate) fn caught_up(&self) {
        self.service_changes_pending.set(0);
        self.endpoint_changes_pending.set(0);
    }

    /// A change of endpoints is in the tables.
    pub(crate) fn programmed(&self, family: Family, trigger: TriggerTime, now: SystemTime) {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let trigger = Duration::from_nanos(u64::try_from(trigger.0).unwrap_or_default());
        // Where the clocks of this node and of the control plane differ, it may seem to come from the future.
        self.programming.observe(family, now.saturating_sub(trigger));
    }

    /// `/healthz` was asked.
    pub(crate) fn healthz(&self, ok: bool) {
        self.healthz.get_or_create(if ok { &OK } else { &UNAVAILABLE }).inc();
    }

    /// `/livez` was asked.
    pub(crate) fn livez(&self, ok: bool) {
        self.livez.get_or_create(if ok { &OK } else { &UNAVAILABLE }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let rules = [
            ("sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds", &self.sync),
            (
                "sync_full_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for full resyncs",
                &self.full_sync,
            ),
            (
                "sync_partial_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for partial resyncs",
                &self.partial_sync,
            ),
            (
                "network_programming_duration_seconds",
                "In Cluster Network Programming Latency in seconds",
                &self.programming,
            ),
        ];
        let registry = registry.sub_registry_with_prefix("kubeproxy");
        for (name, help, timed) in rules {
            registry.register(name, help, timed.all.clone());
        }
        let times = [
            (
                "sync_proxy_rules_last_timestamp_seconds",
                "The last time proxy rules were successfully synced",
                &self.last_timestamps,
            ),
            (
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "The last time a sync of proxy rules was queued",
                &self.last_queueds,
            ),
        ];
        for (name, help, times) in times {
            registry.register(name, help, times.clone());
        }
        let gauges = [
            (
                "sync_proxy_rules_endpoint_changes_pending",
                "Pending proxy rules Endpoint changes",
                &self.endpoint_changes_pending,
            ),
            (
                "sync_proxy_rules_service_changes_pending",
                "Pending proxy rules Service changes",
                &self.service_changes_pending,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            (
                "sync_proxy_rules_endpoint_changes",
                "Cumulative proxy rules Endpoint changes",
                &self.endpoint_changes,
            ),
            (
                "sync_proxy_rules_service_changes",
                "Cumulative proxy rules Service changes",
                &self.service_changes,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("proxy_healthz", "Cumulative proxy healthz HTTP status", self.healthz.clone());
        registry.register("proxy_livez", "Cumulative proxy livez HTTP status", self.livez.clone());
    }
}
