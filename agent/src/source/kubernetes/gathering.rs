//! What the reflectors tell, put together: events for the model, and how the source is.

use std::collections::BTreeMap;

use penstock_model::objects::{Event, Kind};

use super::read::Unreadable;
use super::reflector::Told;
use crate::source::Health;

/// Objects that cannot be read and are named one by one; of more, the number is told.
const NAMED: usize = 20;

/// What is wrong with each resource, and with which objects.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    troubles: BTreeMap<Kind, String>,
    /// By the name of the object, or where even that cannot be read, by what is wrong.
    unreadable: BTreeMap<(Kind, String), String>,
    /// Kinds in whose last list something could not be read.
    incomplete: BTreeMap<Kind, bool>,
    absent: BTreeMap<Kind, bool>,
}

impl Gathering {
    /// Takes in what was told of a kind; gives what the model is to know of it.
    pub(super) fn add(&mut self, kind: Kind, told: Told) -> Option<Event> {
        if let Told::Failed(trouble) = told {
            self.troubles.insert(kind, trouble);
            return None;
        }
        self.troubles.remove(&kind);
        match told {
            Told::Listed(objects, unreadable) => {
                self.unreadable.retain(|(known, _), _| *known != kind);
                self.incomplete.insert(kind, !unreadable.is_empty());
                self.absent.remove(&kind);
                let unread = unreadable.iter().filter_map(|object| object.key.clone()).collect();
                unreadable.into_iter().for_each(|object| self.cannot_read(kind, object));
                Some(Event::Replace { kind, objects, unread })
            }
            Told::Changed(object) => {
                if !self.unreadable.is_empty() {
                    self.unreadable.remove(&(kind, object.key().to_string()));
                }
                Some(Event::Upsert(object))
            }
            Told::Gone(key) => {
                self.unreadable.remove(&(kind, key.to_string()));
                Some(Event::Delete(key))
            }
            Told::Unreadable(object) => {
                self.cannot_read(kind, object);
                None
            }
            Told::Absent => {
                if self.absent.insert(kind, true).is_none() {
                    tracing::info!("kubernetes: this cluster has no {kind}s; going on without");
                }
                Some(nothing(kind))
            }
            Told::Well | Told::Failed(_) => None,
        }
    }

    fn cannot_read(&mut self, kind: Kind, object: Unreadable) {
        let name = object.key.map_or_else(|| format!("a {kind} without a name"), |key| key.to_string());
        self.unreadable.insert((kind, name), object.problem);
    }

    /// What is wrong and was not `before`: of what several kinds suffer from, the first word.
    pub(super) fn news(&self, before: &Health) -> Vec<String> {
        let is_new =
            |problem: &&String| !before.problems.iter().any(|known| known.ends_with(problem.as_str()));
        let troubles: BTreeMap<_, _> = self.troubles.iter().map(|(kind, trouble)| (trouble, kind)).collect();
        let troubles = troubles.into_iter().filter(|(trouble, _)| is_new(trouble));
        let mut news: Vec<_> = troubles.map(|(trouble, kind)| format!("{kind}: {trouble}")).collect();
        let health = self.health();
        let objects = health.problems.into_iter().filter(|problem| problem.contains("cannot be read"));
        news.extend(objects.filter(|problem| is_new(&problem)));
        news
    }

    /// How the source is. What several kinds suffer from is said once.
    pub(super) fn health(&self) -> Health {
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (kind, trouble) in &self.troubles {
            kinds.entry(trouble).or_default().push(kind.as_str());
        }
        let mut problems: Vec<_> =
            kinds.into_iter().map(|(trouble, kinds)| format!("{}: {trouble}", kinds.join(", "))).collect();
        let named = self.unreadable.iter().take(NAMED);
        problems.extend(named.map(|((_, name), problem)| format!("{name} cannot be read: {problem}")));
        if self.unreadable.len() > NAMED {
            problems.push(format!("{} more objects cannot be read", self.unreadable.len() - NAMED));
        }
        Health { problems, incomplete: self.incomplete.values().any(|it| *it), ..Health::default() }
    }
}

/// There is no object of this kind.
fn nothing(kind: Kind) -> Event {
    Event::Replace { kind, objects: Vec::new(), unread: Vec::new() }
}

#[cfg(test)]
mod tests {
    use penstock_model::objects::ObjectKey;

    use super::*;

    fn unreadable(name: &str) -> Unreadable {
        let key = Some(ObjectKey::new(Kind::Service, "n", name));
        Unreadable { key, problem: "field spec: no".into() }
    }

    #[test]
    fn what_several_kinds_suffer_from_is_said_once_and_goes_with_the_next_word_of_each() {
        let mut gathering = Gathering::default();
        for kind in [Kind::Service, Kind::Node] {
            assert_eq!(gathering.add(kind, Told::Failed("https://a: refused".into())), None);
        }
        assert_eq!(gathering.health().problems, ["Service, Node: https://a: refused"]);
        let before = gathering.health();
        gathering.add(Kind::EndpointSlice, Told::Failed("https://a: refused".into()));
        assert_eq!(gathering.news(&before), [""; 0]);
        gathering.add(Kind::EndpointSlice, Told::Failed("https://a: too slow".into()));
        assert_eq!(gathering.news(&before), ["EndpointSlice: https://a: too slow"]);
        gathering.add(Kind::EndpointSlice, Told::Well);
        gathering.add(Kind::Node, Told::Well);
        assert_eq!(gathering.health().problems, ["Service: https://a: refused"]);
        gathering.add(Kind::Service, Told::Listed(Vec::new(), Vec::new()));
        assert_eq!(gathering.health(), Health::default());
    }

    #[test]
    fn an_object_that_cannot_be_read_is_named_until_it_can_be_or_is_gone() {
        let mut gathering = Gathering::default();
        let listed = Told::Listed(Vec::new(), vec![unreadable("a"), unreadable("b")]);
        let key = |name| ObjectKey::new(Kind::Service, "n", name);
        let unread = vec![key("a"), key("b")];
        let event = Event::Replace { kind: Kind::Service, objects: Vec::new(), unread };
        assert_eq!(gathering.add(Kind::Service, listed), Some(event));
        let health = gathering.health();
        assert_eq!(
            health.problems,
            ["Service n/a cannot be read: field spec: no", "Service n/b cannot be read: field spec: no"]
        );
        assert!(health.incomplete);
        gathering.add(Kind::Service, Told::Gone(key("a")));
        assert_eq!(gathering.health().problems.len(), 1);
        gathering.add(Kind::Service, Told::Listed(Vec::new(), Vec::new()));
        assert_eq!(gathering.health(), Health::default());
    }

    #[test]
    fn of_many_objects_that_cannot_be_read_the_rest_is_counted() {
        let mut gathering = Gathering::default();
        for i in 0..NAMED + 5 {
            gathering.add(Kind::Service, Told::Unreadable(unreadable(&i.to_string())));
        }
        let health = gathering.health();
        assert_eq!(health.problems.len(), NAMED + 1);
        assert_eq!(health.problems[NAMED], "5 more objects cannot be read");
        assert!(!health.incomplete);
    }

    #[test]
    fn a_resource_that_the_server_does_not_have_has_no_objects_and_is_no_problem() {
        let mut gathering = Gathering::default();
        let event = gathering.add(Kind::ServiceCidr, Told::Absent);
        assert_eq!(event, Some(nothing(Kind::ServiceCidr)));
        assert_eq!(gathering.health(), Health::default());
    }
}
