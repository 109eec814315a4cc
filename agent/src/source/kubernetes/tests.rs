use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::fake::Fake;
use super::*;

const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const NODES: &str = "/api/v1/nodes";

struct Bench {
    fake: Fake,
    updates: mpsc::Receiver<Update>,
}

impl Bench {
    async fn start(fake: Fake) -> Self {
        let config = Config::new(fake.url().parse().unwrap());
        let (sender, updates) = mpsc::channel(16);
        tokio::spawn(run(Client::try_from(config).unwrap(), sender));
        Self { fake, updates }
    }

    async fn next(&mut self) -> Update {
        let next = tokio::time::timeout(Duration::from_secs(60), self.updates.recv()).await;
        next.expect("the source tells what changed").expect("the source lives")
    }

    /// Events as text, up to the first that is `last`. What the health is does not matter.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut found = Vec::new();
        while found.last().map(String::as_str) != Some(last) {
            if let Update::Events(events) = self.next().await {
                found.extend(events.iter().map(text));
            }
        }
        found
    }

    async fn health(&mut self) -> Health {
        loop {
            if let Update::Health(health) = self.next().await {
                return health;
            }
        }
    }
}

fn text(event: &Event) -> String {
    match event {
        Event::Upsert(object) => format!("+{}", object.key()),
        Event::Delete(key) => format!("-{key}"),
        Event::Replace(kind, objects) => {
            let names: Vec<_> = objects.iter().map(|object| &*object.metadata().name).collect();
            format!("{kind}={}", names.join(","))
        }
        Event::Synced(kind) => format!("synced {kind}"),
    }
}

#[tokio::test]
async fn lists_then_changes_are_told() {
    let fake = Fake::start().await;
    fake.put(SERVICES, "a", json!({"spec": {"clusterIP": "10.0.0.1"}}));
    fake.put(SERVICES, "b", json!({}));
    let mut bench = Bench::start(fake).await;
    let mut lists = Vec::new();
    while lists.len() < 4 {
        if let Update::Events(events) = bench.next().await {
            lists.extend(events.iter().map(text));
        }
    }
    lists.sort();
    assert_eq!(lists, ["EndpointSlice=", "Node=", "Service=a,b", "synced Pod"]);

    bench.fake.put(SLICES, "s", json!({"addressType": "IPv4", "endpoints": null}));
    bench.until("+EndpointSlice n/s").await;
    bench.fake.delete(SERVICES, "b");
    bench.until("-Service n/b").await;
    bench.fake.put(NODES, "x", json!({}));
    bench.until("+Node x").await;

    let requests = bench.fake.requests();
    let asked = |path: &str, label: &str| {
        requests.iter().any(|it| it.starts_with(path) && it.contains(label) && it.contains("watch=true"))
    };
    assert!(asked(SERVICES, "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name"), "{requests:?}");
    assert!(asked(SLICES, "labelSelector=%21service.kubernetes.io%2Fheadless"), "{requests:?}");
}

#[tokio::test]
async fn while_the_api_is_away_nothing_is_told_but_that_and_then_the_new_list_replaces_the_old() {
    let fake = Fake::start().await;
    fake.put(SERVICES, "a", json!({}));
    fake.put(SERVICES, "b", json!({}));
    let mut bench = Bench::start(fake).await;
    bench.until("Service=a,b").await;
    bench.fake.stop().await;
    let health = bench.health().await;
    assert!(!health.problems.is_empty());
    bench.fake.delete(SERVICES, "a");
    bench.fake.resume().await;
    let (mut told, mut healthy) = (Vec::new(), false);
    while !(healthy && told.contains(&"Service=b".to_owned())) {
        match bench.next().await {
            Update::Events(events) => told.extend(events.iter().map(text)),
            Update::Health(health) => healthy = health.problems.is_empty(),
        }
    }
    assert!(!told.iter().any(|event| event.starts_with('-')), "{told:?}");
}

#[tokio::test]
async fn an_api_that_does_not_answer_at_the_start_is_reported_and_waited_for() {
    let mut fake = Fake::start().await;
    fake.put(SERVICES, "a", json!({}));
    fake.stop().await;
    let mut bench = Bench::start(fake).await;
    let health = bench.health().await;
    assert!(health.problems[0].contains("failed to perform initial object list"), "{health:?}");
    bench.fake.resume().await;
    bench.until("Service=a").await;
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_read_is_named() {
    let Err(error) = connect(Some(Path::new("/nonexistent/kubeconfig"))).await else {
        panic!("it is not there")
    };
    assert!(format!("{error:#}").contains("/nonexistent/kubeconfig"), "{error:#}");
}
