//! What the kernel's tables hold and what the programs have counted, read when somebody asks: nothing is copied meanwhile.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use penstock_abi::{Counter as DatapathCounter, Reason, ServiceCount};
use penstock_kernel::{Error, Tables};
use penstock_model::tables::PerFamily;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Label;
use crate::tables::KernelReaders;
use crate::usage::{self, Usage};

/// See the module.
#[derive(Debug)]
pub(crate) struct KernelMetrics {
    readers: Arc<KernelReaders>,
    /// A counter must not go back, which a sum does that is taken while a Service's count moves.
    flows: AtomicU64,
    unserved: AtomicU64,
}

/// What was read at one time.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    usage: Vec<(&'static str, Usage)>,
    drops: Vec<(&'static str, u64, u64)>,
    events: Vec<(&'static str, u64)>,
    services: ServiceCount,
}

impl KernelMetrics {
    pub(crate) fn new(readers: Arc<KernelReaders>) -> Self {
        Self { readers, flows: AtomicU64::default(), unserved: AtomicU64::default() }
    }

    fn read(&self) -> Result<Reading, Error> {
        let tables = self.readers.kernel();
        let PerFamily { v4, v6 } = self.readers.flows();
        let usage = usage::all(tables, PerFamily { v4: v4 as u64, v6: v6 as u64 })?;
        let mut reading = Reading { usage: usage.into_iter().collect(), ..Reading::default() };
        for reason in Reason::ALL {
            let count = tables.drops.get(*reason as u32)?;
            reading.drops.push((reason.label(), count.packets, count.bytes));
        }
        for counter in DatapathCounter::ALL {
            reading.events.push((counter.label(), tables.counters.get(*counter as u32)?));
        }
        let ServiceCount { flows, unserved } = service_counts(tables)?;
        reading.services = ServiceCount {
            flows: flows.max(self.flows.fetch_max(flows, Ordering::Relaxed)),
            unserved: unserved.max(self.unserved.fetch_max(unserved, Ordering::Relaxed)),
        };
        Ok(reading)
    }
}

/// The sum over all Services that there are and have been. The counters beyond the last Service are not looked at: there is room
/// for tens of thousands, on each processor.
fn service_counts(tables: &Tables) -> Result<ServiceCount, Error> {
    let mut last = 0;
    tables.service_names.for_each(|index, _| last = last.max(index))?;
    tables.service_counts.sum_to(last)
}

impl Collector for KernelMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match self.read() {
            Ok(reading) => reading.encode(encoder),
            Err(error) => {
                // Whoever asks gets the rest, and sees that these are missing.
                tracing::warn!(%error, "metrics: cannot read the tables");
                Ok(())
            }
        }
    }
}

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self { usage, drops, events, services } = self;
        let used = usage.iter().map(|(map, usage)| ([("map", *map)], usage.used));
        gauges(&mut encoder, "penstock_map_entries", MAP_ENTRIES, used)?;
        let sizes = usage.iter().map(|(map, usage)| ([("map", *map)], usage.size.into()));
        gauges(&mut encoder, "penstock_map_max_entries", "Elements that a map may hold.", sizes)?;
        let packets = drops.iter().map(|(reason, packets, _)| ([("reason", *reason)], *packets));
        counters(&mut encoder, "penstock_drops", "Packets dropped and calls refused, by reason.", packets)?;
        let bytes = drops.iter().map(|(reason, _, bytes)| ([("reason", *reason)], *bytes));
        counters(&mut encoder, "penstock_dropped_bytes", "Bytes of the packets dropped, by reason.", bytes)?;
        let events = events.iter().map(|(event, count)| ([("event", *event)], *count));
        counters(&mut encoder, "penstock_datapath_events", "What the programs count beside drops.", events)?;
        counter(
            &mut encoder,
            "penstock_service_flows",
            "Times that a backend was chosen for a client of a Service.",
            services.flows,
        )?;
        counter(
            &mut encoder,
            "penstock_service_unserved",
            "Times that a Service had no backend to choose.",
            services.unserved,
        )
    }
}

const MAP_ENTRIES: &str =
    "Elements in use, by map; halves of flows as of the last walk over them, 30 s ago at most.";

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl Iterator<Item = (Label, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (label, value) in samples {
        ConstGauge::new(value).encode(family.encode_family(&label)?)?;
    }
    Ok(())
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl Iterator<Item = (Label, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (label, value) in samples {
        ConstCounter::new(value).encode(family.encode_family(&label)?)?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}
