//! What the kernel says of this process, by the names that every client library of Prometheus uses.

use std::fs;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::seconds;

/// In a second, as /proc counts processor time on every architecture (`USER_HZ`).
const TICKS: f64 = 100.0;

/// See the module.
#[derive(Debug)]
pub(super) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(process) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Process::parse)
        else {
            return Ok(());
        };
        ConstCounter::new(process.cpu).encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "Time of user and system spent on the processors in seconds.",
            None,
            MetricType::Counter,
        )?)?;
        let status = fs::read_to_string("/proc/self/status").ok();
        if let Some(resident) = status.as_deref().and_then(resident) {
            ConstGauge::new(resident).encode(encoder.encode_descriptor(
                "process_resident_memory_bytes",
                "Resident memory in bytes.",
                None,
                MetricType::Gauge,
            )?)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            ConstGauge::new(open.count() as u64).encode(encoder.encode_descriptor(
                "process_open_fds",
                "Open file descriptors.",
                None,
                MetricType::Gauge,
            )?)?;
        }
        let uptime = fs::read_to_string("/proc/uptime").ok();
        if let Some(start) = uptime.as_deref().and_then(|uptime| started(uptime, process.start)) {
            ConstGauge::new(start).encode(encoder.encode_descriptor(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

/// What of /proc/self/stat is told.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Process {
    /// Seconds.
    cpu: f64,
    /// Seconds after the machine's start.
    start: f64,
}

impl Process {
    /// Reads proc_pid_stat(5). The second field is a name in parentheses that may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        // The first field here is the third there.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = |number| Some(field(number)? as f64 / TICKS);
        Some(Self { cpu: ticks(14)? + ticks(15)?, start: ticks(22)? })
    }
}

/// Resident bytes, from proc_pid_status(5).
fn resident(status: &str) -> Option<u64> {
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<u64>().ok()? * 1_024)
}

fn started(uptime: &str, start: f64) -> Option<f64> {
    let up: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    let ago = Duration::try_from_secs_f64(up - start).unwrap_or_default();
    SystemTime::now().checked_sub(ago).map(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_read_behind_a_name_with_anything_in_it() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 12345 1000000 300 18446744073709551615";
        assert_eq!(Process::parse(stat), Some(Process { cpu: 3.0, start: 123.45 }));
        assert_eq!(Process::parse("7 (a"), None);
        assert_eq!(resident("VmHWM:\t  900 kB\nVmRSS:\t     300 kB\n"), Some(300 * 1_024));
    }
}
