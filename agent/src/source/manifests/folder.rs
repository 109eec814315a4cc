//! What a directory's files hold, by key and hash only: a changed file tells which objects changed and which are gone.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};

use penstock_model::objects::{Event, ObjectKey};

use super::document::{self, Document, Format};
use crate::source::Health;

/// The files of a directory.
///
/// The objects themselves are not kept: a document that has not changed is known by its hash and is not read again.
#[derive(Default)]
pub(super) struct Folder {
    files: BTreeMap<PathBuf, File>,
    /// How many documents hold an object: one, but for mistakes and for objects on the move from one file to another.
    holders: HashMap<ObjectKey, u32>,
    changed: Changes,
}

/// What has been read since it was last taken.
#[derive(Default)]
struct Changes {
    events: Vec<Event>,
    told: HashSet<ObjectKey>,
    dropped: HashSet<ObjectKey>,
}

#[derive(Default)]
struct File {
    documents: Vec<Held>,
    problems: Vec<String>,
}

struct Held {
    /// The document's hash; `None` where it is to be read again whatever it says.
    hash: Option<u64>,
    keys: Vec<ObjectKey>,
    ignored: usize,
}

/// Changed objects, and files that must be read again.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Taken {
    pub(super) events: Vec<Event>,
    /// These hold another definition of an object whose last told definition is gone.
    pub(super) again: Vec<PathBuf>,
}

impl Folder {
    /// A file has this text now.
    ///
    /// While a document of it cannot be read, every object that the file held stays, since there is no telling which of them
    /// were in that document.
    pub(super) fn update(&mut self, path: &Path, text: &str, format: Format) {
        let old = self.files.remove(path).unwrap_or_default();
        let mut unchanged = HashMap::new();
        let mut before = Vec::new();
        for held in old.documents {
            match held.hash {
                Some(hash) if !unchanged.contains_key(&hash) => {
                    unchanged.insert(hash, held);
                }
                _ => before.extend(held.keys),
            }
        }

        let mut file = File::default();
        for document in document::split(text, format) {
            let hash = hash(document);
            let held = match unchanged.remove(&hash) {
                Some(held) => held,
                None => self.read(document, format, hash, path, &mut file.problems),
            };
            file.documents.push(held);
        }

        before.extend(unchanged.into_values().flat_map(|held| held.keys));
        if file.problems.is_empty() {
            self.release(before);
        } else {
            let now: HashSet<_> = file.documents.iter().flat_map(|held| &held.keys).collect();
            let (gone, kept): (Vec<_>, _) = before.into_iter().partition(|key| now.contains(key));
            if !kept.is_empty() {
                file.documents.push(Held { hash: None, keys: kept, ignored: 0 });
            }
            self.release(gone);
        }
        self.files.insert(path.to_owned(), file);
    }

    fn read(
        &mut self,
        document: Document<'_>,
        format: Format,
        hash: u64,
        path: &Path,
        problems: &mut Vec<String>,
    ) -> Held {
        let content = document::read(document, format);
        let readable = content.problems.is_empty();
        problems.extend(content.problems.iter().map(|problem| format!("{}: {problem}", path.display())));
        let mut keys = Vec::with_capacity(content.objects.len());
        for object in content.objects {
            let key = object.key();
            *self.holders.entry(key.clone()).or_default() += 1;
            self.changed.told.insert(key.clone());
            self.changed.events.push(Event::Upsert(object));
            keys.push(key);
        }
        Held { hash: readable.then_some(hash), keys, ignored: content.ignored }
    }

    /// A file is gone.
    pub(super) fn remove(&mut self, path: &Path) {
        let file = self.files.remove(path).unwrap_or_default();
        self.release(file.documents.into_iter().flat_map(|held| held.keys));
    }

    /// A file is there and cannot be read: what it held stays.
    pub(super) fn unreadable(&mut self, path: &Path, why: &dyn std::fmt::Display) {
        let file = self.files.entry(path.to_owned()).or_default();
        file.problems = vec![format!("{}: {why}", path.display())];
    }

    fn release(&mut self, keys: impl IntoIterator<Item = ObjectKey>) {
        for key in keys {
            if let Entry::Occupied(mut holders) = self.holders.entry(key) {
                *holders.get_mut() -= 1;
                self.changed.dropped.insert(holders.key().clone());
                if *holders.get() == 0 {
                    holders.remove();
                }
            }
        }
    }

    /// The changes since the last call, of all files together: an object that moved from one file to another was never gone.
    pub(super) fn take(&mut self) -> Taken {
        let Changes { mut events, told, dropped } = std::mem::take(&mut self.changed);
        let mut hidden = HashSet::new();
        for key in dropped {
            if !self.holders.contains_key(&key) {
                events.push(Event::Delete(key));
            } else if !told.contains(&key) {
                hidden.insert(key);
            }
        }
        let mut again = Vec::new();
        if !hidden.is_empty() {
            for (path, file) in &mut self.files {
                for held in &mut file.documents {
                    if held.hash.is_some() && held.keys.iter().any(|key| hidden.contains(key)) {
                        held.hash = None;
                        again.push(path.clone());
                    }
                }
            }
            again.dedup();
        }
        Taken { events, again }
    }

    /// The files that are known.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// How the files are.
    pub(super) fn health(&self) -> Health {
        let mut problems: Vec<_> =
            self.files.values().flat_map(|file| file.problems.iter().cloned()).collect();
        let mut twice: Vec<_> =
            self.holders.iter().filter(|(_, holders)| **holders > 1).map(|(key, _)| key).collect();
        twice.sort_unstable();
        for key in twice {
            let holds = |file: &File| file.documents.iter().any(|held| held.keys.contains(key));
            let paths: Vec<_> = self
                .files
                .iter()
                .filter(|(_, file)| holds(file))
                .map(|(path, _)| path.display().to_string())
                .collect();
            problems.push(format!("{key} is defined more than once, in {}", paths.join(" and ")));
        }
        let ignored = self.files.values().flat_map(|file| &file.documents).map(|held| held.ignored).sum();
        let incomplete = self.files.values().any(|file| !file.problems.is_empty());
        Health { problems, incomplete, ignored }
    }
}

fn hash(document: Document<'_>) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(document.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, address: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {address}}}\n"
        )
    }

    fn text(events: &[Event]) -> Vec<String> {
        events
            .iter()
            .map(|event| match event {
                Event::Upsert(object) => format!("+{}", object.metadata().name),
                Event::Delete(key) => format!("-{}", key.name),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    struct Bench(Folder);

    impl Bench {
        fn set(&mut self, path: &str, text: &str) -> &mut Self {
            self.0.update(Path::new(path), text, Format::Yaml);
            self
        }

        fn take(&mut self) -> Vec<String> {
            text(&self.0.take().events)
        }
    }

    #[test]
    fn only_documents_that_changed_are_told() {
        let mut folder = Bench(Folder::default());
        let (a, b) = (service("a", "10.0.0.1"), service("b", "10.0.0.2"));
        assert_eq!(folder.set("f", &(a.clone() + &b)).take(), ["+a", "+b"]);
        assert_eq!(folder.set("f", &(a.clone() + &b)).take(), [""; 0]);
        assert_eq!(folder.set("f", &(service("a", "10.0.0.9") + &b)).take(), ["+a"]);
        assert_eq!(folder.set("f", &b).take(), ["-a"]);
        folder.0.remove(Path::new("f"));
        assert_eq!(folder.take(), ["-b"]);
    }

    #[test]
    fn what_a_broken_document_held_stays_until_it_can_be_read() {
        let mut folder = Bench(Folder::default());
        let (a, b) = (service("a", "10.0.0.1"), service("b", "10.0.0.2"));
        folder.set("f", &(a.clone() + &b)).take();
        let broken = a.replace("clusterIP", "clusterIP: [") + &service("b", "10.0.0.7");
        assert_eq!(folder.set("f", &broken).take(), ["+b"]);
        let problems = folder.0.health().problems;
        assert!(problems.len() == 1 && problems[0].starts_with("f: line "), "{problems:?}");
        assert_eq!(folder.set("f", &service("b", "10.0.0.7")).take(), ["-a"]);
        assert_eq!(folder.0.health(), Health::default());
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_its_objects() {
        let mut folder = Bench(Folder::default());
        folder.set("f", &service("a", "10.0.0.1")).take();
        folder.0.unreadable(Path::new("f"), &"no");
        assert_eq!(folder.take(), [""; 0]);
        assert_eq!(folder.0.health().problems, ["f: no"]);
        assert_eq!(folder.set("f", &service("a", "10.0.0.1")).take(), [""; 0]);
        assert_eq!(folder.0.health(), Health::default());
    }

    #[test]
    fn an_object_that_moves_to_another_file_is_never_gone() {
        let mut folder = Bench(Folder::default());
        let a = service("a", "10.0.0.1");
        folder.set("f", &a).take();
        folder.0.remove(Path::new("f"));
        assert_eq!(folder.set("g", &a).take(), ["+a"]);
    }

    #[test]
    fn of_two_definitions_the_other_is_told_when_one_goes() {
        let mut folder = Bench(Folder::default());
        let other = service("a", "10.0.0.2");
        folder.set("f", &service("a", "10.0.0.1")).set("g", &other).take();
        assert_eq!(folder.0.health().problems, ["Service default/a is defined more than once, in f and g"]);
        folder.0.remove(Path::new("f"));
        assert_eq!(folder.0.take(), Taken { events: Vec::new(), again: vec!["g".into()] });
        assert_eq!(folder.set("g", &other).take(), ["+a"]);
        assert_eq!(folder.0.health(), Health::default());
    }
}
