//! The metrics: kube-proxy's own names for what the two have in common, `penstock_` for the rest.
//!
//! What the control loop counts is counted here by plain atomics. What the kernel counts is read from its tables when somebody asks.

mod agent;
mod kernel;
mod process;
mod proxy;
mod text;

use std::fmt;
use std::time::SystemTime;

use penstock_model::tables::{Family, PerFamily};
use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;

use self::agent::AgentMetrics;
pub(super) use self::kernel::KernelMetrics;
#[cfg(test)]
pub(super) use self::kernel::Reading;
use self::process::ProcessMetrics;
use self::proxy::ProxyMetrics;
pub(crate) use self::proxy::ToldChanges;

/// A set of one label, whose values are all known here: no series comes from what a cluster is told.
type Label = [(&'static str, &'static str); 1];

/// All that the control loop counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) proxy: ProxyMetrics,
    pub(crate) agent: AgentMetrics,
}

/// What is told to those who ask.
pub(super) struct Exposition(Registry);

impl Exposition {
    /// Of what the control loop counts, and what the kernel does.
    pub(super) fn new(metrics: &Metrics, kernel: impl Collector) -> Self {
        let mut registry = Registry::default();
        metrics.proxy.register(&mut registry);
        metrics.agent.register(&mut registry);
        registry.register_collector(Box::new(ProcessMetrics));
        registry.register_collector(Box::new(kernel));
        Self(registry)
    }

    /// Everything, in OpenMetrics' format or in the older one.
    pub(super) fn text(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(32 * 1_024);
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Prometheus => text::in_prometheus_format(&text),
        })
    }
}

/// How metrics are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own text format 0.0.4, for all who do not ask for the other one.
    Prometheus,
}

impl Format {
    /// By the header `Accept`.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The value of the label `ip_family`, as in Kubernetes.
const fn ip_family(family: Family) -> Label {
    match family {
        Family::V4 => [("ip_family", "IPv4")],
        Family::V6 => [("ip_family", "IPv6")],
    }
}

/// A metric of each family.
fn per_family<T>(make: impl Fn(Family) -> T) -> PerFamily<T> {
    PerFamily { v4: make(Family::V4), v6: make(Family::V6) }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
