//! An object as it comes out of a watch: compiled on the spot, or known to be unfit.

use super::kind::{Kind, Place};
use kube_client::Resource;
use kube_client::api::ObjectMeta;
use kube_client::core::DynamicResourceScope;
use secondmate_model::objects::{Object, ObjectKind, ObjectName};
use secondmate_model::{Atom, Node, Pod, Uid, wire};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

/// A compiled object of any kind.
#[derive(Clone, Debug)]
pub(crate) enum Compiled {
    Pod(Arc<Pod>),
    Node(Arc<Node>),
    Object(Box<Object>),
}

impl From<Object> for Compiled {
    fn from(object: Object) -> Self {
        Self::Object(Box::new(object))
    }
}

/// What the core knows an object by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Pod(Uid),
    Node(Atom),
    Object(ObjectKind, ObjectName),
}

/// An object that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub place: Place,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub generation: i64,
    pub reason: String,
}

impl Unfit {
    fn new(place: Place, metadata: &wire::ObjectMeta, reason: String) -> Self {
        Self {
            place,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            generation: metadata.generation,
            reason,
        }
    }

    /// `namespace/name`, or the name of a cluster-scoped object.
    pub fn full_name(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

/// An object of a kind, as kube-runtime's watcher hands it over. Decoding never fails for what is inside the object: a failure
/// would end the watch, and one bad object would hide all others.
#[derive(Clone, Debug)]
pub(crate) struct Watched<K> {
    /// Only the resource version is filled: the watcher resumes from it.
    metadata: ObjectMeta,
    pub key: Key,
    pub object: Result<Compiled, Box<Unfit>>,
    kind: PhantomData<K>,
}

impl<'de, K: Kind> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed, not copied: the watcher decodes from text in memory.
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(match serde_json::from_str::<K::Wire>(raw.get()) {
            Ok(wire) => {
                let metadata = K::metadata(&wire);
                let object =
                    K::compile(&wire).map_err(|reason| Box::new(Unfit::new(K::PLACE, metadata, reason)));
                Self::new(metadata, object)
            }
            Err(error) => {
                let metadata =
                    serde_json::from_str::<wire::MetadataOnly>(raw.get()).unwrap_or_default().metadata;
                Self::new(&metadata, Err(Box::new(Unfit::new(K::PLACE, &metadata, error.to_string()))))
            }
        })
    }
}

impl<K: Kind> Watched<K> {
    fn new(metadata: &wire::ObjectMeta, object: Result<Compiled, Box<Unfit>>) -> Self {
        let version = Some(metadata.resource_version.to_string());
        Self {
            metadata: ObjectMeta { resource_version: version, ..ObjectMeta::default() },
            key: K::key(metadata),
            object,
            kind: PhantomData,
        }
    }
}

impl<K: Kind> Resource for Watched<K> {
    type DynamicType = ();
    type Scope = DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::PLACE.kind.into()
    }
    fn group((): &()) -> Cow<'_, str> {
        K::PLACE.group.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        K::PLACE.version.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::PLACE.plural.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind::of;
    use super::*;
    use kube_client::api::WatchEvent;
    use kube_client::core::ObjectList;

    fn event(text: &str) -> Watched<of::Pod> {
        match serde_json::from_str::<WatchEvent<Watched<of::Pod>>>(text) {
            Ok(WatchEvent::Added(object)) => object,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pod_is_compiled_from_the_line_of_a_watch() {
        let pod = event(
            r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7"},"spec":{"containers":[{"resources":{"requests":{"cpu":"100m"}}}]}}}"#,
        );
        assert_eq!(pod.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(pod.key, Key::Pod(Uid::from("u")));
        let Ok(Compiled::Pod(pod)) = pod.object else { panic!("{pod:?}") };
        assert_eq!((pod.full_name().as_str(), pod.requests.filter.milli_cpu), ("n/a", 100));
    }

    #[test]
    fn an_unfit_object_keeps_its_name_and_version_and_does_not_end_the_watch() {
        let bad = event(
            r#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"8"},"spec":{"containers":[{"resources":{"requests":{"cpu":"12 apples"}}}]}}}"#,
        );
        assert_eq!(bad.meta().resource_version.as_deref(), Some("8"));
        let unfit = bad.object.expect_err("a bad quantity");
        assert_eq!(unfit.full_name(), "n/a");
        assert!(unfit.reason.contains("12 apples"), "{}", unfit.reason);
        // A field of another type than the API has.
        let bad = event(
            r#"{"type":"ADDED","object":{"metadata":{"name":"b","namespace":"n","uid":"v","resourceVersion":"9"},"spec":{"containers":7}}}"#,
        );
        assert_eq!((&*bad.object.expect_err("no list").name, bad.key), ("b", Key::Pod(Uid::from("v"))));
    }

    #[test]
    fn a_list_is_compiled_item_by_item() {
        let text = r#"{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"3"},"items":[{"metadata":{"name":"x","resourceVersion":"1"}},{"metadata":{"name":"y","resourceVersion":"2"},"status":{"allocatable":{"cpu":"?"}}}]}"#;
        let list: ObjectList<Watched<of::Node>> = serde_json::from_str(text).expect("a list");
        let fit: Vec<bool> = list.items.iter().map(|i| i.object.is_ok()).collect();
        assert_eq!(fit, [true, false]);
    }
}
