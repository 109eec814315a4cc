//! The source against an API that misbehaves as it is told to.

use std::time::Duration;

use kube::Config;
use serde_json::json;
use tokio::sync::mpsc;

use super::fake::{Answer, End, Fake};
use super::*;
use crate::source::Health;

const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const NODES: &str = "/api/v1/nodes";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

struct Bench {
    fake: Fake,
    updates: mpsc::Receiver<Update>,
}

impl Bench {
    async fn start(fake: Fake) -> Self {
        Self::start_within(fake, Limits::default(), &[]).await
    }

    async fn start_within(fake: Fake, limits: Limits, servers: &[&str]) -> Self {
        let config = Config::new(fake.url().parse().unwrap());
        let servers: Vec<ServerUrl> = servers.iter().map(|url| url.parse().unwrap()).collect();
        let (sender, updates) = mpsc::channel(16);
        tokio::spawn(run_within(client::client(config, &servers).unwrap(), sender, limits));
        Self { fake, updates }
    }

    async fn next(&mut self) -> Update {
        let next = tokio::time::timeout(Duration::from_secs(60), self.updates.recv()).await;
        next.expect("the source tells what changed").expect("the source lives")
    }

    /// Events as text, up to the first that is `last`. What the health is does not matter.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut found = Vec::new();
        while !found.iter().any(|event| event == last) {
            if let Update::Events(events) = self.next().await {
                found.extend(events.iter().map(text));
            }
        }
        found
    }

    /// What is wrong, as soon as it is what is waited for.
    async fn health(&mut self, wanted: impl Fn(&Health) -> bool) -> Health {
        loop {
            if let Update::Health(health) = self.next().await
                && wanted(&health)
            {
                return health;
            }
        }
    }

    /// The first problem that is told.
    async fn problem(&mut self) -> String {
        self.health(|health| !health.problems.is_empty()).await.problems.join("; ")
    }

    /// Waits until a path has been watched so often.
    async fn wait_watches(&self, path: &str, count: usize) {
        while self.watches(path).len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn watches(&self, path: &str) -> Vec<String> {
        let requests = self.fake.requests();
        requests.into_iter().filter(|it| it.starts_with(path) && it.contains("watch=true")).collect()
    }
}

fn text(event: &Event) -> String {
    match event {
        Event::Upsert(object) => format!("+{}", object.key()),
        Event::Delete(key) => format!("-{key}"),
        Event::Replace { kind, objects, .. } => {
            let names: Vec<_> = objects.iter().map(|object| &*object.metadata().name).collect();
            format!("{kind}={}", names.join(","))
        }
        Event::Synced(kind) => format!("synced {kind}"),
    }
}

async fn with_services(names: &[&str]) -> Fake {
    let fake = Fake::start().await;
    for name in names {
        fake.put(SERVICES, name, json!({}));
    }
    fake
}

#[tokio::test]
async fn lists_then_changes_are_told() {
    let mut bench = Bench::start(with_services(&["a", "b"]).await).await;
    let mut lists = Vec::new();
    while lists.len() < 5 {
        if let Update::Events(events) = bench.next().await {
            lists.extend(events.iter().map(text));
        }
    }
    lists.sort();
    assert_eq!(lists, ["EndpointSlice=", "Node=", "Service=a,b", "ServiceCIDR=", "synced Pod"]);

    bench.fake.put(SLICES, "s", json!({"addressType": "IPv4", "endpoints": null}));
    bench.until("+EndpointSlice n/s").await;
    bench.fake.delete(SERVICES, "b");
    bench.until("-Service n/b").await;
    bench.fake.put(NODES, "x", json!({}));
    bench.until("+Node x").await;
    bench.fake.put(CIDRS, "y", json!({"spec": {"cidrs": ["10.96.0.0/16"]}}));
    bench.until("+ServiceCIDR y").await;

    let asked = |path: &str, part: &str| bench.watches(path).iter().any(|it| it.contains(part));
    assert!(asked(SERVICES, "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name"));
    assert!(asked(SLICES, "labelSelector=%21service.kubernetes.io%2Fheadless"));
    // The list was the beginning of the watch: there was one request for each kind.
    assert!(asked(NODES, "sendInitialEvents=true"));
    assert_eq!(bench.fake.requests().len(), RESOURCES.len());
}

#[tokio::test]
async fn a_server_that_refuses_streaming_lists_is_asked_for_pages() {
    let fake = Fake::start().await;
    fake.refuse_streams();
    for i in 0..600 {
        fake.put(SERVICES, &format!("{i:03}"), json!({}));
    }
    let mut bench = Bench::start(fake).await;
    let told = loop {
        if let Update::Events(events) = bench.next().await
            && let Some(Event::Replace { objects, .. }) =
                events.into_iter().find(|event| matches!(event, Event::Replace { kind: Kind::Service, .. }))
        {
            break objects.len();
        }
    };
    assert_eq!(told, 600);
    let pages =
        bench.fake.requests().into_iter().filter(|it| it.starts_with(SERVICES) && it.contains("limit="));
    assert_eq!(pages.count(), 3);
    bench.fake.delete(SERVICES, "007");
    bench.until("-Service n/007").await;
}

#[tokio::test]
async fn while_the_api_is_away_nothing_is_told_but_that_and_then_the_new_list_replaces_the_old() {
    let mut bench = Bench::start(with_services(&["a", "b"]).await).await;
    bench.until("Service=a,b").await;
    bench.fake.stop().await;
    let refused = format!("Service, EndpointSlice, Node, ServiceCIDR: {}: ", bench.fake.url());
    bench
        .health(|health| {
            health.problems.iter().any(|problem| problem.starts_with(&refused) && problem.contains("refused"))
        })
        .await;
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
async fn a_server_that_comes_back_with_other_data_and_lower_versions_is_believed() {
    let mut bench = Bench::start(with_services(&["a", "b", "c", "d"]).await).await;
    bench.until("Service=a,b,c,d").await;
    bench.fake.stop().await;
    bench.fake.wipe();
    bench.fake.put(SERVICES, "z", json!({}));
    bench.fake.resume().await;
    bench.until("Service=z").await;
    bench.fake.put(SERVICES, "y", json!({}));
    bench.until("+Service n/y").await;
}

#[tokio::test]
async fn a_bookmark_from_before_what_was_seen_is_another_store() {
    let mut bench = Bench::start(with_services(&["a", "b", "c"]).await).await;
    bench.until("Service=a,b,c").await;
    // As behind a load balancer that holds the connection: only the versions tell.
    bench.fake.put(SERVICES, "d", json!({}));
    bench.until("+Service n/d").await;
    bench.fake.rewind(SERVICES);
    bench.until("Service=z").await;
}

#[tokio::test]
async fn a_stream_that_is_cut_in_mid_event_is_listed_anew() {
    let mut bench = Bench::start(with_services(&["a"]).await).await;
    bench.until("Service=a").await;
    bench.fake.end(End::MidEvent);
    bench.until("Service=a").await;
    bench.fake.put(SERVICES, "b", json!({}));
    bench.until("+Service n/b").await;
}

#[tokio::test]
async fn a_watch_that_ends_before_its_time_is_listed_anew() {
    let mut bench = Bench::start(with_services(&["a"]).await).await;
    bench.until("Service=a").await;
    bench.fake.end(End::Whole);
    bench.until("Service=a").await;
}

#[tokio::test]
async fn a_watch_whose_time_is_over_goes_on_from_where_it_was() {
    // Every end is in time.
    let limits = Limits { watch: Duration::from_millis(1), ..Limits::default() };
    let mut bench = Bench::start_within(with_services(&["a"]).await, limits, &[]).await;
    bench.until("Service=a").await;
    bench.fake.put(SERVICES, "b", json!({}));
    bench.until("+Service n/b").await;
    bench.fake.end(End::Whole);
    bench.wait_watches(SERVICES, 2).await;
    bench.fake.put(SERVICES, "c", json!({}));
    let told = bench.until("+Service n/c").await;
    assert!(!told.iter().any(|event| event.starts_with("Service=")), "{told:?}");
    let resumed = bench.watches(SERVICES);
    assert!(resumed.last().unwrap().contains("resourceVersion=2"), "{resumed:?}");
}

#[tokio::test]
async fn a_version_that_is_too_old_is_listed_anew() {
    let limits = Limits { watch: Duration::from_millis(1), ..Limits::default() };
    let mut bench = Bench::start_within(with_services(&["a"]).await, limits, &[]).await;
    bench.until("Service=a").await;
    bench.fake.forget_history();
    bench.fake.end(End::Whole);
    bench.until("Service=a").await;
}

#[tokio::test]
async fn a_bookmark_moves_the_version_that_a_watch_goes_on_from() {
    let limits = Limits { watch: Duration::from_millis(1), ..Limits::default() };
    let mut bench = Bench::start_within(with_services(&["a"]).await, limits, &[]).await;
    bench.until("Service=a").await;
    bench.fake.bookmark(SERVICES);
    bench.fake.put(NODES, "x", json!({}));
    bench.until("+Node x").await;
    bench.fake.end(End::Whole);
    bench.wait_watches(SERVICES, 2).await;
    bench.fake.put(SERVICES, "b", json!({}));
    let told = bench.until("+Service n/b").await;
    assert!(!told.iter().any(|event| event.starts_with("Service=")), "{told:?}");
    assert!(bench.watches(SERVICES).last().unwrap().contains("resourceVersion=2"));
}

#[tokio::test]
async fn a_server_that_hangs_is_reported_and_its_problem_clears_with_the_next_watch() {
    let fake = with_services(&["a"]).await;
    // It goes silent within a watch, then begins to answer and does not go on, then says what is wrong. The other kinds have nothing
    // to be told, so their watches fall silent too: what has been listed counts as settled, so that this is no problem.
    let limits = Limits { silence: Duration::from_millis(200), settled: Duration::ZERO, ..Limits::default() };
    let mut bench = Bench::start_within(fake, limits, &[]).await;
    bench.until("Service=a").await;
    bench.fake.answer(SERVICES, Some(Answer::Hang));
    bench.fake.end(End::Broken);
    bench.health(|health| health.problems.iter().any(|problem| problem.contains("said nothing"))).await;
    bench.fake.answer(SERVICES, Some(Answer::Error(504, "etcd is slow")));
    bench.health(|health| health.problems.iter().any(|problem| problem.contains("504"))).await;
    bench.fake.answer(SERVICES, None);
    bench.health(|health| health.problems.is_empty()).await;
}

#[tokio::test]
async fn a_server_that_accepts_watches_and_never_says_a_word_is_listed_anew() {
    let limits = Limits { silence: Duration::from_millis(200), ..Limits::default() };
    let mut bench = Bench::start_within(with_services(&["a"]).await, limits, &[]).await;
    // The list, silence, a watch from there, silence again, and a list.
    bench.until("Service=a").await;
    bench.until("Service=a").await;
    assert_eq!(bench.watches(SERVICES).iter().filter(|it| !it.contains("sendInitialEvents")).count(), 1);
}

#[tokio::test]
async fn an_api_that_does_not_answer_at_the_start_is_reported_and_waited_for() {
    let mut fake = with_services(&["a"]).await;
    fake.stop().await;
    let mut bench = Bench::start(fake).await;
    let problem = bench.problem().await;
    assert!(problem.contains(&bench.fake.url()), "{problem}");
    bench.fake.resume().await;
    bench.until("Service=a").await;
}

#[tokio::test]
async fn a_missing_right_and_bad_credentials_are_named_and_the_other_kinds_go_on() {
    let fake = with_services(&["a"]).await;
    fake.answer(SLICES, Some(Answer::Error(403, "endpointslices is forbidden")));
    let mut bench = Bench::start(fake).await;
    bench.until("Service=a").await;
    bench.fake.end(End::Whole);
    let problem = bench.problem().await;
    for part in ["EndpointSlice: ", "verb \"watch\"", "resource \"endpointslices\"", "discovery.k8s.io"] {
        assert!(problem.contains(part), "{part} is not in {problem}");
    }
    bench.fake.answer(SLICES, Some(Answer::Error(401, "Unauthorized")));
    bench.health(|health| health.problems.iter().any(|problem| problem.contains("credentials"))).await;
    bench.fake.answer(SLICES, None);
    bench.until("EndpointSlice=").await;
}

#[tokio::test]
async fn a_server_without_service_cidrs_is_served_without_a_problem() {
    let fake = with_services(&["a"]).await;
    fake.answer(CIDRS, Some(Answer::Error(404, "the server could not find the requested resource")));
    let mut bench = Bench::start(fake).await;
    let (mut told, mut problems) = (Vec::new(), Vec::new());
    while told.len() < 5 {
        match bench.next().await {
            Update::Events(events) => told.extend(events.iter().map(text)),
            Update::Health(health) => problems.extend(health.problems),
        }
    }
    assert!(told.contains(&"ServiceCIDR=".to_owned()), "{told:?}");
    assert_eq!(problems, [""; 0]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_spoils_neither_the_list_nor_the_watch() {
    for pages in [false, true] {
        let fake = Fake::start().await;
        if pages {
            fake.refuse_streams();
        }
        fake.put(SERVICES, "a", json!({}));
        fake.put(SERVICES, "bad", json!({"spec": {"ports": "none"}}));
        fake.put(SERVICES, "c", json!({}));
        let mut bench = Bench::start(fake).await;
        let health = bench.health(|health| !health.problems.is_empty()).await;
        let problem = &health.problems[0];
        assert!(problem.contains("Service n/bad") && problem.contains("field spec.ports"), "{problem}");
        assert!(health.incomplete);
        bench.until("Service=a,c").await;
        bench.fake.put(SERVICES, "c", json!({"spec": {"ports": "none"}}));
        bench.fake.put(SERVICES, "d", json!({}));
        bench.until("+Service n/d").await;
        bench.fake.put(SERVICES, "c", json!({}));
        bench.until("+Service n/c").await;
        bench.fake.delete(SERVICES, "bad");
        bench.until("-Service n/bad").await;
    }
}

#[tokio::test]
async fn an_object_that_becomes_unreadable_is_no_object_that_is_gone() {
    let mut bench = Bench::start(with_services(&["a", "b"]).await).await;
    bench.until("Service=a,b").await;
    bench.fake.put(SERVICES, "b", json!({"spec": {"ports": "none"}}));
    bench.problem().await;
    bench.fake.end(End::Broken);
    loop {
        let Update::Events(events) = bench.next().await else { continue };
        for event in events {
            assert!(!text(&event).starts_with('-'), "{event:?}");
            if let Event::Replace { kind: Kind::Service, unread, .. } = &event {
                assert_eq!(unread.iter().map(ToString::to_string).collect::<Vec<_>>(), ["Service n/b"]);
                return;
            }
        }
    }
}

#[tokio::test]
async fn of_several_servers_the_next_takes_over_and_the_first_comes_back() {
    let mut first = with_services(&["a"]).await;
    let second = with_services(&["b"]).await;
    let urls = [first.url(), second.url()];
    first.stop().await;
    let mut bench = Bench::start_within(second, Limits::default(), &[&urls[0], &urls[1]]).await;
    let told = bench.until("Service=b").await;
    assert!(!told.iter().any(|event| event == "Service=a"));
    first.resume().await;
    bench.fake.stop().await;
    bench.until("Service=a").await;
}
