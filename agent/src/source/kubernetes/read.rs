//! From JSON to objects: straight into the model's types, which keep nothing of what they do not know.
//!
//! Lists and events are taken apart without reading what is in them, so that an object that cannot be read costs itself alone.

use std::borrow::Cow;
use std::collections::HashMap;

use penstock_model::objects::{Kind, Object, ObjectKey};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One event of a watch, its object unread.
#[derive(Deserialize)]
pub(super) struct WatchEvent<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    #[serde(rename = "type", borrow)]
    pub(super) event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) object: &'a RawValue,
}

/// One page of a list, its objects unread.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(default)]
    pub(super) metadata: PageMetadata,
    #[serde(default, borrow)]
    pub(super) items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMetadata {
    /// The state that the whole list shows.
    #[serde(default)]
    pub(super) resource_version: String,
    /// Where the next page begins; none or empty: this is the last.
    #[serde(default, rename = "continue")]
    pub(super) next: Option<String>,
}

/// What a watch needs of an object to go on.
#[derive(Deserialize, Default)]
pub(super) struct Versioned {
    #[serde(default)]
    pub(super) metadata: VersionedMetadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct VersionedMetadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    pub(super) resource_version: Option<String>,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

impl VersionedMetadata {
    /// Whether a bookmark says that all has been sent that there was when the watch began (KEP-3157).
    pub(super) fn ends_initial_events(&self) -> bool {
        let annotations = self.annotations.as_ref();
        annotations.is_some_and(|it| it.get("k8s.io/initial-events-end").is_some_and(|text| text == "true"))
    }

    /// The key of the object.
    pub(super) fn key(&self, kind: Kind) -> Option<ObjectKey> {
        Some(ObjectKey::new(kind, self.namespace.as_deref().unwrap_or_default(), self.name.as_deref()?))
    }
}

/// An object that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unreadable {
    /// What it is known by, where that can be read.
    pub(super) key: Option<ObjectKey>,
    /// Which field, and what is wrong with it.
    pub(super) problem: String,
}

/// Reads an object of a kind.
pub(super) fn object(kind: Kind, json: &RawValue) -> Result<Object, Unreadable> {
    if let Ok(object) = kind.deserialize(&mut serde_json::Deserializer::from_str(json.get())) {
        return Ok(object);
    }
    // Once more, slower, to say which field it is.
    let mut track = serde_path_to_error::Track::new();
    let mut reader = serde_json::Deserializer::from_str(json.get());
    let error = match kind.deserialize(serde_path_to_error::Deserializer::new(&mut reader, &mut track)) {
        Ok(object) => return Ok(object),
        Err(error) => error,
    };
    let text = |value: &serde_json::Value, field: &str| Some(value.pointer(field)?.as_str()?.to_owned());
    let value: serde_json::Value = serde_json::from_str(json.get()).unwrap_or_default();
    let namespace = text(&value, "/metadata/namespace").unwrap_or_default();
    let key = text(&value, "/metadata/name").map(|name| ObjectKey::new(kind, &namespace, &name));
    Err(Unreadable { key, problem: format!("field {}: {error}", track.path()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_object_is_what_the_model_reads_of_it() {
        let json = r#"{"kind": "EndpointSlice", "metadata": {"name": "a", "namespace": "n", "resourceVersion": "7",
            "managedFields": [{"manager": "kubectl"}]}, "addressType": "IPv4", "endpoints": null}"#;
        assert_eq!(object(Kind::EndpointSlice, raw(json)).unwrap().key().to_string(), "EndpointSlice n/a");
        let versioned: Versioned = serde_json::from_str(json).unwrap();
        assert_eq!(versioned.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(versioned.metadata.key(Kind::EndpointSlice).unwrap().to_string(), "EndpointSlice n/a");
    }

    #[test]
    fn an_object_that_cannot_be_read_is_named_with_its_field() {
        let json = r#"{"metadata": {"name": "a", "namespace": "n"}, "spec": {"ports": [{"port": 80}, {"port": "x"}]}}"#;
        let unreadable = object(Kind::Service, raw(json)).unwrap_err();
        assert_eq!(unreadable.key.unwrap().to_string(), "Service n/a");
        assert!(unreadable.problem.starts_with("field spec.ports[1].port: "), "{}", unreadable.problem);
        assert_eq!(object(Kind::Node, raw(r#"{"metadata": 1}"#)).unwrap_err().key, None);
    }

    #[test]
    fn a_page_without_items_has_none() {
        let page: Page<'_> =
            serde_json::from_str(r#"{"kind": "List", "items": null, "metadata": {"resourceVersion": "9"}}"#)
                .unwrap();
        assert!(page.items.is_none());
        assert_eq!((page.metadata.resource_version.as_str(), page.metadata.next), ("9", None));
    }

    #[test]
    fn the_last_of_the_initial_events_is_a_bookmark_that_says_so() {
        let ends = |annotations: &str| {
            let json = format!(r#"{{"metadata": {{"resourceVersion": "9", "annotations": {annotations}}}}}"#);
            serde_json::from_str::<Versioned>(&json).unwrap().metadata.ends_initial_events()
        };
        assert!(ends(r#"{"k8s.io/initial-events-end": "true"}"#));
        assert!(!ends(r#"{"other": "true"}"#) && !ends("null"));
    }
}
