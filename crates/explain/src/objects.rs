//! One object of the file, decoded and compiled by its kind.

use secondmate_cycle::Profile;
use secondmate_model::objects::{ApiResource, Object, ObjectKind, OwnKind, Source};
use secondmate_model::{Node, NodeError, Pod, PodError, Timestamp, trimmed};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// The location of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Document of the file, from 1.
    pub document: usize,
    /// Item of the document's list, from 1, if it is one.
    pub item: Option<usize>,
    /// Line of the file, from 1, if known.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            return write!(f, "line {line}");
        }
        write!(f, "document {}", self.document)?;
        self.item.map_or(Ok(()), |item| write!(f, ", item {item}"))
    }
}

/// An object that scheduling reads.
#[derive(Clone, Debug)]
pub enum Item {
    /// A pod.
    Pod(Arc<Pod>),
    /// A node.
    Node(Arc<Node>),
    /// Any other.
    Other(Object),
}

impl Item {
    /// Kind and name, for messages and for finding duplicates.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Pod(pod) => format!("Pod {}", pod.full_name()),
            Self::Node(node) => format!("Node {}", node.name),
            Self::Other(Object::Own(object)) => format!("{:?} {}", object.kind(), object.name()),
            Self::Other(object) => format!("{} {}", object.kind().api().kind, object.name()),
        }
    }
}

/// What identifies an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Header {
    #[serde(deserialize_with = "nullable")]
    pub api_version: String,
    #[serde(deserialize_with = "nullable")]
    pub kind: String,
    pub metadata: HeaderMeta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct HeaderMeta {
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    #[serde(deserialize_with = "nullable")]
    pub uid: String,
    /// Of any form: an object is not refused for it here.
    creation_timestamp: Value,
}

impl Header {
    /// When the object was created, where it says so.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        Timestamp::parse(self.metadata.creation_timestamp.as_str()?)
    }

    /// Kind and name.
    pub(crate) fn title(&self) -> String {
        let HeaderMeta { name, namespace, .. } = &self.metadata;
        let slash = if namespace.is_empty() { "" } else { "/" };
        format!("{} {namespace}{slash}{name}", self.kind)
    }
}

fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

/// Why an object cannot be used.
pub(crate) enum ObjectError {
    Decode(serde_json::Error),
    Pod(PodError),
    Node(NodeError),
    NoName,
}

/// A kind that scheduling reads, in the only version in which it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pod,
    Node,
    Other(ObjectKind),
}

impl Kind {
    pub(crate) fn of(api_version: &str, kind: &str) -> Option<Self> {
        if ApiResource::PODS.is(api_version, kind) {
            return Some(Self::Pod);
        }
        if ApiResource::NODES.is(api_version, kind) {
            return Some(Self::Node);
        }
        ObjectKind::of(api_version, kind).map(Self::Other)
    }
}

/// What is kept in addition to what the in-tree plugins read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Complete pods and nodes, for plugins that read them and for extenders that receive them.
    whole: bool,
    /// Kinds that plugins read as their own types.
    pub(crate) own: Vec<OwnKind>,
}

impl Keep {
    /// Nothing in addition.
    pub const COMPILED: Self = Self { whole: false, own: Vec::new() };
    /// Complete pods and nodes.
    pub const WHOLE: Self = Self { whole: true, own: Vec::new() };

    /// What these profiles need.
    #[must_use]
    pub fn for_profiles(profiles: &[Profile]) -> Self {
        let mut keep = Self::default();
        for plugin in profiles.iter().flat_map(Profile::plugins) {
            let declaration = plugin.plugin.declaration();
            keep.whole |= declaration.whole_objects;
            keep.own.extend(declaration.objects.into_iter().filter_map(ObjectKind::as_own));
        }
        keep.whole |= profiles.iter().any(|profile| !profile.extenders().is_empty());
        keep.own.sort_unstable();
        keep.own.dedup();
        keep
    }

    /// The types that plugins read the kind as.
    pub(crate) fn own_kinds(&self, api_version: &str, kind: &str) -> impl Iterator<Item = OwnKind> {
        self.own.iter().copied().filter(move |own| own.api().is(api_version, kind))
    }

    /// The object's JSON with these fields in its metadata, in the form that the scheduler keeps; `None` if it is not kept.
    fn json(&self, given: Source<'_>, metadata: &[(&str, &str)]) -> Result<Option<String>, ObjectError> {
        if !self.whole {
            return Ok(None);
        }
        let mut value: Value = given.decode().map_err(ObjectError::Decode)?;
        // A list in field order is decoded like an object, here as elsewhere; an API server stores no such thing.
        let Some(named) = value.get_mut("metadata").and_then(Value::as_object_mut) else {
            return Err(ObjectError::Decode(serde::de::Error::custom("metadata: expected an object")));
        };
        for (field, text) in metadata {
            named.insert((*field).to_owned(), (*text).into());
        }
        Ok(trimmed(&value.to_string()))
    }
}

/// Decodes and compiles an object.
pub(crate) fn compile(
    kind: Kind,
    header: &Header,
    given: Source<'_>,
    keep: &Keep,
) -> Result<Item, ObjectError> {
    if header.metadata.name.is_empty() {
        return Err(ObjectError::NoName);
    }
    match kind {
        Kind::Pod => {
            let mut pod = given.pod().map_err(ObjectError::Decode)?;
            let meta = &mut pod.metadata;
            if meta.namespace.is_empty() {
                meta.namespace = "default".into();
            }
            if meta.uid.is_empty() {
                meta.uid = format!("pod-{}-{}", meta.namespace, meta.name).into();
            }
            let json =
                keep.json(given, &[("namespace", &pod.metadata.namespace), ("uid", &pod.metadata.uid)])?;
            let mut pod = Pod::new(&pod).map_err(ObjectError::Pod)?;
            pod.json = json.map(Into::into);
            Ok(Item::Pod(Arc::new(pod)))
        }
        Kind::Node => {
            let node = given.node().map_err(ObjectError::Decode)?;
            let json = keep.json(given, &[])?;
            let node = Node { json: json.map(Into::into), ..Node::new(&node).map_err(ObjectError::Node)? };
            Ok(Item::Node(Arc::new(node)))
        }
        Kind::Other(kind) => {
            let (mut object, _) = kind.compile(given).map_err(ObjectError::Decode)?;
            if let Object::PersistentVolumeClaim(claim) = &mut object
                && claim.uid.is_empty()
            {
                let claim = Arc::make_mut(claim);
                claim.uid = format!("claim-{}-{}", claim.name.namespace, claim.name.name).into();
            }
            Ok(Item::Other(object))
        }
    }
}
