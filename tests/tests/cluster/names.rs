//! Services by their names, through the cluster's DNS, which is itself reached through a Service.

use anyhow::{Result, ensure};
use penstock_tests::cluster::until;
use penstock_tests::lab::Family;
use penstock_tests::needs;
use serde_json::json;

use super::clients::Client;
use super::fixture;
use super::namespace::Namespace;
use super::objects::{HTTP, UDP, service};

#[test]
fn a_client_pod_reaches_a_service_by_its_name_over_tcp_and_udp_in_both_families() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let namespace = Namespace::new(&fixture.cluster, "names")?;
    namespace.apply(&[
        namespace.client("client-1", "n1")?,
        namespace.client("client-2", "n2")?,
        namespace.deployment("web", 2, &json!({})),
        service("web", "web", HTTP, UDP),
    ])?;
    namespace.ready("app")?;
    let full = format!("web.{}.svc.cluster.local", namespace.name());
    for pod in ["client-1", "client-2"] {
        let client = Client { namespace: &namespace, pod };
        for family in Family::BOTH {
            for host in ["web", &full] {
                until(&format!("{host} answers {pod} ({family:?})"), || {
                    Ok(client.http(family, host, 80)?.len() == 2)
                })?;
                let names = client.udp(family, host, 80)?;
                ensure!(names.iter().all(|name| name.starts_with("web-")), "{names:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_service_that_never_had_endpoints_is_refused_by_its_name() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let namespace = Namespace::new(&fixture.cluster, "nobody")?;
    namespace.apply(&[namespace.client("client", "n1")?, service("nobody", "nobody", HTTP, UDP)])?;
    namespace.ready("app")?;
    let client = Client { namespace: &namespace, pod: "client" };
    until("a Service without endpoints is refused", || client.refused("nobody", 80))?;
    until("a Service without endpoints is refused over UDP", || client.refused_udp("nobody", 80))
}
