//! Objects as a user writes them.

use serde_json::{Value, json};

/// A Service in both families for the pods with this label `app`: port 80, over TCP and UDP, to these ports of the pods.
pub fn dual_stack_service(name: &str, app: &str, tcp: u16, udp: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "selector": { "app": app },
            "ports": [
                { "name": "tcp", "port": 80, "protocol": "TCP", "targetPort": tcp },
                { "name": "udp", "port": 80, "protocol": "UDP", "targetPort": udp },
            ],
        },
    })
}
