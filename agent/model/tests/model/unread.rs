//! Objects that are there and cannot be read any longer.

use penstock_model::Controller;
use penstock_model::memory::MemoryTables;
use penstock_model::objects::{Event, Kind, ObjectKey};

use crate::facts;

fn services(names: &[&str], unread: &[&str]) -> Event {
    let object = |name: &&str| {
        let address = u8::try_from(name.len()).unwrap();
        let json = format!(
            r#"{{"metadata": {{"name": "{name}"}}, "spec": {{"clusterIPs": ["10.96.0.{address}"], "ports": [{{"port": 80}}]}}}}"#
        );
        Kind::Service.deserialize(&mut serde_json::Deserializer::from_str(&json)).unwrap()
    };
    let key = |name: &&str| ObjectKey::new(Kind::Service, "", name);
    Event::Replace {
        kind: Kind::Service,
        objects: names.iter().map(object).collect(),
        unread: unread.iter().map(key).collect(),
    }
}

#[test]
fn an_object_that_a_list_holds_unread_stays_as_it_was_until_a_list_holds_it_no_more() {
    let mut controller = Controller::new(facts(), MemoryTables::default()).unwrap();
    let known = |controller: &Controller<MemoryTables>| controller.view().count(Kind::Service);
    controller.apply([Kind::EndpointSlice, Kind::Node].map(Event::Synced));
    controller.apply([services(&["a", "bb", "ccc"], &[])]);
    assert_eq!(known(&controller), 3);
    // One that was never read has no place.
    controller.apply([services(&["a"], &["bb", "dddd"])]);
    assert_eq!(known(&controller), 2, "of a, bb and ccc the last is gone");
    controller.apply([services(&["a"], &[])]);
    assert_eq!(known(&controller), 1);
}
