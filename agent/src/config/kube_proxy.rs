//! kube-proxy's own configuration file: what of it holds for Penstock, and what does not.
//!
//! Keys and defaults are those of `k8s.io/kube-proxy/config/v1alpha1` and
//! `k8s.io/kubernetes/pkg/proxy/apis/config/v1alpha1/defaults.go`, Kubernetes 1.36. Pure.

use serde_yaml_ng::{Mapping, Value};

/// `apiVersion` of kube-proxy's files.
pub(super) const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// `kind` of those.
pub(super) const KIND: &str = "KubeProxyConfiguration";

/// Keys that are honoured, with the option that each sets.
pub(super) const HONOURED: &[(&str, &str)] = &[
    ("clientConnection.kubeconfig", "kubeconfig"),
    ("healthzBindAddress", "healthz-bind-address"),
    ("healthzBindAddress", "healthz-bind-address"),
    ("hostnameOverride", "node"),
    ("logging.format", "log-format"),
    ("metricsBindAddress", "metrics-bind-address"),
    ("metricsBindAddress", "metrics-bind-address"),
];

/// Keys that have no effect here, each with kube-proxy's default, which goes without saying. What is empty, zero or off does so too.
const IGNORED: &[(&str, &str)] = &[
    ("bindAddress", "0.0.0.0"),
    ("bindAddressHardFail", ""),
    ("clientConnection.acceptContentTypes", ""),
    ("clientConnection.burst", "10"),
    ("clientConnection.contentType", "application/vnd.kubernetes.protobuf"),
    ("clientConnection.qps", "5"),
    ("clusterCIDR", ""),
    ("configSyncPeriod", "15m0s"),
    ("conntrack.maxPerCore", "32768"),
    ("conntrack.min", "131072"),
    ("conntrack.tcpBeLiberal", ""),
    ("conntrack.tcpCloseWaitTimeout", "1h0m0s"),
    ("conntrack.tcpEstablishedTimeout", "24h0m0s"),
    ("conntrack.udpStreamTimeout", ""),
    ("conntrack.udpTimeout", ""),
    ("detectLocal.bridgeInterface", ""),
    ("detectLocal.interfaceNamePrefix", ""),
    ("detectLocalMode", ""),
    ("enableProfiling", ""),
    ("featureGates", ""),
    ("iptables.localhostNodePorts", "true"),
    ("iptables.masqueradeAll", ""),
    ("iptables.masqueradeBit", "14"),
    ("iptables.minSyncPeriod", "1s"),
    ("iptables.syncPeriod", "30s"),
    ("ipvs.excludeCIDRs", ""),
    ("ipvs.minSyncPeriod", ""),
    ("ipvs.scheduler", ""),
    ("ipvs.strictARP", ""),
    ("ipvs.syncPeriod", "30s"),
    ("ipvs.tcpFinTimeout", ""),
    ("ipvs.tcpTimeout", ""),
    ("ipvs.udpTimeout", ""),
    ("logging.flushFrequency", "5s"),
    ("logging.options", ""),
    ("logging.verbosity", ""),
    ("logging.vmodule", ""),
    ("mode", ""),
    ("nftables.masqueradeAll", ""),
    ("nftables.masqueradeBit", "14"),
    ("nftables.minSyncPeriod", "1s"),
    ("nftables.syncPeriod", "30s"),
    ("nodePortAddresses", ""),
    ("oomScoreAdj", "-999"),
    ("portRange", ""),
    ("showHiddenMetricsForVersion", ""),
    ("windowsRunAsService", ""),
    ("winkernel", ""),
];

/// What a file of kube-proxy's says.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Key, option and value of what is honoured. A file for kube-proxy means the cluster's API, so it also says the source.
    pub(super) honoured: Vec<(String, &'static str, Value)>,
    /// What has no effect, in words.
    pub(super) ignored: Vec<String>,
}

/// Sorts the keys of a file into those that hold for Penstock and those that do not.
pub(super) fn read(mapping: &Mapping) -> Read {
    let mut read = Read::default();
    read.honoured.push(("kind".into(), "source", "kubernetes".into()));
    visit("", mapping, &mut read);
    read
}

fn visit(prefix: &str, mapping: &Mapping, read: &mut Read) {
    for (key, value) in mapping {
        let key = key.as_str().map_or_else(|| format!("{key:?}"), str::to_owned);
        let key = format!("{prefix}{key}");
        if ["apiVersion", "kind"].contains(&key.as_str()) || is_empty(value) {
            continue;
        }
        let group = format!("{key}.");
        let in_group = |(known, _): &(&str, &str)| known.starts_with(&group);
        if let Some((_, option)) = HONOURED.iter().find(|(known, _)| *known == key) {
            read.honoured.push((key, option, value.clone()));
        } else if let Some((_, default)) = IGNORED.iter().find(|(known, _)| *known == key) {
            if inline(value) != *default {
                read.ignored.push(format!("{key}: {} has no effect here", inline(value)));
            }
        } else if HONOURED.iter().chain(IGNORED).any(in_group) {
            match value {
                Value::Mapping(inner) => visit(&group, inner, read),
                other => {
                    read.ignored.push(format!("{key}: {} is no mapping and has no effect", inline(other)))
                }
            }
        } else {
            read.ignored.push(format!("{key}: kube-proxy has no such key, and it has no effect here either"));
        }
    }
}

/// What goes without saying whatever the key: nothing, no, zero.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Tagged(_) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => ["", "0", "0s"].contains(&text.as_str()),
        Value::Sequence(values) => values.is_empty(),
        Value::Mapping(values) => values.values().all(is_empty),
    }
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Sequence(values) => {
            format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Mapping(values) => {
            let pair = |(key, value)| format!("{}: {}", inline(key), inline(value));
            format!("{{{}}}", values.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Tagged(tagged) => inline(&tagged.value),
    }
}
