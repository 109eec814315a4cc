//! What kubectl changes reaches a client's traffic.

use std::collections::BTreeSet;

use anyhow::Result;
use penstock_tests::cluster::until;
use penstock_tests::lab::Family;
use penstock_tests::needs;
use serde_json::json;

use super::clients::{Client, in_url};
use super::fixture;
use super::namespace::Namespace;
use super::objects::{HTTP, UDP, service};

/// A Service, and the names of who answers at its addresses.
struct Watched<'a> {
    client: Client<'a>,
    addresses: [(Family, String); 2],
}

impl<'a> Watched<'a> {
    fn new(namespace: &'a Namespace, service: &str) -> Result<Self> {
        let address = |family| Ok::<_, anyhow::Error>((family, in_url(&namespace.address(service, family)?)));
        Ok(Self {
            client: Client { namespace, pod: "client" },
            addresses: [address(Family::V4)?, address(Family::V6)?],
        })
    }

    /// Waits until those who answer at a port, over HTTP, are as they should be.
    fn until(&self, what: &str, port: u16, right: impl Fn(&BTreeSet<String>) -> bool) -> Result<()> {
        for (family, address) in &self.addresses {
            until(&format!("{what} ({family:?})"), || Ok(right(&self.client.http(*family, address, port)?)))?;
        }
        Ok(())
    }

    /// The same over UDP.
    fn until_udp(&self, what: &str, port: u16, right: impl Fn(&BTreeSet<String>) -> bool) -> Result<()> {
        for (family, address) in &self.addresses {
            until(&format!("{what} ({family:?}, UDP)"), || {
                Ok(right(&self.client.udp(*family, address, port)?))
            })?;
        }
        Ok(())
    }

    /// Waits until every address refuses at a port.
    fn until_refused(&self, what: &str, port: u16) -> Result<()> {
        for (family, address) in &self.addresses {
            until(&format!("{what} ({family:?})"), || self.client.refused(address, port))?;
            until(&format!("{what} ({family:?}, UDP)"), || self.client.refused_udp(address, port))?;
        }
        Ok(())
    }
}

/// Whether all who answer are pods of one Deployment, `count` of them.
fn all_of(deployment: &str, count: usize) -> impl Fn(&BTreeSet<String>) -> bool {
    let prefix = format!("{deployment}-");
    move |names| names.len() == count && names.iter().all(|name| name.starts_with(&prefix))
}

#[test]
fn every_change_of_a_service_by_kubectl_reaches_a_clients_traffic() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let namespace = Namespace::new(&fixture.cluster, "changes")?;
    namespace.apply(&[
        namespace.client("client", "n1")?,
        namespace.deployment("blue", 1, &json!({})),
        namespace.deployment("green", 1, &json!({ "nodeName": "n2" })),
        service("web", "blue", HTTP, UDP),
    ])?;
    namespace.ready("app")?;
    let web = Watched::new(&namespace, "web")?;
    web.until("the new Service is served", 80, all_of("blue", 1))?;
    web.until_udp("the new Service is served", 80, all_of("blue", 1))?;

    namespace.kubectl(&["scale", "deployment/blue", "--replicas=3"])?;
    web.until("all three pods serve", 80, all_of("blue", 3))?;

    namespace.kubectl(&["set", "selector", "service/web", "app=green"])?;
    web.until("the other Deployment serves", 80, all_of("green", 1))?;
    web.until_udp("the other Deployment serves", 80, all_of("green", 1))?;

    let ports = r#"[{"op":"replace","path":"/spec/ports/0/port","value":8888}]"#;
    namespace.kubectl(&["patch", "service/web", "--type=json", "--patch", ports])?;
    web.until("the new port is served", 8888, all_of("green", 1))?;
    for (_, address) in &web.addresses {
        until("the former port is refused", || web.client.refused(address, 80))?;
    }
    web.until_udp("UDP has its port still", 80, all_of("green", 1))?;

    let ports = r#"[{"op":"replace","path":"/spec/ports/0/port","value":80}]"#;
    namespace.kubectl(&["patch", "service/web", "--type=json", "--patch", ports])?;
    namespace.kubectl(&["scale", "deployment/green", "--replicas=0"])?;
    web.until_refused("a Service without endpoints is refused", 80)?;

    namespace.kubectl(&["scale", "deployment/green", "--replicas=1"])?;
    web.until("the new pod serves", 80, all_of("green", 1))?;

    namespace.kubectl(&["delete", "service/web"])?;
    for (family, address) in &web.addresses {
        until("a deleted Service answers no longer", || Ok(web.client.http(*family, address, 80).is_err()))?;
    }
    Ok(())
}
