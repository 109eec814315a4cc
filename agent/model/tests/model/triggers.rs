//! What set off a change of a slice is told once, when the change is committed.

use penstock_model::Controller;
use penstock_model::memory::{Faulty, MemoryTables};
use penstock_model::objects::{Event, Kind, Object, TriggerTime};
use penstock_model::tables::Family;

use crate::facts;

const SERVICE: &str =
    r#"{"metadata": {"name": "a"}, "spec": {"clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]}}"#;

fn object(kind: Kind, json: &str) -> Event {
    Event::Upsert(kind.deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap())
}

/// A slice of one endpoint, changed at a second of 1970.
fn slice(endpoint: u8, second: u8) -> Event {
    let event = object(
        Kind::EndpointSlice,
        &format!(
            r#"{{"metadata": {{"name": "a-1", "labels": {{"kubernetes.io/service-name": "a"}}, "annotations":
                {{"endpoints.kubernetes.io/last-change-trigger-time": "1970-01-01T00:00:{second:02}Z"}}}},
                "addressType": "IPv4", "endpoints": [{{"addresses": ["10.1.0.{endpoint}"]}}],
                "ports": [{{"name": "", "port": 8080}}]}}"#
        ),
    );
    assert!(matches!(event, Event::Upsert(Object::EndpointSlice(_))));
    event
}

fn seconds(seconds: i64) -> TriggerTime {
    TriggerTime(seconds * 1_000_000_000)
}

#[test]
fn a_committed_change_tells_what_set_it_off_and_a_list_of_old_ones_tells_nothing() {
    let mut controller = Controller::new(facts(), MemoryTables::default()).unwrap();
    controller.keep_triggers(seconds(10));
    let synced = [Kind::Service, Kind::EndpointSlice, Kind::Node].map(Event::Synced);
    let report = controller.apply([object(Kind::Service, SERVICE), slice(10, 9)].into_iter().chain(synced));
    assert_eq!((report.committed, report.triggers), (1, vec![]));
    assert_eq!(controller.apply([slice(11, 12)]).triggers, [(Family::V4, seconds(12))]);
    assert_eq!(controller.apply([slice(11, 13)]).triggers, [], "nothing but the annotation has changed");
    assert_eq!(
        [Kind::Service, Kind::EndpointSlice, Kind::Node].map(|kind| controller.view().count(kind)),
        [1, 1, 0]
    );
}

#[test]
fn a_change_that_fails_tells_what_set_it_off_once_it_succeeds() {
    let mut controller = Controller::new(facts(), Faulty::new(MemoryTables::default(), 0, 1)).unwrap();
    controller.keep_triggers(seconds(10));
    let synced = [Kind::Service, Kind::EndpointSlice, Kind::Node].map(Event::Synced);
    controller.apply(synced.into_iter().chain([object(Kind::Service, SERVICE)]));
    controller.tables_mut().percent = 100;
    let report = controller.apply([slice(10, 11)]);
    assert!(!report.failures.is_empty() && report.triggers.is_empty(), "{report:?}");
    controller.tables_mut().percent = 0;
    assert_eq!(controller.apply([]).triggers, [(Family::V4, seconds(11))]);
    assert_eq!(controller.apply([]).triggers, []);
}
