//! One file of manifests: its documents, and the objects in each.

use std::fmt;

use penstock_model::objects::{Kind, Object};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::{Path, Segment, Track};

/// What a file's text is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// YAML, several documents a file.
    Yaml,
    /// JSON, one document a file.
    Json,
}

impl Format {
    /// The format that a file's name tells; `None` for files that are no manifests. Names that begin with a dot are for
    /// half-written and hidden files.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')? {
            ("", _) => None,
            (stem, _) if stem.starts_with('.') => None,
            (_, "yaml" | "yml") => Some(Self::Yaml),
            (_, "json") => Some(Self::Json),
            _ => None,
        }
    }
}

/// One document of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Document<'a> {
    /// The lines of the file before the document.
    pub(super) lines_before: usize,
    /// The text.
    pub(super) text: &'a str,
}

/// The documents of a file, without those that hold nothing but comments.
///
/// YAML is split before it is parsed, at lines that begin with `---` as kubectl does, so that a document that cannot be
/// parsed does not take the ones behind it with it.
pub(super) fn split(text: &str, format: Format) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut lines_before) = (0, 0);
    if format == Format::Yaml {
        let mut offset = 0;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let separates = line
                .strip_prefix("---")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
            if separates && offset > start {
                documents.push(Document { lines_before, text: &text[start..offset] });
                (start, lines_before) = (offset, index);
            }
            offset += line.len();
        }
    }
    documents.push(Document { lines_before, text: &text[start..] });
    documents.retain(|document| document.text.lines().any(is_content));
    documents
}

fn is_content(line: &str) -> bool {
    let line = line.strip_prefix("---").unwrap_or(line).trim();
    !(line.is_empty() || line.starts_with('#'))
}

/// What is wrong with a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Problem {
    /// The line in the file, from 1; `None` where it is not known.
    pub(super) line: Option<usize>,
    /// The field, such as `spec.ports[0].port`; empty where the document as a whole cannot be read.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) message: String,
    /// The object, as far as it can be told.
    pub(super) object: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "field {}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.object.is_empty() {
            write!(f, " (in {})", self.object)?;
        }
        Ok(())
    }
}

/// What a document holds.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Content {
    /// The objects that could be read.
    pub(super) objects: Vec<Object>,
    /// How many objects are of kinds that the model does not read.
    pub(super) ignored: usize,
    /// What could not be read.
    pub(super) problems: Vec<Problem>,
}

/// Reads a document: an object, or a list of them.
pub(super) fn read(document: Document<'_>, format: Format) -> Content {
    let mut content = Content::default();
    let header = match run(document, format, HeaderSeed) {
        Ok(header) => header,
        Err(failure) => {
            content.problems.push(failure.into_problem(String::new()));
            return content;
        }
    };
    let mut wanted = Vec::new();
    match &header.items {
        Some(items) => {
            let item_kind = header.kind.strip_suffix("List").unwrap_or_default();
            for item in items {
                // The items of a ServiceList need not name their kind, those of a List must.
                let named = !item.kind.is_empty();
                let api_version = if named { &item.api_version } else { &header.api_version };
                let kind = if named { &item.kind } else { item_kind };
                wanted.push(Kind::from_manifest(api_version, kind));
            }
        }
        None if header.kind.is_empty() => {
            content.problems.push(Problem {
                line: Some(document.lines_before + 1),
                field: "kind".into(),
                message: "missing: this is no Kubernetes object".into(),
                object: header.object(),
            });
            return content;
        }
        None => wanted.push(Kind::from_manifest(&header.api_version, &header.kind)),
    }
    content.ignored = wanted.iter().filter(|kind| kind.is_none()).count();

    // An item of a list that cannot be read ends the reading: it is left out in the next round, so each of them is reported at
    // its line, and the others are read.
    let is_list = header.items.is_some();
    while wanted.iter().any(Option::is_some) {
        match run(document, format, ObjectsSeed { wanted: &wanted, is_list }) {
            Ok(objects) => {
                content.objects = objects;
                break;
            }
            Err(failure) => {
                let index = if is_list { failure.item() } else { Some(0) };
                let bad = index.and_then(|index| wanted.get_mut(index));
                let object = match &header.items {
                    Some(items) => index.and_then(|index| items.get(index)).map(Header::object),
                    None => Some(header.object()),
                };
                content.problems.push(failure.into_problem(object.unwrap_or_default()));
                match bad {
                    Some(bad) => *bad = None,
                    None => break,
                }
            }
        }
    }
    content
}

/// What tells how to read an object, and what to call it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Header {
    api_version: String,
    kind: String,
    metadata: HeaderMetadata,
    items: Option<Vec<Self>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HeaderMetadata {
    namespace: String,
    name: String,
}

impl Header {
    fn object(&self) -> String {
        let HeaderMetadata { namespace, name } = &self.metadata;
        let path = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
        format!("{} {path}", self.kind).trim().to_owned()
    }
}

struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = Header;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Header, D::Error> {
        Header::deserialize(from)
    }
}

/// Reads the objects of the kinds that are wanted: of each item of a list, or of the one object there is.
#[derive(Clone, Copy)]
struct ObjectsSeed<'a> {
    wanted: &'a [Option<Kind>],
    is_list: bool,
}

impl<'de> DeserializeSeed<'de> for ObjectsSeed<'_> {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        if self.is_list {
            return from.deserialize_map(self);
        }
        match self.wanted {
            [Some(kind)] => Ok(vec![kind.deserialize(from)?]),
            _ => Ok(Vec::new()),
        }
    }
}

impl<'de> Visitor<'de> for ObjectsSeed<'_> {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut objects = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                objects = map.next_value_seed(ItemsSeed(self.wanted))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(objects)
    }
}

struct ItemsSeed<'a>(&'a [Option<Kind>]);

impl<'de> DeserializeSeed<'de> for ItemsSeed<'_> {
    type Value = Vec<Object>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed<'_> {
    type Value = Vec<Object>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Self::Value, S::Error> {
        let mut objects = Vec::new();
        for kind in self.0 {
            match kind {
                Some(kind) => objects.extend(items.next_element_seed(KindSeed(*kind))?),
                None => {
                    items.next_element::<IgnoredAny>()?;
                }
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(objects)
    }
}

struct KindSeed(Kind);

impl<'de> DeserializeSeed<'de> for KindSeed {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Object, D::Error> {
        self.0.deserialize(from)
    }
}

/// Why a document could not be read, and where in it.
struct Failure {
    line: Option<usize>,
    path: Path,
    message: String,
}

impl Failure {
    /// The item of a list in which it happened.
    fn item(&self) -> Option<usize> {
        let mut path = self.path.iter();
        match (path.next()?, path.next()?) {
            (Segment::Map { key }, Segment::Seq { index }) if key == "items" => Some(*index),
            _ => None,
        }
    }

    fn into_problem(self, object: String) -> Problem {
        let path = self.path.to_string();
        let field = if path == "." { String::new() } else { path };
        // serde_yaml_ng says path and place as well; they are said once, and in lines of the file.
        let message = self.message.strip_prefix(&format!("{field}: ")).unwrap_or(&self.message);
        let end = message.rfind(" at line ").unwrap_or(message.len());
        Problem { line: self.line, field, message: message[..end].to_owned(), object }
    }
}

fn run<'de, S: DeserializeSeed<'de>>(
    document: Document<'de>,
    format: Format,
    seed: S,
) -> Result<S::Value, Failure> {
    let mut track = Track::new();
    let (line, message) = match format {
        Format::Yaml => {
            let yaml = serde_yaml_ng::Deserializer::from_str(document.text);
            match seed.deserialize(serde_path_to_error::Deserializer::new(yaml, &mut track)) {
                Ok(value) => return Ok(value),
                Err(error) => (error.location().map(|location| location.line()), error.to_string()),
            }
        }
        Format::Json => {
            let mut json = serde_json::Deserializer::from_str(document.text);
            let value = seed.deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
            match value.and_then(|value| json.end().map(|()| value)) {
                Ok(value) => return Ok(value),
                Err(error) => (Some(error.line()), error.to_string()),
            }
        }
    };
    Err(Failure { line: line.map(|line| line + document.lines_before), path: track.path(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str, format: Format) -> Vec<Content> {
        split(text, format).into_iter().map(|document| read(document, format)).collect()
    }

    fn problems(text: &str) -> Vec<String> {
        let contents = read_all(text, Format::Yaml);
        contents.iter().flat_map(|content| &content.problems).map(Problem::to_string).collect()
    }

    fn keys(contents: &[Content]) -> Vec<String> {
        contents.iter().flat_map(|content| &content.objects).map(|object| object.key().to_string()).collect()
    }

    #[test]
    fn a_file_is_split_at_lines_that_begin_with_three_dashes() {
        let text = "# head\n---\na: 1\n--- # more\nb: |\n  ---x\n---\n# nothing\n---\nc: 3";
        let documents = split(text, Format::Yaml);
        let found: Vec<_> = documents.iter().map(|it| (it.lines_before, it.text)).collect();
        assert_eq!(found, [(1, "---\na: 1\n"), (3, "--- # more\nb: |\n  ---x\n"), (8, "---\nc: 3")]);
    }

    #[test]
    fn several_documents_and_lists_are_read() {
        let contents = read_all(
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: List\nitems:\n\
             - {apiVersion: v1, kind: Pod, metadata: {name: p}}\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n\
             ---\napiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: b, namespace: n}\n",
            Format::Yaml,
        );
        assert_eq!(keys(&contents), ["Service default/a", "Pod default/p", "Service n/b"]);
        assert_eq!(contents.iter().map(|content| content.ignored).sum::<usize>(), 1);
    }

    #[test]
    fn json_is_read_too() {
        let contents =
            read_all(r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}"#, Format::Json);
        assert_eq!(keys(&contents), ["Node n"]);
        let contents = read_all("{\n\"kind\": oops}", Format::Json);
        assert_eq!(contents[0].problems[0].line, Some(2));
    }

    #[test]
    fn a_wrong_field_is_named_with_its_line_and_object() {
        let text = "apiVersion: v1\nkind: Node\nmetadata: {name: ok}\n---\napiVersion: v1\nkind: Service\n\
                    metadata:\n  name: a\n  namespace: n\nspec:\n  ports:\n  - port: eighty\n";
        let problems = problems(text);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("line 12: field spec.ports[0].port: invalid type"), "{problems:?}");
        assert!(problems[0].ends_with("(in Service n/a)"), "{problems:?}");
        assert_eq!(keys(&read_all(text, Format::Yaml)), ["Node ok"]);
    }

    #[test]
    fn each_wrong_item_of_a_list_is_named_and_the_others_are_read() {
        let text = "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n  \
                    spec: {ports: 1}\n- metadata: {name: c}\n- spec: {}\n";
        let problems = problems(text);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("line 6: field items[1].spec.ports"), "{problems:?}");
        assert!(problems[1].contains("items[3]") && problems[1].contains("metadata"), "{problems:?}");
        assert_eq!(keys(&read_all(text, Format::Yaml)), ["Service default/a", "Service default/c"]);
    }

    #[test]
    fn text_that_is_no_yaml_is_named_with_its_line() {
        let problems = problems("a: 1\n---\nkind: [\n---\nkind: Nothing\napiVersion: v1\n");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("field kind: missing"), "{problems:?}");
        assert!(problems[1].starts_with("line "), "{problems:?}");
    }

    #[test]
    fn only_files_with_the_names_of_manifests_are_read() {
        assert_eq!(Format::of_name("a.yaml"), Some(Format::Yaml));
        assert_eq!(Format::of_name("a.b.yml"), Some(Format::Yaml));
        assert_eq!(Format::of_name("a.json"), Some(Format::Json));
        for name in [".a.yaml", ".yaml", "a.yaml~", "a.yaml.swp", "yaml", "README.md"] {
            assert_eq!(Format::of_name(name), None, "{name}");
        }
    }
}
