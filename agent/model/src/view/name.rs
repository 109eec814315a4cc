//! Names of namespaced objects.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::Equivalent;

use crate::objects::{Kind, Metadata, ObjectKey};

/// `namespace/name` of a namespaced object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QualifiedName(Arc<str>);

impl QualifiedName {
    /// From the two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        NameParts { namespace, name }.into()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the object of this name and a kind.
    pub fn key(&self, kind: Kind) -> ObjectKey {
        let NameParts { namespace, name } = self.parts();
        ObjectKey::new(kind, namespace, name)
    }

    /// The two parts.
    pub(crate) fn parts(&self) -> NameParts<'_> {
        let (namespace, name) = self.0.split_once('/').unwrap_or(("", &self.0));
        NameParts { namespace, name }
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// As its parts are hashed, which may stand for it.
impl Hash for QualifiedName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

/// The parts of a [`QualifiedName`], with which one is looked up without being made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct NameParts<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl<'a> NameParts<'a> {
    /// The name of an object; one that tells no namespace is in `default`.
    pub(crate) fn of(metadata: &'a Metadata) -> Self {
        let namespace = if metadata.namespace.is_empty() { "default" } else { &metadata.namespace };
        Self { namespace, name: &metadata.name }
    }
}

impl<'a> From<&'a ObjectKey> for NameParts<'a> {
    fn from(key: &'a ObjectKey) -> Self {
        Self { namespace: &key.namespace, name: &key.name }
    }
}

impl From<NameParts<'_>> for QualifiedName {
    fn from(NameParts { namespace, name }: NameParts<'_>) -> Self {
        let mut text = String::with_capacity(namespace.len() + 1 + name.len());
        text.push_str(namespace);
        text.push('/');
        text.push_str(name);
        Self(text.into())
    }
}

impl Equivalent<QualifiedName> for NameParts<'_> {
    fn equivalent(&self, key: &QualifiedName) -> bool {
        *self == key.parts()
    }
}
