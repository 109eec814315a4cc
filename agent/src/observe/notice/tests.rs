use std::sync::Mutex;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::observe::Moment;
use crate::observe::metrics::{Exposition, Format, Reading};

/// What was asked of an API server: method, path with query, body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

/// An API server that knows one Service, and takes Events or refuses them.
fn api(asked: &Asked, takes_events: bool) -> Client {
    let asked = Arc::clone(asked);
    let answer = move |request: Request<Body>| {
        let asked = Arc::clone(&asked);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
            let is_event = head.uri.path().contains("/events");
            asked.lock().unwrap().push((head.method.to_string(), head.uri.to_string(), sent.clone()));
            let (code, body) = match (is_event, takes_events) {
                (true, true) => (201, sent),
                (true, false) => {
                    let message = "events.events.k8s.io is forbidden: cannot create resource \"events\"";
                    (
                        403,
                        json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": message}),
                    )
                }
                (false, _) => {
                    let metadata = json!({"name": "late", "namespace": "shop", "uid": "the-uid"});
                    let kind = "PartialObjectMetadata";
                    let item = json!({"apiVersion": "meta.k8s.io/v1", "kind": kind, "metadata": metadata});
                    (
                        200,
                        json!({"apiVersion": "meta.k8s.io/v1", "kind": kind.to_owned() + "List", "metadata": {}, "items": [item]}),
                    )
                }
            };
            Ok::<_, tower::BoxError>(
                Response::builder().status(code).body(Body::from(body.to_string().into_bytes()))?,
            )
        }
    };
    Client::new(tower::service_fn(answer), "default")
}

fn conflict() -> Notice {
    Notice::PortConflict {
        loser: ObjectKey::new(Kind::Service, "shop", "late"),
        frontend: Frontend {
            addr: "10.96.0.1".parse().unwrap(),
            port: 80,
            protocol: penstock_abi::Protocol::TCP,
        },
        owner: ObjectKey::new(Kind::Service, "shop", "early"),
    }
}

/// Sends these, one behind the other, and gives what was asked of the API server and what was counted.
fn send(notices: &[Notice], takes_events: bool) -> (Vec<(String, String, Value)>, String) {
    let asked = Asked::default();
    let observed = Arc::new(Observed::new(Moment::now()));
    crate::runtime::new().unwrap().block_on(async {
        let (sender, receiver) = mpsc::channel(WAITING);
        for notice in notices {
            sender.try_send(notice.clone()).unwrap();
        }
        drop(sender);
        send_all(api(&asked, takes_events), "n1".into(), Arc::clone(&observed), receiver).await;
    });
    let metrics = Exposition::new(&observed.metrics, Reading::default()).text(Format::Prometheus).unwrap();
    (std::mem::take(&mut *asked.lock().unwrap()), metrics)
}

#[test]
fn a_port_conflict_is_told_at_the_service_that_loses_by_its_uid() {
    let (asked, metrics) = send(&[conflict()], true);
    let [(_, look_up, _), (method, path, event)] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(look_up.starts_with("/api/v1/namespaces/shop/services?"), "{look_up}");
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events?"));
    assert_eq!((&event["reason"], &event["type"]), (&json!("PortConflict"), &json!("Warning")));
    assert_eq!(event["regarding"]["uid"], "the-uid");
    assert_eq!(event["reportingInstance"], "n1");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("10.96.0.1:80/TCP stays with Service shop/early"), "{note}");
    assert!(metrics.contains("penstock_events_total 1\n"), "{metrics}");
}

#[test]
fn an_event_that_repeats_itself_becomes_one_with_a_count() {
    let full = Notice::TableFull { table: "backends6", size: 100 };
    let (asked, _) = send(&[full.clone(), full], true);
    let [(create, path, event), (patch, _, again)] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((create.as_str(), patch.as_str()), ("POST", "PATCH"));
    assert_eq!(path, "/apis/events.k8s.io/v1/namespaces/default/events?");
    assert!(event["note"].as_str().unwrap().contains("--max-backends"), "{event}");
    assert_eq!((&event["regarding"]["kind"], &event["regarding"]["name"]), (&json!("Node"), &json!("n1")));
    assert_eq!(again["series"]["count"], 2);
}

#[test]
fn what_the_api_refuses_is_counted_and_what_follows_is_still_tried() {
    let taken = Notice::TakenOver { what: "kube-proxy's rules are removed".into() };
    let (asked, metrics) = send(&[Notice::Ready, taken], false);
    assert_eq!(asked.len(), 2);
    assert!(metrics.contains("penstock_events_total 0\n"), "{metrics}");
    assert!(metrics.contains("penstock_events_lost_total 2\n"), "{metrics}");
}

#[test]
fn a_note_is_no_longer_than_the_api_takes() {
    let event = Notice::TakenOver { what: "ü".repeat(1_000) }.event("n1");
    let note = event.note.unwrap();
    assert!(note.len() <= LONGEST && note.len() > LONGEST - 2, "{}", note.len());
}
