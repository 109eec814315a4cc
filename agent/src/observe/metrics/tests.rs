use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penstock_model::objects::{Kind, TriggerTime};

use super::*;

fn metrics() -> Metrics {
    let metrics = Metrics::default();
    metrics.agent.update_failed(Some("slots"));
    metrics.agent.warned(Kind::Service);
    metrics.agent.set_objects(Kind::Service, 3);
    metrics
}

fn text(metrics: &Metrics) -> String {
    Exposition::new(metrics, Reading::default()).text(Format::Prometheus).unwrap()
}

/// Every metric with its type.
fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn names_types_and_help_are_as_documented() {
    let described: Vec<_> = text(&metrics())
        .lines()
        .filter(|line| line.starts_with('#') && !line.contains(" process_"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let golden = include_str!("golden.txt");
    assert_eq!(described.concat(), golden, "where the change is meant, change golden.txt and the README too");
}

#[test]
fn metrics_of_the_process_have_the_usual_names() {
    let told = text(&Metrics::default());
    let names: BTreeSet<_> = types(&told).into_keys().filter(|name| name.starts_with("process_")).collect();
    let usual = [
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ];
    assert_eq!(names, usual.into());
}

#[test]
fn programming_latency_is_counted_by_family_in_kube_proxys_buckets() {
    let metrics = Metrics::default();
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(10_300);
    metrics.proxy.programmed(Family::V4, TriggerTime(10_000_000_000), now);
    metrics.proxy.programmed(Family::V6, TriggerTime(99_000_000_000), now);
    let told = text(&metrics);
    let name = "kubeproxy_network_programming_duration_seconds";
    for line in [
        format!("{name}_bucket{{le=\"0.25\",ip_family=\"IPv4\"}} 0"),
        format!("{name}_bucket{{le=\"0.5\",ip_family=\"IPv4\"}} 1"),
        format!("{name}_bucket{{le=\"300.0\",ip_family=\"IPv4\"}} 1"),
        // From the future, by a clock that is wrong: no time at all.
        format!("{name}_sum{{ip_family=\"IPv6\"}} 0.0"),
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not in:\n{told}");
    }
    let buckets =
        told.lines().filter(|line| line.starts_with(name) && line.contains("le=\"") && line.contains("IPv4"));
    assert_eq!(buckets.count(), 2 + 59 + 12 + 7 + 1);
}

#[test]
fn changes_wait_until_all_of_them_are_in_the_tables() {
    let metrics = Metrics::default();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    metrics.proxy.queued(ToldChanges { services: 1, slices: 2 }, now);
    metrics.proxy.synced(Duration::from_millis(3), true, PerFamily { v4: false, v6: true }, now);
    let told = text(&metrics);
    for line in [
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 2",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2",
        "kubeproxy_sync_proxy_rules_service_changes_pending 1",
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv6\"} 5.0",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 5.0",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"} 0.0",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 0",
    ] {
        assert!(told.lines().any(|told| told == line), "{line} is not in:\n{told}");
    }
    metrics.proxy.caught_up();
    assert!(text(&metrics).contains("kubeproxy_sync_proxy_rules_endpoint_changes_pending 0"));
}

/// The words of a query that are names of metrics.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let prefixes = ["penstock_", "kubeproxy_", "process_"];
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).collect()
}

/// Every text in the dashboard that is a query.
fn queries(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    serde_json::Value::String(text) if ["expr", "definition"].contains(&key.as_str()) => {
                        found.push(text.clone());
                    }
                    value => queries(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_the_dashboard_asks_for_metrics_that_there_are_and_leaves_none_of_ours_out() {
    let told = text(&metrics());
    let mut known = BTreeSet::new();
    for (name, of) in types(&told) {
        known.insert(if of == "histogram" { format!("{name}_bucket") } else { name.to_owned() });
    }
    let dashboard = include_str!("../../../../manifests/grafana/penstock.json");
    let mut found = Vec::new();
    queries(&serde_json::from_str(dashboard).unwrap(), &mut found);
    let mut asked = BTreeSet::new();
    for query in &found {
        let names = names(query);
        assert!(!names.is_empty(), "{query} asks for nothing of ours");
        for name in names {
            assert!(known.contains(name), "{query} asks for {name}, which there is not");
            asked.insert(name.to_owned());
        }
    }
    let unseen: Vec<_> = known.difference(&asked).filter(|name| !name.starts_with("process_")).collect();
    assert_eq!(unseen, ["penstock_events_total"], "what nobody looks at need not be told");
}
