//! From text to objects.

use crate::evaluate::just_after;
use crate::filling::{FilledIn, Filling};
use crate::objects::{Header, Item, Keep, Kind, ObjectError, Place, compile};
use secondmate_documents::{Document, Format, Mistake, SyntaxError, documents, mistake};
use secondmate_model::objects::{ObjectKind, Source};
use secondmate_model::{NodeError, PodError, Timestamp};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Maximum number of errors in a file that are reported at once.
const ERRORS_TOLD_MAX: usize = 20;

/// Something in a file that cannot be understood. It gives the location in the file, and the object's name if it has one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each field is what the message shows")]
pub enum ReadError {
    /// The text is something else entirely, which was recognised.
    #[error("{0}")]
    Mistake(Mistake),
    /// The text is neither JSON nor YAML.
    #[error("{place}: {error}; write Kubernetes objects as `kubectl get -o yaml` or `-o json` does")]
    Syntax { place: Place, error: SyntaxError },
    /// A document is not an object.
    #[error("{place} is no Kubernetes object: {missing} is missing; begin it with apiVersion and kind")]
    NoObject { place: Place, missing: &'static str },
    /// An object has no name.
    #[error("{place}: a {kind} without metadata.name; give it one")]
    NoName { place: Place, kind: String },
    /// A field has the wrong type.
    #[error(
        "{place}: {title}: {cause}; correct the field (`kubectl apply --dry-run=server` shows what an API server says)"
    )]
    Decode { place: Place, title: String, cause: String },
    /// A quantity of a pod does not parse.
    #[error("{place}: {error}")]
    Pod { place: Place, error: PodError },
    /// A quantity of a node does not parse.
    #[error("{place}: {error}")]
    Node { place: Place, error: NodeError },
    /// An object occurs twice.
    #[error("{title} stands there twice, at {first} and at {place}; keep one")]
    Twice { title: String, first: Place, place: Place },
    /// Two pods have the same UID.
    #[error("{place}: {title} has the same metadata.uid as {other}; correct or remove it")]
    SameUid { place: Place, title: String, other: String },
}

/// Why a file is rejected: everything that is wrong with it, in file order.
#[derive(Debug, thiserror::Error)]
pub struct ReadErrors {
    /// The file.
    pub source_name: String,
    /// Never empty.
    pub errors: Vec<ReadError>,
}

impl fmt::Display for ReadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.errors.as_slice() {
            return write!(f, "{}: {one}", self.source_name);
        }
        write!(f, "{} has {} faults:", self.source_name, self.errors.len())?;
        self.errors.iter().take(ERRORS_TOLD_MAX).try_for_each(|error| write!(f, "\n  - {error}"))?;
        match self.errors.len().saturating_sub(ERRORS_TOLD_MAX) {
            0 => Ok(()),
            left => write!(f, "\n  - and {left} more"),
        }
    }
}

/// The title of an object whose kind and name cannot be read.
const UNNAMED: &str = "object";

/// Objects that scheduling does not read: their number by `apiVersion` and kind.
pub type Ignored = BTreeMap<String, usize>;

/// What a file holds.
#[derive(Debug, Default)]
pub struct Reading {
    /// The objects that scheduling reads, in order.
    pub items: Vec<Item>,
    /// Objects that it does not read.
    pub ignored: Ignored,
    /// What was filled in, as by an API server, in objects that were never stored in one.
    pub filled_in: FilledIn,
    /// The latest time at which an object was created or a pod started.
    pub latest: Option<Timestamp>,
}

impl Reading {
    /// The time at which pods are evaluated: a second after the latest that the objects tell of, and the Unix epoch where they tell of none.
    /// The same file has the same time every day.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.latest.map(just_after).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// The locations of the items of a YAML list.
#[derive(Deserialize)]
struct ItemLines {
    items: Vec<serde_saphyr::Spanned<IgnoredAny>>,
}

/// Reads all objects in a text, in order: JSON (one value after the other) or YAML (several documents); lists are split up.
///
/// `source_name` is used in errors. Objects without a namespace are in `default`. An object without a UID was never stored in an
/// API server: it is filled in as one would do it, and gets a UID.
///
/// # Errors
/// Everything that cannot be understood. Kinds that scheduling does not read are counted and are not errors.
pub fn read(text: &str, source_name: &str, keep: Keep) -> Result<Reading, ReadErrors> {
    let mut reader = Reader { filling: Some(Filling::default()), keep, ..Reader::default() };
    for (at, document) in documents(text).iter().enumerate() {
        reader.document(document, at + 1);
    }
    let not_understood = |error: &ReadError| match error {
        ReadError::Syntax { .. } | ReadError::NoObject { .. } => true,
        ReadError::Decode { title, .. } => title == UNNAMED,
        _ => false,
    };
    if reader.errors.iter().any(not_understood)
        && let Some(mistake) = mistake(text)
    {
        // All other findings are consequences of it.
        reader.errors = vec![ReadError::Mistake(mistake)];
    }
    reader.finish(source_name)
}

/// Reads objects that have already been parsed into trees, as they are: nothing is filled in.
///
/// # Errors
/// Like [`read`].
pub fn read_values(
    objects: &[Value],
    source_name: &str,
    keep: Keep,
) -> Result<(Vec<Item>, Ignored), ReadErrors> {
    let mut reader = Reader { keep, ..Reader::default() };
    for (at, object) in objects.iter().enumerate() {
        reader.tree(object, &Place { document: at + 1, ..Place::default() });
    }
    let Reading { items, ignored, .. } = reader.finish(source_name)?;
    Ok((items, ignored))
}

/// The contents of a live cluster.
#[derive(Debug, Default)]
pub struct Live {
    /// The objects that scheduling reads, in order.
    pub items: Vec<Item>,
    /// Objects that it does not read.
    pub ignored: Ignored,
    /// Objects that cannot be understood, each with its name and the reason.
    pub left_out: Vec<String>,
}

/// Like [`read_values`], but leaves out objects that cannot be understood, as the scheduler's watches do.
///
/// # Errors
/// If an object occurs twice.
pub fn read_live(objects: &[Value], source_name: &str, keep: Keep) -> Result<Live, ReadErrors> {
    let mut reader = Reader { keep, ..Reader::default() };
    let mut left_out = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        reader.tree(object, &Place { document: at + 1, ..Place::default() });
        left_out.extend(reader.errors.drain(..).map(|error| error.of(object)));
    }
    // An object that is read as several types fails in the same way for each.
    left_out.dedup();
    let Reading { items, ignored, .. } = reader.finish(source_name)?;
    Ok(Live { items, ignored, left_out })
}

#[derive(Default)]
struct Reader {
    items: Vec<(Item, Place)>,
    ignored: Ignored,
    errors: Vec<ReadError>,
    /// Absent if objects are used as they are.
    filling: Option<Filling>,
    keep: Keep,
    /// The latest time at which an object was created.
    created: Option<Timestamp>,
}

impl Reader {
    fn document(&mut self, document: &Document<'_>, number: usize) {
        let place = Place { document: number, line: Some(document.first_line()), ..Place::default() };
        let parsed = match document.format {
            Format::Json => self.json(document, &place),
            Format::Yaml => self.yaml(document, &place),
        };
        if let Err(error) = parsed {
            let line = error.line.or(place.line);
            self.errors.push(ReadError::Syntax { place: Place { line, ..place }, error });
        }
    }

    fn json(&mut self, document: &Document<'_>, place: &Place) -> Result<(), SyntaxError> {
        let header: Result<Header, _> = Source::Text(document.text).decode();
        let items: Option<Vec<&RawValue>> = match &header {
            _ if document.text.starts_with('[') => Some(document.decode_json()?),
            Ok(header) if item_kind(header).is_some() => document.decode_json::<List<'_>>()?.items,
            _ => None,
        };
        let Some(items) = items else {
            // Tells where the text stops being JSON; other problems are reported with the object's name.
            document.decode_json::<&RawValue>()?;
            self.single(header, Source::Text(document.text), place);
            return Ok(());
        };
        let of_list = header.unwrap_or_default();
        for (at, item) in items.iter().enumerate() {
            let line = Some(document.line_of(item.get()));
            self.item(
                Source::Text(item.get()),
                &of_list,
                &Place { item: Some(at + 1), line, ..place.clone() },
            );
        }
        Ok(())
    }

    fn yaml(&mut self, document: &Document<'_>, place: &Place) -> Result<(), SyntaxError> {
        let value = document.value()?;
        if value.is_null() {
            return Ok(());
        }
        let before = self.errors.len();
        self.tree(&value, place);
        // Only a parser that tracks lines can locate the items of a list, and it is worth its cost only if one of them is wrong.
        if self.errors.len() > before
            && let Ok(lines) = document.decode_yaml::<ItemLines>()
        {
            for error in &mut self.errors[before..] {
                error.set_line_of_item(document.line, &lines);
            }
        }
        Ok(())
    }

    fn tree(&mut self, value: &Value, place: &Place) {
        let header: Result<Header, _> = Source::Tree(value).decode();
        let items = match (value, &header) {
            (Value::Array(items), _) => Some(items),
            (_, Ok(header)) if item_kind(header).is_some() => value.get("items").and_then(Value::as_array),
            _ => None,
        };
        let Some(items) = items else { return self.single(header, Source::Tree(value), place) };
        let of_list = header.unwrap_or_default();
        for (at, item) in items.iter().enumerate() {
            self.item(Source::Tree(item), &of_list, &Place { item: Some(at + 1), ..place.clone() });
        }
    }

    /// The items of a `PodList` need not repeat their kind.
    fn item(&mut self, given: Source<'_>, list: &Header, place: &Place) {
        let mut header: Result<Header, _> = given.decode();
        if let Ok(header) = &mut header {
            if header.kind.is_empty() {
                header.kind = item_kind(list).unwrap_or_default().to_owned();
            }
            if header.api_version.is_empty() {
                header.api_version.clone_from(&list.api_version);
            }
        }
        self.single(header, given, place);
    }

    fn single(&mut self, header: Result<Header, serde_json::Error>, given: Source<'_>, place: &Place) {
        let read =
            header.map_err(|cause| decode_error(UNNAMED.to_owned(), place, &cause)).and_then(|header| {
                self.created = self.created.max(header.created());
                self.object(&header, given, place)
            });
        self.errors.extend(read.err());
    }

    fn object(&mut self, header: &Header, given: Source<'_>, place: &Place) -> Result<(), ReadError> {
        let here = place.clone();
        for (text, missing) in [(&header.kind, "kind"), (&header.api_version, "apiVersion")] {
            if text.is_empty() {
                return Err(ReadError::NoObject { place: here, missing });
            }
        }
        let mut is_own = false;
        for own in self.keep.own_kinds(&header.api_version, &header.kind) {
            // Other plugins may read the same kind as a different type.
            match compile(Kind::Other(ObjectKind::Own(own)), header, given, &self.keep) {
                Ok(item) => self.items.push((item, here.clone())),
                Err(error) => self.errors.push(error.at(header, place)),
            }
            is_own = true;
        }
        let title = || header.title();
        if let Some(filling) = &mut self.filling
            && filling.takes(header, given, place).map_err(|cause| decode_error(title(), place, &cause))?
        {
            return Ok(());
        }
        let Some(kind) = Kind::of(&header.api_version, &header.kind) else {
            if !is_own {
                *self.ignored.entry(format!("{} {}", header.api_version, header.kind)).or_insert(0) += 1;
            }
            return Ok(());
        };
        let item = compile(kind, header, given, &self.keep).map_err(|error| error.at(header, place))?;
        self.items.push((item, here));
        Ok(())
    }

    /// The objects, after checking for duplicates.
    fn finish(mut self, source_name: &str) -> Result<Reading, ReadErrors> {
        let mut filled_in = FilledIn::default();
        if let Some(filling) = self.filling.take() {
            let (items, errors) = filling.finish(&self.keep, &mut filled_in);
            self.items.extend(items);
            self.items.sort_by_key(|(_, place)| (place.document, place.item));
            self.errors.extend(errors);
        }
        let mut titles: HashMap<String, Place> = HashMap::with_capacity(self.items.len());
        let mut uids: HashMap<&str, String> = HashMap::new();
        for (item, place) in &self.items {
            let (title, place) = (item.title(), place.clone());
            if let Some(first) = titles.insert(title.clone(), place.clone()) {
                self.errors.push(ReadError::Twice { title, first, place });
            } else if let Item::Pod(pod) = item
                && let Some(other) = uids.insert(pod.uid.as_str(), title.clone())
            {
                self.errors.push(ReadError::SameUid { place, title, other });
            }
        }
        if self.errors.is_empty() {
            let started = self.items.iter().filter_map(|(item, _)| match item {
                Item::Pod(pod) => pod.start_time,
                _ => None,
            });
            let latest = started.chain(self.created).max();
            let items = self.items.into_iter().map(|(item, _)| item).collect();
            return Ok(Reading { items, ignored: self.ignored, filled_in, latest });
        }
        self.errors.sort_by_key(|error| error.place().map(|place| (place.document, place.item)));
        Err(ReadErrors { source_name: source_name.to_owned(), errors: self.errors })
    }
}

/// Kind of the items of a list; empty if each item states its own.
fn item_kind(header: &Header) -> Option<&str> {
    header.kind.strip_suffix("List")
}

/// A field of the wrong type, with its own line if the text is available.
fn decode_error(title: String, place: &Place, cause: &serde_json::Error) -> ReadError {
    let text = cause.to_string();
    let (text, line) = match (text.rfind(" at line "), cause.line()) {
        (Some(at), within) if within > 0 => (text[..at].to_owned(), place.line.map(|line| line + within - 1)),
        _ => (text, place.line),
    };
    ReadError::Decode { place: Place { line, ..place.clone() }, title, cause: text }
}

impl ObjectError {
    /// The error, at the object's location.
    pub(crate) fn at(self, header: &Header, place: &Place) -> ReadError {
        let here = place.clone();
        match self {
            Self::Decode(cause) => decode_error(header.title(), place, &cause),
            Self::Pod(error) => ReadError::Pod { place: here, error },
            Self::Node(error) => ReadError::Node { place: here, error },
            Self::NoName => ReadError::NoName { place: here, kind: header.kind.clone() },
        }
    }
}

impl ReadError {
    fn place(&self) -> Option<&Place> {
        match self {
            Self::Mistake(_) => None,
            Self::Syntax { place, .. }
            | Self::NoObject { place, .. }
            | Self::NoName { place, .. }
            | Self::Decode { place, .. }
            | Self::Pod { place, .. }
            | Self::Node { place, .. }
            | Self::Twice { place, .. }
            | Self::SameUid { place, .. } => Some(place),
        }
    }

    /// The error without a location, for an object that has none: kind, name and what is wrong.
    fn of(&self, object: &Value) -> String {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty());
        let namespace = text("/metadata/namespace").map(|n| format!("{n}/")).unwrap_or_default();
        let kind = text("/kind").unwrap_or(UNNAMED);
        let name = text("/metadata/name").unwrap_or("without a name");
        match self {
            Self::Pod { error, .. } => error.to_string(),
            Self::Node { error, .. } => error.to_string(),
            Self::Decode { cause, .. } => format!("{kind} {namespace}{name}: {cause}"),
            other => format!("{kind} {namespace}{name}: {other}"),
        }
    }

    fn set_line_of_item(&mut self, document_line: usize, lines: &ItemLines) {
        let (Self::NoObject { place, .. }
        | Self::NoName { place, .. }
        | Self::Decode { place, .. }
        | Self::Pod { place, .. }
        | Self::Node { place, .. }) = self
        else {
            return;
        };
        let item = place.item.and_then(|item| lines.items.get(item - 1));
        if let Some(line) =
            item.and_then(|item| usize::try_from(item.referenced.line()).ok()).filter(|l| *l > 0)
        {
            place.line = Some(document_line + line - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::objects::{ApiResource, OwnKind, PluginObject};
    use serde_json::json;

    fn titles(text: &str) -> Vec<String> {
        let reading = read(text, "f", Keep::COMPILED).expect("objects");
        reading.items.iter().map(Item::title).collect()
    }

    fn refusal(text: &str) -> String {
        read(text, "f.yaml", Keep::COMPILED).map(|_| ()).expect_err("refused").to_string()
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
    fn metadata_that_is_a_list_is_refused_where_objects_are_kept_in_full() {
        // Of various lengths: a list with too few or too many entries is rejected earlier.
        for length in 1..16 {
            let metadata = vec!["x"; length];
            for kind in ["Pod", "Node"] {
                let object = serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": metadata});
                let refused = read(&object.to_string(), "f.json", Keep::WHOLE).map(|_| ());
                refused.expect_err(&format!("{length} entries, {kind}"));
            }
        }
    }

    #[test]
    fn words_that_once_were_booleans_are_names() {
        assert_eq!(titles("kind: Node\napiVersion: v1\nmetadata: {name: n}\n"), ["Node n"]);
    }

    #[test]
    fn kinds_that_scheduling_does_not_read_are_counted() {
        let text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}\n---\n{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, metadata: {name: b}}\n";
        let text = format!("---\n{text}");
        let Reading { items, ignored, .. } = read(&text, "f", Keep::COMPILED).expect("objects");
        assert!(items.is_empty());
        assert_eq!(
            ignored.into_iter().collect::<Vec<_>>(),
            [("apps/v1 Deployment".to_owned(), 1), ("policy/v1beta1 PodDisruptionBudget".to_owned(), 1)]
        );
    }

    #[test]
    fn the_time_of_a_file_is_just_after_the_latest_that_it_tells_of() {
        let time = |text: &str| read(text, "f", Keep::COMPILED).expect("objects").time();
        let at = |text| Timestamp::parse(text).expect("a time");
        assert_eq!(time("{apiVersion: v1, kind: Node, metadata: {name: n}}"), Timestamp::default());
        let node =
            "{apiVersion: v1, kind: Node, metadata: {name: n, creationTimestamp: \"2026-01-02T00:00:00Z\"}}";
        assert_eq!(time(node), at("2026-01-02T00:00:01Z"));
        // Of a kind that scheduling does not read; of no form that a time has; none.
        let others = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, creationTimestamp: \"2026-01-03T00:00:00Z\"}}\n---\n\
            {apiVersion: v1, kind: ConfigMap, metadata: {name: d, creationTimestamp: 7}}\n---\n\
            {apiVersion: v1, kind: ConfigMap, metadata: {name: e, creationTimestamp: null}}";
        assert_eq!(time(&format!("{node}\n---\n{others}")), at("2026-01-03T00:00:01Z"));
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, uid: u}, spec: {containers: []}, \
            status: {startTime: \"2026-01-04T00:00:00Z\"}}";
        assert_eq!(time(&format!("{node}\n---\n{pod}")), at("2026-01-04T00:00:01Z"));
    }

    #[test]
    fn errors_name_file_place_object_and_remedy() {
        assert_eq!(
            refusal(
                "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - resources: {requests: {cpu: lots}}\n"
            ),
            "f.yaml: line 1: pod default/p: spec.containers[0].resources.requests[\"cpu\"]: \"lots\" is no quantity: \
             it is not a number with an optional suffix; write a number with \
             an optional suffix, such as 500m, 2, 1.5, 128Mi or 1G"
        );
        assert_eq!(
            refusal("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {version: 1}}\n"),
            "f.yaml: line 1: Pod p: invalid type: integer `1`, expected a string; correct the field \
             (`kubectl apply --dry-run=server` shows what an API server says)"
        );
        assert_eq!(
            refusal(
                "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
            ),
            "f.yaml: Pod default/p stands there twice, at line 1 and at line 5; keep one"
        );
        assert_eq!(
            refusal("hello: world\n"),
            "f.yaml: line 1 is no Kubernetes object: kind is missing; begin it with apiVersion and kind"
        );
        assert_eq!(
            refusal("apiVersion: v1\nkind: Node\nmetadata: {}\n"),
            "f.yaml: line 1: a Node without metadata.name; give it one"
        );
        let message = refusal("a: [\n");
        assert!(message.starts_with("f.yaml: line 1: not valid YAML: "), "{message}");
        let message = refusal("{\"a\": ");
        assert!(message.starts_with("f.yaml: line 1: not valid JSON: "), "{message}");
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_line() {
        let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: 7}\n---\n\n# two\napiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: v1, kind: Node, metadata: {name: n}}\n- apiVersion: v1\n  kind: Node\n- just words\n";
        assert_eq!(
            refusal(yaml),
            "f.yaml has 3 faults:\n  \
             - line 1: Pod p: invalid type: integer `7`, expected a string; correct the field \
             (`kubectl apply --dry-run=server` shows what an API server says)\n  \
             - line 12: a Node without metadata.name; give it one\n  \
             - line 14: object: invalid type: string \"just words\", expected struct Header; correct the field \
             (`kubectl apply --dry-run=server` shows what an API server says)"
        );
        let json = "{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n{\"kind\": \"Node\", \"apiVersion\": \"v1\",\n\"metadata\": {\"name\": 1}}]}";
        let message = refusal(json);
        assert!(message.starts_with("f.yaml: line 3: object: invalid type: integer `1`"), "{message}");
    }

    #[test]
    fn what_is_no_file_of_objects_is_recognised() {
        assert_eq!(
            refusal("NAME   READY   STATUS\nweb-1  1/1     Running\n"),
            "f.yaml: line 1 looks like a table that `kubectl get` printed; add `-o yaml` to the command"
        );
        let message = refusal("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}\n");
        assert_eq!(
            message,
            "f.yaml: line 4 looks like a template that was not rendered: `name: {{ .Release.Name }}`; \
             render it first, for example with `helm template`"
        );
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Maintenance {
        nodes: Vec<String>,
    }

    impl PluginObject for Maintenance {
        const API: ApiResource = ApiResource {
            group: "acme.com",
            version: "v1",
            kind: "Maintenance",
            plural: "maintenances",
            namespaced: true,
        };
    }

    /// A node as read by a plugin for nodes with racks.
    #[derive(Debug, PartialEq, Deserialize)]
    struct Racked {
        rack: String,
    }

    impl PluginObject for Racked {
        const API: ApiResource = ApiResource::NODES;
    }

    #[test]
    fn of_a_live_cluster_what_cannot_be_read_is_left_out_by_its_name() {
        let mut keep = Keep::COMPILED;
        keep.own = vec![OwnKind::of::<Maintenance>(), OwnKind::of::<Racked>()];
        let own = |name: &str, nodes: Value| json!({"apiVersion": "acme.com/v1", "kind": "Maintenance", "metadata": {"name": name, "namespace": "shop"}, "nodes": nodes});
        let objects = [
            own("good", json!(["n"])),
            own("bad", json!(7)),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "odd", "labels": 7}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": 7}}),
        ];
        let Live { items, left_out, .. } = read_live(&objects, "the cluster", keep.clone()).expect("live");
        let titles: Vec<String> = items.iter().map(Item::title).collect();
        assert_eq!(titles.len(), 2, "{titles:?}");
        assert!(titles[0].contains("shop/good") && titles[1] == "Node n", "{titles:?}");
        assert_eq!(
            left_out,
            [
                "Maintenance shop/bad: invalid type: integer `7`, expected a sequence",
                "Node n: missing field `rack`",
                "Node odd: invalid type: integer `7`, expected a map",
                "Pod p: invalid type: integer `7`, expected a string",
            ]
        );
        let strict = read_values(&objects, "the file", keep).map(|_| ()).expect_err("refused").to_string();
        assert!(strict.starts_with("the file has 5 faults:\n"), "{strict}");
    }

    #[test]
    fn objects_are_kept_in_full_where_a_plugin_reads_them_so() {
        let text = "{apiVersion: v1, kind: Pod, metadata: {name: a, annotations: {x: y}}, spec: {containers: []}}\n---\n{apiVersion: v1, kind: Node, metadata: {name: n}}\n";
        let json = |keep| {
            let items = read(text, "f", keep).expect("objects").items;
            items.into_iter().map(|item| match item {
                Item::Pod(pod) => pod.json.clone(),
                Item::Node(node) => node.json.clone(),
                Item::Other(_) => None,
            })
        };
        assert!(json(Keep::COMPILED).all(|json| json.is_none()));
        let whole: Vec<Value> =
            json(Keep::WHOLE).map(|json| serde_json::from_str(&json.expect("kept")).expect("JSON")).collect();
        let metadata = &whole[0]["metadata"];
        assert_eq!((&metadata["annotations"]["x"], &metadata["namespace"]), (&"y".into(), &"default".into()));
        assert_eq!(metadata["uid"], "pod-default-a");
        assert_eq!(whole[1]["metadata"]["name"], "n");
    }
}
