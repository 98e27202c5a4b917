//! From text to objects.

use crate::objects::{Given, Header, Item, Kind, ObjectError, Place, compile};
use secondmate_model::objects::Source;
use secondmate_model::{NodeError, PodError};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// Why a file is not understood. Each error names the place in the file, and the object where it has a name.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each field is what the message shows")]
pub enum ReadError {
    /// The text is neither JSON nor YAML.
    #[error(
        "{source_name}: {place}: not valid {format}: {cause}; write Kubernetes objects as `kubectl get -o yaml` or `-o json` does"
    )]
    Syntax { source_name: String, place: Place, format: &'static str, cause: String },
    /// A document is no object.
    #[error(
        "{source_name}: {place} is no Kubernetes object: {missing} is missing; begin it with apiVersion and kind"
    )]
    NoObject { source_name: String, place: Place, missing: &'static str },
    /// An object has no name.
    #[error("{source_name}: {place}: a {kind} without metadata.name; give it one")]
    NoName { source_name: String, place: Place, kind: String },
    /// A field has the wrong type.
    #[error(
        "{source_name}: {place}: {title}: {cause}; correct the field (`kubectl apply --dry-run=server` shows what an API server says)"
    )]
    Decode { source_name: String, place: Place, title: String, cause: String },
    /// A quantity of a pod does not parse.
    #[error("{source_name}: {place}: {error}")]
    Pod { source_name: String, place: Place, error: PodError },
    /// A quantity of a node does not parse.
    #[error("{source_name}: {place}: {error}")]
    Node { source_name: String, place: Place, error: NodeError },
    /// An object stands there twice.
    #[error("{source_name}: {title} stands there twice, in {first} and in {place}; keep one")]
    Twice { source_name: String, title: String, first: Place, place: Place },
    /// Two pods have the same UID.
    #[error("{source_name}: {place}: {title} has the same metadata.uid as {other}; correct or remove it")]
    SameUid { source_name: String, place: Place, title: String, other: String },
}

/// Objects that scheduling does not read: how many there are of each `apiVersion` and kind.
pub type Ignored = BTreeMap<String, usize>;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// Reads all objects of a text, in order: JSON (one value after the other) or YAML (several documents); lists are taken apart.
///
/// `source_name` stands in errors. Objects without a namespace are in `default`; a pod without UID gets one.
///
/// # Errors
/// The first thing that is not understood. Kinds that scheduling does not read are counted, not refused.
pub fn read(text: &str, source_name: &str) -> Result<(Vec<Item>, Ignored), ReadError> {
    let mut reader = Reader::new(source_name);
    if text.trim_start().starts_with(['{', '[']) {
        reader.json(text)?;
    } else {
        reader.yaml(text)?;
    }
    reader.finish()
}

/// Reads objects that are trees already.
///
/// # Errors
/// As [`read`].
pub fn read_values(objects: &[Value], source_name: &str) -> Result<(Vec<Item>, Ignored), ReadError> {
    let mut reader = Reader::new(source_name);
    for (at, object) in objects.iter().enumerate() {
        reader.tree(object, &Place { document: at + 1, item: None })?;
    }
    reader.finish()
}

struct Reader<'a> {
    source_name: &'a str,
    items: Vec<(Item, Place)>,
    ignored: Ignored,
}

impl<'a> Reader<'a> {
    fn new(source_name: &'a str) -> Self {
        Self { source_name, items: Vec::new(), ignored: Ignored::new() }
    }

    fn syntax(&self, place: &Place, format: &'static str, cause: String) -> ReadError {
        ReadError::Syntax { source_name: self.source_name.to_owned(), place: place.clone(), format, cause }
    }

    fn json(&mut self, text: &str) -> Result<(), ReadError> {
        let mut place = Place::default();
        let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
        for value in values {
            place.document += 1;
            let value = value.map_err(|cause| self.syntax(&place, "JSON", cause.to_string()))?;
            if value.get().starts_with('[') {
                let items: Vec<&RawValue> = serde_json::from_str(value.get())
                    .map_err(|cause| self.syntax(&place, "JSON", cause.to_string()))?;
                self.texts(&items, &place, "", "")?;
            } else {
                self.text(value, &place)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, value: &RawValue, place: &Place) -> Result<(), ReadError> {
        let header: Header = self.header(Given::Text(value), place)?;
        if let Some(item_kind) = item_kind(&header) {
            let list: List<'_> =
                serde_json::from_str(value.get()).map_err(|cause| self.decode(&header, place, &cause))?;
            if let Some(items) = list.items {
                let (version, kind) = (header.api_version, item_kind);
                return self.texts(&items, place, &version, &kind);
            }
        }
        self.object(&header, Given::Text(value), place)
    }

    fn texts(
        &mut self,
        items: &[&RawValue],
        place: &Place,
        version: &str,
        kind: &str,
    ) -> Result<(), ReadError> {
        for (at, item) in items.iter().enumerate() {
            let place = Place { item: Some(at + 1), ..place.clone() };
            let mut header: Header = self.header(Given::Text(item), &place)?;
            complete(&mut header, version, kind);
            self.object(&header, Given::Text(item), &place)?;
        }
        Ok(())
    }

    fn yaml(&mut self, text: &str) -> Result<(), ReadError> {
        let mut place = Place::default();
        for (first_line, document) in documents(text) {
            place.document += 1;
            // The file is as long as the cluster is large; what an alias may multiply stays bounded.
            let mut budget = serde_saphyr::Budget::default();
            budget.max_events = usize::MAX;
            budget.max_nodes = usize::MAX;
            budget.max_total_scalar_bytes = usize::MAX;
            let options = serde_saphyr::options! {
                budget: Some(budget),
                with_snippet: false,
                // A node may be called `n`, and Norway is not false.
                strict_booleans: true,
            };
            let value: Value = serde_saphyr::from_str_with_options(document, options).map_err(|cause| {
                self.syntax(&place, "YAML", format!("{cause} (the document begins on line {first_line})"))
            })?;
            match &value {
                Value::Null => place.document -= 1,
                Value::Array(items) => self.trees(items, &place, "", "")?,
                _ => self.tree(&value, &place)?,
            }
        }
        Ok(())
    }

    fn tree(&mut self, value: &Value, place: &Place) -> Result<(), ReadError> {
        let header: Header = self.header(Given::Tree(value), place)?;
        if let (Some(kind), Some(Value::Array(items))) = (item_kind(&header), value.get("items")) {
            return self.trees(items, place, &header.api_version, &kind);
        }
        self.object(&header, Given::Tree(value), place)
    }

    fn trees(&mut self, items: &[Value], place: &Place, version: &str, kind: &str) -> Result<(), ReadError> {
        for (at, item) in items.iter().enumerate() {
            let place = Place { item: Some(at + 1), ..place.clone() };
            let mut header: Header = self.header(Given::Tree(item), &place)?;
            complete(&mut header, version, kind);
            self.object(&header, Given::Tree(item), &place)?;
        }
        Ok(())
    }

    fn header(&self, given: Given<'_>, place: &Place) -> Result<Header, ReadError> {
        given.decode().map_err(|cause| ReadError::Decode {
            source_name: self.source_name.to_owned(),
            place: place.clone(),
            title: "object".to_owned(),
            cause: cause.to_string(),
        })
    }

    fn decode(&self, header: &Header, place: &Place, cause: &serde_json::Error) -> ReadError {
        let meta = &header.metadata;
        let namespace =
            if meta.namespace.is_empty() { String::new() } else { format!("{}/", meta.namespace) };
        ReadError::Decode {
            source_name: self.source_name.to_owned(),
            place: place.clone(),
            title: format!("{} {namespace}{}", header.kind, meta.name),
            cause: cause.to_string(),
        }
    }

    fn object(&mut self, header: &Header, given: Given<'_>, place: &Place) -> Result<(), ReadError> {
        let (source_name, here) = (self.source_name.to_owned(), place.clone());
        for (text, missing) in [(&header.kind, "kind"), (&header.api_version, "apiVersion")] {
            if text.is_empty() {
                return Err(ReadError::NoObject { source_name, place: here, missing });
            }
        }
        let Some(kind) = Kind::of(&header.api_version, &header.kind) else {
            *self.ignored.entry(format!("{} {}", header.api_version, header.kind)).or_insert(0) += 1;
            return Ok(());
        };
        match compile(kind, header, given) {
            Ok(item) => {
                self.items.push((item, here));
                Ok(())
            }
            Err(ObjectError::Decode(cause)) => Err(self.decode(header, place, &cause)),
            Err(ObjectError::Pod(error)) => Err(ReadError::Pod { source_name, place: here, error }),
            Err(ObjectError::Node(error)) => Err(ReadError::Node { source_name, place: here, error }),
            Err(ObjectError::NoName) => {
                Err(ReadError::NoName { source_name, place: here, kind: header.kind.clone() })
            }
        }
    }

    /// The objects, once none is found to be there twice.
    fn finish(self) -> Result<(Vec<Item>, Ignored), ReadError> {
        let mut titles: HashMap<String, Place> = HashMap::with_capacity(self.items.len());
        let mut uids: HashMap<&str, String> = HashMap::new();
        for (item, place) in &self.items {
            let title = item.title();
            let source_name = self.source_name.to_owned();
            if let Some(first) = titles.insert(title.clone(), place.clone()) {
                return Err(ReadError::Twice { source_name, title, first, place: place.clone() });
            }
            if let Item::Pod(pod) = item
                && let Some(other) = uids.insert(pod.uid.as_str(), title.clone())
            {
                return Err(ReadError::SameUid { source_name, place: place.clone(), title, other });
            }
        }
        Ok((self.items.into_iter().map(|(item, _)| item).collect(), self.ignored))
    }
}

/// Kind of the items of a list; empty where each item says it itself.
fn item_kind(header: &Header) -> Option<String> {
    header.kind.strip_suffix("List").map(ToOwned::to_owned)
}

/// The items of a `PodList` do not repeat what they are.
fn complete(header: &mut Header, version: &str, kind: &str) {
    if header.kind.is_empty() {
        header.kind = kind.to_owned();
    }
    if header.api_version.is_empty() {
        header.api_version = version.to_owned();
    }
}

/// The documents of a YAML text, each with the number of its first line.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.trim_end().is_empty() || rest.starts_with([' ', '\t']));
        if is_marker {
            found.push((first_line, &text[start..at]));
            (start, first_line) = (at, index + 1);
        }
        at += line.len();
    }
    found.push((first_line, &text[start..]));
    found.retain(|(_, document)| {
        document.lines().any(|line| {
            let line = line.trim();
            !line.is_empty() && line != "---" && !line.starts_with('#')
        })
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(text: &str) -> Vec<String> {
        let (items, _) = read(text, "f").expect("objects");
        items.iter().map(Item::title).collect()
    }

    fn refusal(text: &str) -> String {
        read(text, "f.yaml").map(|_| ()).expect_err("refused").to_string()
    }

    #[test]
    fn documents_and_lists_give_their_objects_in_order() {
        let yaml = "# nodes\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n---\n---\napiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: v1, kind: Pod, metadata: {name: p}}\n- {apiVersion: v1, kind: Pod, metadata: {name: p, namespace: x}}\n";
        assert_eq!(titles(yaml), ["Node n1", "Pod default/p", "Pod x/p"]);
        let json = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}
            {"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"p"}},{"metadata":{"name":"q"}}]}"#;
        assert_eq!(titles(json), ["Node n1", "Pod default/p", "Pod default/q"]);
        assert_eq!(titles(r#"[{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}]"#), ["Node n1"]);
        assert_eq!(titles(""), Vec::<String>::new());
    }

    #[test]
    fn words_that_once_were_booleans_are_names() {
        assert_eq!(titles("kind: Node\napiVersion: v1\nmetadata: {name: n}\n"), ["Node n"]);
    }

    #[test]
    fn kinds_that_scheduling_does_not_read_are_counted() {
        let text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}\n---\n{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, metadata: {name: b}}\n";
        let text = format!("---\n{text}");
        let (items, ignored) = read(&text, "f").expect("objects");
        assert!(items.is_empty());
        assert_eq!(
            ignored.into_iter().collect::<Vec<_>>(),
            [("apps/v1 Deployment".to_owned(), 1), ("policy/v1beta1 PodDisruptionBudget".to_owned(), 1)]
        );
    }

    #[test]
    fn errors_name_file_place_object_and_remedy() {
        assert_eq!(
            refusal(
                "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - resources: {requests: {cpu: lots}}\n"
            ),
            "f.yaml: document 1: pod default/p: spec.containers[0].resources.requests[\"cpu\"]: \"lots\" is no quantity: \
             it is not a number with an optional suffix; write a number with \
             an optional suffix, such as 500m, 2, 1.5, 128Mi or 1G"
        );
        assert_eq!(
            refusal("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {version: 1}}\n"),
            "f.yaml: document 1: Pod p: invalid type: integer `1`, expected a string; correct the field \
             (`kubectl apply --dry-run=server` shows what an API server says)"
        );
        assert_eq!(
            refusal(
                "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
            ),
            "f.yaml: Pod default/p stands there twice, in document 1 and in document 2; keep one"
        );
        assert_eq!(
            refusal("hello: world\n"),
            "f.yaml: document 1 is no Kubernetes object: kind is missing; begin it with apiVersion and kind"
        );
        assert_eq!(
            refusal("apiVersion: v1\nkind: Node\nmetadata: {}\n"),
            "f.yaml: document 1: a Node without metadata.name; give it one"
        );
        let message = refusal("a: [\n");
        assert!(message.starts_with("f.yaml: document 1: not valid YAML: "), "{message}");
        let message = refusal("{\"a\": ");
        assert!(message.starts_with("f.yaml: document 1: not valid JSON: "), "{message}");
    }
}
