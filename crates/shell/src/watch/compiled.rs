//! An object as it arrives from a watch, and the result of compiling it: compiled, or known to be unfit.

use super::needs::{Roles, Subject};
use super::originals::Originals;
use super::version::resource_version;
use kube_client::Resource;
use kube_client::api::ObjectMeta;
use kube_client::core::DynamicResourceScope;
use secondmate_core::port::PodWatch;
use secondmate_model::objects::{ApiResource, Object, ObjectKind, ObjectName, Source};
use secondmate_model::{Atom, Node, Pod, Uid, wire};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// A compiled object of any kind.
#[derive(Clone, Debug)]
pub(crate) enum Compiled {
    Pod(PodWatch, Arc<Pod>),
    Node(Arc<Node>),
    Object(Box<Object>),
    /// A pod that does not matter: one of another scheduler that is not on its way to a node.
    Nothing,
}

/// How the core identifies an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Pod(Uid),
    Node(Atom),
    Object(ObjectKind, ObjectName),
}

impl Key {
    fn new(subject: Subject, metadata: &wire::ObjectMeta) -> Self {
        match subject {
            Subject::Pods => Self::Pod(Uid::from(&*metadata.uid)),
            Subject::Nodes => Self::Node(Atom::new(&metadata.name)),
            Subject::Objects(kind) => {
                Self::Object(kind, ObjectName::new(&Atom::new(&metadata.namespace), &metadata.name))
            }
        }
    }

    /// What a watch is about that shows the object.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Pod(_) => Subject::Pods,
            Self::Node(_) => Subject::Nodes,
            Self::Object(kind, _) => Subject::Objects(*kind),
        }
    }
}

/// An object that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub api: ApiResource,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub generation: i64,
    /// For a waiting pod of ours: its scheduler name.
    pub scheduler_name: Option<Box<str>>,
    pub reason: String,
}

impl Unfit {
    fn new(api: ApiResource, metadata: &wire::ObjectMeta, reason: String) -> Self {
        Self {
            api,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            generation: metadata.generation,
            scheduler_name: None,
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

/// An object as kube-runtime's watcher hands it over: its text, and of its content only what the watcher itself needs. There is one type
/// for all kinds, so that the watcher is compiled once, and no content can make it fail, which would end the watch and hide all other
/// objects behind one.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// Only the resource version is filled in: the watcher resumes from it.
    metadata: ObjectMeta,
    text: Box<RawValue>,
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let resource_version = Some(resource_version(text.get()).unwrap_or_default());
        Ok(Self { metadata: ObjectMeta { resource_version, ..ObjectMeta::default() }, text })
    }
}

impl Watched {
    /// Decodes and compiles the object; `roles` says which pods matter, `originals` whether a pod or node is also kept in full.
    pub fn compile(
        &self,
        subject: Subject,
        roles: &Roles,
        originals: &Originals,
    ) -> (Key, Result<Compiled, Box<Unfit>>) {
        let text = self.text.get();
        let (metadata, pod, reason) = match decode(subject, text, roles, originals) {
            Ok((metadata, Ok(compiled))) => return (Key::new(subject, &metadata), Ok(compiled)),
            Ok((metadata, Err(Misread { pod, reason }))) => (metadata, pod, reason),
            Err(error) => {
                let named: wire::MetadataOnly = serde_json::from_str(text).unwrap_or_default();
                let pod = (subject == Subject::Pods).then(|| PodRole::of_any_form(text, roles));
                (named.metadata, pod, error.to_string())
            }
        };
        let key = Key::new(subject, &metadata);
        if matches!(pod, Some(PodRole { role: None | Some(PodWatch::ForeignWaiting), .. })) {
            return (key, Ok(Compiled::Nothing));
        }
        let mut unfit = Unfit::new(subject.api(), &metadata, reason);
        unfit.scheduler_name =
            pod.filter(|pod| pod.role == Some(PodWatch::Pending)).map(|pod| pod.scheduler_name);
        (key, Err(Box::new(unfit)))
    }

    /// The object as the API server sent it.
    pub fn text(&self) -> &str {
        self.text.get()
    }

    /// The resource version, if it is a number, as the API server's are.
    pub fn version(&self) -> Option<u64> {
        self.metadata.resource_version.as_ref()?.parse().ok()
    }

    /// How the core identifies the object.
    pub fn key(&self, subject: Subject) -> Key {
        let named: wire::MetadataOnly = serde_json::from_str(self.text.get()).unwrap_or_default();
        Key::new(subject, &named.metadata)
    }
}

/// The role of a pod that cannot be understood.
struct PodRole {
    scheduler_name: Box<str>,
    role: Option<PodWatch>,
}

impl PodRole {
    fn of(pod: &wire::Pod, roles: &Roles) -> Self {
        let wire::Pod { spec, status, .. } = pod;
        Self {
            scheduler_name: spec.scheduler_name.clone(),
            role: roles.of(
                &spec.scheduler_name,
                &spec.node_name,
                &status.nominated_node_name,
                may_be_assigned(pod),
            ),
        }
    }

    /// For an object that does not even have the form of a pod.
    fn of_any_form(text: &str, roles: &Roles) -> Self {
        let object: Value = serde_json::from_str(text).unwrap_or_default();
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let scheduler_name = text("/spec/schedulerName");
        let role = roles.of(scheduler_name, text("/spec/nodeName"), text("/status/nominatedNodeName"), false);
        Self { scheduler_name: scheduler_name.into(), role }
    }
}

/// Whether a scheduler may have assigned the pod to a node that its binding does not show yet: not if it is gated, is going away or
/// was found unschedulable.
fn may_be_assigned(pod: &wire::Pod) -> bool {
    let was_tried = |c: &wire::Condition| &*c.kind == "PodScheduled" && &*c.status == "False";
    pod.spec.scheduling_gates.is_empty()
        && pod.metadata.deletion_timestamp.is_none()
        && !pod.status.conditions.iter().any(was_tried)
}

/// An object that has the form of its kind, but is invalid; with the reason.
struct Misread {
    pod: Option<PodRole>,
    reason: String,
}

/// The compiled object, or what is wrong with it; an error if it does not even have the form of its kind.
type Decoded = (wire::ObjectMeta, Result<Compiled, Misread>);

fn decode(
    subject: Subject,
    text: &str,
    roles: &Roles,
    originals: &Originals,
) -> Result<Decoded, serde_json::Error> {
    Ok(match subject {
        Subject::Pods => {
            let wire = Source::Text(text).pod()?;
            let pod = PodRole::of(&wire, roles);
            let Some(role) = pod.role else { return Ok((wire.metadata, Ok(Compiled::Nothing))) };
            let compiled = Pod::new(&wire)
                .map(|pod| Compiled::Pod(role, Arc::new(originals.keep_pod(role, pod, text))))
                .map_err(|e| Misread { pod: Some(pod), reason: e.error.to_string() });
            (wire.metadata, compiled)
        }
        Subject::Nodes => {
            let wire = Source::Text(text).node()?;
            let compiled = Node::new(&wire)
                .map(|node| Compiled::Node(Arc::new(originals.keep_node(node, text))))
                .map_err(|e| Misread { pod: None, reason: e.error.to_string() });
            (wire.metadata, compiled)
        }
        Subject::Objects(kind) => {
            let (object, metadata) = kind.compile(text)?;
            (metadata, Ok(Compiled::Object(Box::new(object))))
        }
    })
}

impl Resource for Watched {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(api: &ApiResource) -> Cow<'_, str> {
        api.kind.into()
    }
    fn group(api: &ApiResource) -> Cow<'_, str> {
        api.group.into()
    }
    fn version(api: &ApiResource) -> Cow<'_, str> {
        api.version.into()
    }
    fn plural(api: &ApiResource) -> Cow<'_, str> {
        api.plural.into()
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
    use super::*;
    use kube_client::api::WatchEvent;
    use kube_client::core::ObjectList;

    const PODS: Subject = Subject::Pods;

    fn event(text: &str) -> Watched {
        match serde_json::from_str::<WatchEvent<Watched>>(text) {
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
        let (key, object) = pod.compile(PODS, &Roles::default(), &Originals::default());
        assert_eq!((&key, pod.key(PODS)), (&Key::Pod(Uid::from("u")), key.clone()));
        let Ok(Compiled::Pod(_, pod)) = object else { panic!("{object:?}") };
        assert_eq!((pod.full_name().as_str(), pod.requests.filter.milli_cpu), ("n/a", 100));
        assert_eq!(pod.json, None);
    }

    #[test]
    fn a_pod_is_kept_in_full_where_a_plugin_reads_it_so() {
        let text = r#"{"kind":"Pod","metadata":{"name":"a","uid":"u","annotations":{"x":"y"}}}"#;
        let (_, object) = event(&format!(r#"{{"type":"ADDED","object":{text}}}"#)).compile(
            PODS,
            &Roles::default(),
            &Originals::default().or_all(true),
        );
        let Ok(Compiled::Pod(_, pod)) = object else { panic!("{object:?}") };
        let kept = r#"{"metadata":{"name":"a","uid":"u","annotations":{"x":"y"}}}"#;
        assert_eq!(pod.json.as_deref(), Some(kept), "without what upstream drops");
    }

    #[test]
    fn an_unfit_object_keeps_its_name_and_version_and_does_not_end_the_watch() {
        let bad = event(
            r#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"8"},"spec":{"containers":[{"resources":{"requests":{"cpu":"12 apples"}}}]}}}"#,
        );
        assert_eq!(bad.meta().resource_version.as_deref(), Some("8"));
        let unfit =
            bad.compile(PODS, &Roles::default(), &Originals::default()).1.expect_err("a bad quantity");
        assert_eq!(unfit.full_name(), "n/a");
        assert!(unfit.reason.contains("12 apples"), "{}", unfit.reason);
        // A field whose type is not the API's.
        let bad = event(
            r#"{"type":"ADDED","object":{"metadata":{"name":"b","namespace":"n","uid":"v","resourceVersion":"9"},"spec":{"containers":7}}}"#,
        );
        let (key, object) = bad.compile(PODS, &Roles::default(), &Originals::default());
        assert_eq!((&*object.expect_err("no list").name, key), ("b", Key::Pod(Uid::from("v"))));
    }

    #[test]
    fn a_list_is_compiled_item_by_item() {
        let text = r#"{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"3"},"items":[{"metadata":{"name":"x","resourceVersion":"1"}},{"metadata":{"name":"y","resourceVersion":"2"},"status":{"allocatable":{"cpu":"?"}}}]}"#;
        let list: ObjectList<Watched> = serde_json::from_str(text).expect("a list");
        let fit: Vec<bool> = list
            .items
            .iter()
            .map(|i| i.compile(Subject::Nodes, &Roles::default(), &Originals::default()).1.is_ok())
            .collect();
        assert_eq!(fit, [true, false]);
    }
}
