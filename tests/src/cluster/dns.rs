//! The cluster's DNS: CoreDNS as kubeadm deploys it, but for what asks the world outside, which pods here do not reach.

use serde_json::{Value, json};

use super::addresses::DNS_SERVICE;

/// The cluster's domain.
pub(crate) const DOMAIN: &str = "cluster.local";

/// `endpoint_pod_names` gives the pods of headless Services their names.
const COREFILE: &str = "\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        endpoint_pod_names
        ttl 5
    }
    prometheus :9153
    cache 5
    reload
}
";

/// The objects, with this image.
pub(crate) fn objects(image: &str) -> Value {
    let name = json!({ "name": "coredns", "namespace": "kube-system" });
    let labels = json!({ "k8s-app": "kube-dns" });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": name },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "system:coredns" },
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["endpoints", "services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "system:coredns" },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:coredns",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system" }],
        },
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": name, "data": { "Corefile": COREFILE } },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "coredns", "namespace": "kube-system", "labels": labels },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod(image, &labels) },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kube-dns",
                "namespace": "kube-system",
                "labels": { "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS" },
            },
            "spec": {
                "selector": labels,
                "clusterIP": DNS_SERVICE.v4,
                "clusterIPs": [DNS_SERVICE.v4, DNS_SERVICE.v6],
                "ipFamilyPolicy": "RequireDualStack",
                "ports": [
                    { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53 },
                    { "name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53 },
                    { "name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153 },
                ],
            },
        },
    ]})
}

fn pod(image: &str, labels: &Value) -> Value {
    json!({
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        // A node that goes takes one of the two with it.
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": labels },
        }],
        "dnsPolicy": "Default",
        "containers": [{
            "name": "coredns",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": ["-conf", "/etc/coredns/Corefile"],
            "resources": { "requests": { "cpu": "10m", "memory": "30Mi" } },
            "volumeMounts": [{ "name": "config", "mountPath": "/etc/coredns", "readOnly": true }],
            "readinessProbe": {
                "httpGet": { "path": "/ready", "port": 8181, "scheme": "HTTP" },
                "periodSeconds": 1,
            },
            "livenessProbe": {
                "httpGet": { "path": "/health", "port": 8080, "scheme": "HTTP" },
                "initialDelaySeconds": 60,
                "failureThreshold": 5,
            },
        }],
        "volumes": [{ "name": "config", "configMap": { "name": "coredns" } }],
    })
}
