//! Kinds that a plugin reads as its own type: custom resources, fields of other kinds that the in-tree plugins do not read, and
//! answers of an endpoint outside the API.

use super::{ApiResource, NameParts, ObjectKind, ObjectName};
use crate::{Atom, Timestamp, wire};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::value::RawValue;
use std::any::{Any, TypeId, type_name};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Group of the kinds that are polled from an endpoint instead of watched; no API server serves it.
const POLLED_GROUP: &str = "polled.secondmate.dev";

impl ApiResource {
    /// What an endpoint outside the API answers, under this name. Dumps show it as an object of this kind.
    #[must_use]
    pub const fn polled(kind: &'static str) -> Self {
        Self { group: POLLED_GROUP, version: "v1", kind, plural: kind, namespaced: false }
    }

    /// Whether it is polled from an endpoint instead of watched.
    #[must_use]
    pub fn is_polled(&self) -> bool {
        self.group == POLLED_GROUP
    }
}

/// A plugin's own type, made from the objects of one kind.
///
/// The objects are watched, regardless of how other plugins read the same kind. They are decoded off the scheduling thread; one
/// that cannot be decoded is left out and reported with the error, like every object that cannot be compiled.
pub trait PluginObject: DeserializeOwned + Send + Sync + 'static {
    /// Where the API serves the kind, or [`ApiResource::polled`].
    const API: ApiResource;

    /// Makes the value from an object's JSON (`apiVersion`, `kind`, `metadata` and the rest), or from an endpoint's answer.
    /// Derive here what the plugin needs in each cycle. The same text must always give the same value.
    ///
    /// # Errors
    /// If it cannot be decoded. A panic counts as an error too.
    fn decode(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

type Decode = fn(&str) -> Result<Arc<dyn Any + Send + Sync>, serde_json::Error>;

/// What is known about a [`PluginObject`] type.
struct Type {
    api: ApiResource,
    id: TypeId,
    name: &'static str,
    decode: Decode,
    /// Names of the events: added, changed, deleted.
    events: [String; 3],
}

/// All types named so far: as many as the program has plugins that read their own kinds.
static TYPES: Mutex<Vec<&'static Type>> = Mutex::new(Vec::new());

/// A kind of objects that is read as a plugin's own type.
#[derive(Clone, Copy)]
pub struct OwnKind(&'static Type);

impl OwnKind {
    /// The kind that is read as `T`.
    #[must_use]
    pub fn of<T: PluginObject>() -> Self {
        let mut types = TYPES.lock().unwrap_or_else(PoisonError::into_inner);
        let id = TypeId::of::<T>();
        if let Some(known) = types.iter().find(|known| known.id == id) {
            return Self(known);
        }
        let api = T::API;
        let resource = if api.group.is_empty() {
            format!("{}.{}", api.plural, api.version)
        } else {
            format!("{}.{}.{}", api.plural, api.version, api.group)
        };
        let events = ["Add", "Update", "Delete"].map(|action| format!("{resource}/{action}"));
        let decode: Decode = |json| Ok(Arc::new(T::decode(json)?));
        let new: &'static Type =
            Box::leak(Box::new(Type { api, id, name: type_name::<T>(), decode, events }));
        types.push(new);
        Self(new)
    }

    /// Where the kind is served.
    #[must_use]
    pub const fn api(self) -> ApiResource {
        self.0.api
    }

    /// The Rust type that it is read as, without its path.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        self.0.name.rsplit("::").next().unwrap_or(self.0.name)
    }

    /// Names of its events in metrics and logs: added, changed, deleted.
    #[must_use]
    pub fn event_labels(self) -> [&'static str; 3] {
        [&self.0.events[0], &self.0.events[1], &self.0.events[2]]
    }

    /// Decodes a watched object, or the [envelope](Self::envelope) of an endpoint's answer.
    pub(super) fn compile(self, text: &str) -> Result<(OwnObject, wire::ObjectMeta), serde_json::Error> {
        if self.api().is_polled() {
            let Envelope { metadata, value } = serde_json::from_str(text)?;
            let at = Timestamp::parse(&metadata.creation_timestamp).unwrap_or_default();
            let name = wire::ObjectMeta { name: metadata.name.clone(), ..wire::ObjectMeta::default() };
            return Ok((self.answered(&metadata.name, value.get(), at)?, name));
        }
        let wire::MetadataOnly { metadata } = serde_json::from_str(text)?;
        let name = if self.api().namespaced {
            ObjectName::of(&metadata)
        } else {
            ObjectName { namespace: Atom::default(), name: metadata.name.clone() }
        };
        let object = OwnObject { kind: self, name, value: self.decode(text)?, at: Timestamp::default() };
        Ok((object, metadata))
    }

    /// An endpoint's answer as an object with this name.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub fn answered(self, name: &str, json: &str, at: Timestamp) -> Result<OwnObject, serde_json::Error> {
        let name = ObjectName { namespace: Atom::default(), name: name.into() };
        Ok(OwnObject { kind: self, name, value: self.decode(json)?, at })
    }

    /// An endpoint's answer in the form that dumps use. `at` is RFC 3339.
    #[must_use]
    pub fn envelope(self, name: &str, value: &serde_json::Value, at: &str) -> serde_json::Value {
        let api = self.api();
        serde_json::json!({
            "apiVersion": api.api_version(), "kind": api.kind,
            "metadata": { "name": name, "creationTimestamp": at }, "value": value,
        })
    }

    /// Plugin code runs here, in a task that others depend on.
    fn decode(self, json: &str) -> Result<Arc<dyn Any + Send + Sync>, serde_json::Error> {
        let decoded = catch_unwind(AssertUnwindSafe(|| (self.0.decode)(json)));
        decoded.unwrap_or_else(|_| {
            let what = format!("the decoder of the plugin's type {} panicked", self.type_name());
            Err(serde_json::Error::custom(what))
        })
    }
}

impl PartialEq for OwnKind {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}
impl Eq for OwnKind {}
impl Hash for OwnKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}
// By names, which are the same in every run.
impl Ord for OwnKind {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |kind: &Self| (kind.0.api, kind.0.name, kind.0.id);
        key(self).cmp(&key(other))
    }
}
impl PartialOrd for OwnKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for OwnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.0.api.kind, self.type_name())
    }
}

/// An endpoint's answer in a dump.
#[derive(Deserialize)]
struct Envelope<'a> {
    metadata: EnvelopeMeta,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EnvelopeMeta {
    name: Box<str>,
    creation_timestamp: String,
}

/// An object of a kind that a plugin reads as its own type.
#[derive(Clone)]
pub struct OwnObject {
    kind: OwnKind,
    name: ObjectName,
    value: Arc<dyn Any + Send + Sync>,
    at: Timestamp,
}

impl OwnObject {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> OwnKind {
        self.kind
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// The value, if it is of this type.
    #[must_use]
    pub fn get<T: PluginObject>(&self) -> Option<&T> {
        self.value.downcast_ref()
    }

    /// When the core received it.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The same object, received at this time.
    #[must_use]
    pub fn told_at(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }
}

/// Equal only if it is the same object: the values inside cannot be compared.
impl PartialEq for OwnObject {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.name, self.at) == (other.kind, &other.name, other.at)
            && Arc::ptr_eq(&self.value, &other.value)
    }
}

impl fmt::Debug for OwnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

/// The objects of one kind, by name.
#[derive(Clone, Debug)]
pub(super) struct OwnTable {
    pub(super) kind: OwnKind,
    /// Number of changes.
    pub(super) epoch: u64,
    pub(super) objects: BTreeMap<ObjectName, OwnObject>,
}

impl OwnTable {
    pub(super) fn new(kind: OwnKind) -> Self {
        Self { kind, epoch: 0, objects: BTreeMap::new() }
    }

    pub(super) fn is_of<T: PluginObject>(&self) -> bool {
        self.kind.0.id == TypeId::of::<T>()
    }
}

/// The objects that are read as `T`, by name.
#[derive(Debug)]
pub struct Own<'a, T> {
    table: Option<&'a OwnTable>,
    as_type: std::marker::PhantomData<fn() -> T>,
}

impl<T> Clone for Own<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Own<'_, T> {}

impl<'a, T: PluginObject> Own<'a, T> {
    pub(super) fn new(table: Option<&'a OwnTable>) -> Self {
        Self { table, as_type: std::marker::PhantomData }
    }

    /// An object in a namespace.
    #[must_use]
    pub fn get(&self, namespace: &Atom, name: &str) -> Option<&'a T> {
        self.find((namespace, name))?.get()
    }

    /// A cluster-scoped object, or an endpoint's answer.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&'a T> {
        self.get(&Atom::default(), name)
    }

    /// When the core received this version of a cluster-scoped object, or this answer of an endpoint. Its age is
    /// `cx.now.since(at)`; a plugin whose verdict depends on the age must not declare that its verdict depends on the node alone.
    #[must_use]
    pub fn told_at(&self, name: &str) -> Option<Timestamp> {
        Some(self.find((&Atom::default(), name))?.at)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'a ObjectName, &'a T)> + use<'a, T> {
        let objects = self.table.into_iter().flat_map(|table| &table.objects);
        objects.filter_map(|(name, object)| Some((name, object.get()?)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.map_or(0, |table| table.objects.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows with each change of one of them: anything derived from them stays valid as long as it is the same.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.table.map_or(0, |table| table.epoch)
    }

    fn find(&self, parts: (&Atom, &str)) -> Option<&'a OwnObject> {
        let key: &dyn NameParts = &parts;
        self.table?.objects.get(key)
    }
}

impl ObjectKind {
    /// The kind that is read as `T`.
    #[must_use]
    pub fn own<T: PluginObject>() -> Self {
        Self::Own(OwnKind::of::<T>())
    }

    /// The kind, if a plugin reads it as its own type.
    #[must_use]
    pub fn as_own(self) -> Option<OwnKind> {
        if let Self::Own(kind) = self { Some(kind) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Object, Objects};

    #[derive(Debug, Deserialize)]
    struct Rack {
        spec: RackSpec,
    }
    #[derive(Debug, Deserialize)]
    struct RackSpec {
        watts: u32,
    }
    impl PluginObject for Rack {
        const API: ApiResource =
            ApiResource { group: "acme.com", version: "v1", kind: "Rack", plural: "racks", namespaced: true };
    }

    /// The same kind as another type, which panics.
    #[derive(Deserialize)]
    struct Brittle {}
    impl PluginObject for Brittle {
        const API: ApiResource = Rack::API;
        fn decode(_: &str) -> Result<Self, serde_json::Error> {
            panic!("oh")
        }
    }

    #[derive(Deserialize)]
    struct Weather {
        degrees: i32,
    }
    impl PluginObject for Weather {
        const API: ApiResource = ApiResource::polled("Weather");
    }

    fn compiled<T: PluginObject>(text: &str) -> Object {
        ObjectKind::own::<T>().compile(text).expect("it decodes").0
    }

    #[test]
    fn an_object_is_found_as_its_type_and_its_kind_alone_has_changed() {
        let mut objects = Objects::default();
        let kind = ObjectKind::own::<Rack>();
        let rack = |watts: u32| {
            compiled::<Rack>(&format!(
                r#"{{"metadata":{{"namespace":"hall","name":"r1","resourceVersion":"7"}},"spec":{{"watts":{watts}}}}}"#
            ))
        };
        assert_eq!(objects.apply(rack(5)), None);
        let old = objects.apply(rack(6)).expect("the one before");
        let Object::Own(old) = old else { panic!("{old:?}") };
        assert_eq!(old.get::<Rack>().map(|rack| rack.spec.watts), Some(5));
        let (hall, racks) = (Atom::new("hall"), objects.own::<Rack>());
        assert_eq!(racks.get(&hall, "r1").map(|rack| rack.spec.watts), Some(6));
        assert_eq!(racks.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), ["hall/r1"]);
        assert!(racks.named("r1").is_none() && objects.own::<Weather>().is_empty());
        assert_eq!(
            [kind, ObjectKind::own::<Weather>(), ObjectKind::Namespace].map(|kind| objects.epoch(kind)),
            [2, 0, 0]
        );
        let name = ObjectName::new(&hall, "r1");
        assert!(objects.remove(kind, &name).is_some() && objects.own::<Rack>().is_empty());
        assert_eq!(objects.epoch(kind), 3);
    }

    #[test]
    fn one_kind_may_be_read_as_several_types_and_each_tells_its_errors() {
        assert_eq!(ObjectKind::own::<Rack>(), ObjectKind::own::<Rack>());
        assert_ne!(ObjectKind::own::<Rack>(), ObjectKind::own::<Brittle>());
        assert_eq!(format!("{:?}", OwnKind::of::<Brittle>()), "Rack as Brittle");
        let text = r#"{"metadata":{"name":"r"},"spec":{"watts":"many"}}"#;
        let error = ObjectKind::own::<Rack>().compile(text).expect_err("no number").to_string();
        assert!(error.contains("many"), "{error}");
        let error = ObjectKind::own::<Brittle>().compile(text).expect_err("it panics").to_string();
        assert!(error.contains("Brittle panicked"), "{error}");
    }

    #[test]
    fn an_answer_of_an_endpoint_comes_back_from_a_dump_with_its_time() {
        let kind = OwnKind::of::<Weather>();
        let at = "2026-03-04T05:06:07Z";
        let dumped = kind.envelope("roof", &serde_json::json!({ "degrees": 21 }), at);
        let mut objects = Objects::default();
        objects.apply(compiled::<Weather>(&dumped.to_string()));
        let weather = objects.own::<Weather>();
        assert_eq!(weather.named("roof").map(|weather| weather.degrees), Some(21));
        assert_eq!(weather.told_at("roof"), Timestamp::parse(at));
        assert!(kind.api().is_polled() && !Rack::API.is_polled());
    }
}
