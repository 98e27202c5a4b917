//! What has to be watched for a set of profiles, and which permissions the scheduler needs: pods and nodes always, and the rest as declared
//! by the profiles' plugins.

use secondmate_core::port::PodWatch;
use secondmate_cycle::Profile;
use secondmate_framework::{Endpoint, Poll, Right};
use secondmate_model::objects::{ApiResource, ObjectKind};
use secondmate_model::{Atom, DEFAULT_SCHEDULER_NAME};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What a watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Pods,
    Nodes,
    Objects(ObjectKind),
}

impl Subject {
    pub fn api(self) -> ApiResource {
        match self {
            Self::Pods => ApiResource::PODS,
            Self::Nodes => ApiResource::NODES,
            Self::Objects(kind) => kind.api(),
        }
    }
}

/// A watch that has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub subject: Subject,
    pub fields: Option<&'static str>,
    /// Which pods matter; only for a watch of pods.
    pub roles: Roles,
    /// Pods and nodes are kept in full, because a plugin reads them in full.
    pub whole: bool,
}

/// The roles that pods have for the watcher. All pods arrive through one watch, so that changes to two of them are seen in order: a pod
/// that replaces another must not be seen before the other is seen to leave, or it would be placed by counts that include both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Scheduler names whose waiting pods are ours; `None`: the waiting pods of all schedulers.
    names: Option<Arc<[Atom]>>,
    /// Whether pods that others have nominated to a node count.
    nominated_by_others: bool,
    /// Whether pods count that others may have assigned to a node already.
    waiting_elsewhere: bool,
}

impl Roles {
    /// The roles if pods with these scheduler names are ours.
    pub fn of_names(names: impl IntoIterator<Item = Atom>, nominated_by_others: bool) -> Self {
        Self { names: Some(names.into_iter().collect()), nominated_by_others, waiting_elsewhere: false }
    }

    /// The same, with the pods that others may have assigned to a node already.
    pub fn with_waiting_elsewhere(self, waiting_elsewhere: bool) -> Self {
        Self { waiting_elsewhere, ..self }
    }

    /// The role of a pod with this scheduler name, node and nominated node (empty: none), which another scheduler may have assigned to
    /// a node already or not. `None`: it does not matter.
    pub fn of(
        &self,
        scheduler_name: &str,
        node: &str,
        nominated_node: &str,
        may_be_assigned: bool,
    ) -> Option<PodWatch> {
        let scheduler_name = if scheduler_name.is_empty() { DEFAULT_SCHEDULER_NAME } else { scheduler_name };
        if !node.is_empty() {
            return Some(PodWatch::Assigned);
        }
        if self.names.as_ref().is_none_or(|names| names.iter().any(|name| name.as_str() == scheduler_name)) {
            return Some(PodWatch::Pending);
        }
        if self.nominated_by_others && !nominated_node.is_empty() {
            return Some(PodWatch::ForeignNominated);
        }
        (self.waiting_elsewhere && may_be_assigned).then_some(PodWatch::ForeignWaiting)
    }
}

impl Watch {
    /// Every object of a kind.
    pub fn of(subject: Subject) -> Self {
        Self { subject, fields: None, roles: Roles::default(), whole: false }
    }

    /// All pods that have not terminated.
    pub fn of_pods(roles: Roles) -> Self {
        Self { fields: Some(NOT_ENDED), roles, ..Self::of(Subject::Pods) }
    }

    /// Whether every API server serves it, so that its absence is an error.
    pub fn is_essential(&self) -> bool {
        let own = matches!(self.subject, Subject::Objects(ObjectKind::Own(_)));
        self.subject.api().group.is_empty() && !own
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Subject::Objects(ObjectKind::Own(kind)) = self.subject {
            // Another watch may cover the same kind as a different type.
            return write!(f, "{} as {}", full_name(kind.api()), kind.type_name());
        }
        f.write_str(self.subject.api().plural)?;
        match &self.fields {
            Some(fields) => write!(f, " ({fields})"),
            None => Ok(()),
        }
    }
}

/// Plural and group, as in the name of a CustomResourceDefinition.
fn full_name(api: ApiResource) -> String {
    if api.group.is_empty() { api.plural.to_owned() } else { format!("{}.{}", api.plural, api.group) }
}

/// The watches that these profiles need. `yields`: pods wait for those that others may have assigned to a node.
pub(crate) fn watches(profiles: &[Profile], yields: bool) -> Vec<Watch> {
    // All profiles come from one configuration.
    let nominated_by_others = !profiles.iter().any(Profile::ignores_nominations_of_others);
    let roles = Roles::of_names(profiles.iter().map(|p| p.name().clone()), nominated_by_others)
        .with_waiting_elsewhere(yields);
    let whole = reads_whole_objects(profiles);
    let watched = kinds(profiles).into_iter().filter(|kind| !kind.api().is_polled());
    let others = watched.map(Subject::Objects);
    let others =
        std::iter::once(Subject::Nodes).chain(others).map(|subject| Watch { whole, ..Watch::of(subject) });
    std::iter::once(Watch { whole, ..Watch::of_pods(roles) }).chain(others).collect()
}

/// Whether any of the profiles' plugins reads pods and nodes in full.
pub(crate) fn reads_whole_objects(profiles: &[Profile]) -> bool {
    profiles.iter().flat_map(Profile::plugins).any(|p| p.plugin.declaration().whole_objects)
}

/// Pods that have not terminated, as kube-scheduler watches them.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// The watches that the bind guard needs: nodes, and the assigned and waiting pods of all schedulers.
pub(crate) fn guard_watches() -> Vec<Watch> {
    vec![Watch::of(Subject::Nodes), Watch::of_pods(Roles::default())]
}

/// The kinds of objects besides pods and nodes that the profiles' plugins read, sorted.
pub(crate) fn kinds(profiles: &[Profile]) -> BTreeSet<ObjectKind> {
    profiles.iter().flat_map(Profile::plugins).flat_map(|p| p.plugin.declaration().objects).collect()
}

/// What the profiles' plugins poll: of several with the same kind and name, only the first.
pub(crate) fn polls(profiles: &[Profile]) -> Vec<Poll> {
    let mut known = BTreeSet::new();
    let all = profiles.iter().flat_map(Profile::plugins).flat_map(|p| p.plugin.polls());
    all.filter(|poll| known.insert((poll.kind, poll.name.clone()))).collect()
}

/// What the core writes, whatever the plugins are.
const WRITES_OF_THE_CORE: [Right; 5] = [
    Right { verb: "get", group: "", resource: "pods" },
    Right { verb: "create", group: "", resource: "pods/binding" },
    Right { verb: "patch", group: "", resource: "pods/status" },
    Right { verb: "create", group: "events.k8s.io", resource: "events" },
    Right { verb: "patch", group: "events.k8s.io", resource: "events" },
];

/// Something that the scheduler needs permission for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Permission {
    pub group: String,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub verb: &'static str,
    /// Only in this namespace; empty: in all.
    pub namespace: String,
    /// Only for this object; empty: for all.
    pub name: String,
}

impl Permission {
    /// Permission for objects in a namespace (empty: in all), or for the object of this name (empty: for all).
    pub fn on(verb: &'static str, group: &str, resource: &'static str, namespace: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource,
            subresource: "",
            verb,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !self.group.is_empty() {
            write!(f, " in {}", self.group)?;
        }
        if !self.name.is_empty() {
            write!(f, " named {:?}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " (namespace {})", self.namespace)?;
        }
        Ok(())
    }
}

/// What a scheduler with these profiles reads and writes on behalf of its plugins and to place pods, for granting it permission.
#[must_use]
pub fn rights(profiles: &[Profile]) -> BTreeSet<Right> {
    all_rights(profiles, &watches(profiles, true)).collect()
}

/// All the permissions that these watches and profiles need, sorted.
pub(crate) fn permissions(profiles: &[Profile], watches: &[Watch]) -> BTreeSet<Permission> {
    all_rights(profiles, watches).map(Permission::from).collect()
}

fn all_rights(profiles: &[Profile], watches: &[Watch]) -> impl Iterator<Item = Right> {
    let writes = profiles.iter().flat_map(Profile::plugins).flat_map(|p| p.plugin.declaration().writes);
    let polled = polls(profiles).into_iter().filter_map(|poll| match poll.endpoint {
        Endpoint::ApiServer { right, .. } => Some(right),
        Endpoint::Url { .. } | Endpoint::Function(_) => None,
    });
    to_read(watches).chain(WRITES_OF_THE_CORE).chain(writes).chain(polled)
}

/// The permissions that these watches need, sorted.
pub(crate) fn to_watch(watches: &[Watch]) -> BTreeSet<Permission> {
    to_read(watches).map(Permission::from).collect()
}

fn to_read(watches: &[Watch]) -> impl Iterator<Item = Right> {
    watches.iter().flat_map(|watch| {
        let api = watch.subject.api();
        ["list", "watch"].map(|verb| Right { verb, group: api.group, resource: api.plural })
    })
}

impl From<Right> for Permission {
    /// The permission in every namespace and for every object.
    fn from(right: Right) -> Self {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
        Self {
            group: right.group.to_owned(),
            resource,
            subresource,
            verb: right.verb,
            namespace: String::new(),
            name: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_config::{Configuration, make_profiles};

    #[test]
    fn a_pod_is_what_its_scheduler_name_and_node_make_it() {
        let profiles = |own: &str| {
            let text = format!(
                "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{schedulerName: mate}}]\n\
                 ---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n{own}"
            );
            let registry = secondmate_plugins::registry().expect("in-tree names differ");
            make_profiles(&text.parse::<Configuration>().expect("valid"), &registry).expect("in-tree plugins")
        };
        let roles = |own: &str, yields| {
            let watches = watches(&profiles(own), yields);
            let [pods] =
                &watches.iter().filter(|watch| watch.subject == Subject::Pods).collect::<Vec<_>>()[..]
            else {
                panic!("pods come in one watch, or their order is lost: {watches:?}");
            };
            pods.roles.clone()
        };
        let honour = roles("nominationsOfOthers: honour", false);
        assert_eq!(honour.of("mate", "", "", true), Some(PodWatch::Pending));
        assert_eq!(honour.of("mate", "", "n", true), Some(PodWatch::Pending));
        assert_eq!(honour.of("", "", "", true), None);
        assert_eq!(honour.of("", "", "n", true), Some(PodWatch::ForeignNominated));
        assert_eq!(honour.of("other", "n", "", true), Some(PodWatch::Assigned));
        let ignore = roles("nominationsOfOthers: ignore", false);
        assert_eq!(ignore.of("other", "", "n", true), None);
        assert_eq!(ignore.of("mate", "n", "n", true), Some(PodWatch::Assigned));
        let yields = roles("nominationsOfOthers: honour", true);
        assert_eq!(yields.of("other", "", "", true), Some(PodWatch::ForeignWaiting));
        assert_eq!(yields.of("other", "", "", false), None);
        assert_eq!(yields.of("other", "", "n", true), Some(PodWatch::ForeignNominated));
        assert_eq!(yields.of("other", "n", "", true), Some(PodWatch::Assigned));
        assert_eq!(yields.of("mate", "", "", false), Some(PodWatch::Pending));
        // The bind guard is asked about everyone's pods.
        assert_eq!(Roles::default().of("other", "", "n", true), Some(PodWatch::Pending));
    }

    #[test]
    fn a_pod_without_a_scheduler_name_is_the_default_schedulers() {
        let roles = Roles::of_names([Atom::new(DEFAULT_SCHEDULER_NAME)], false);
        assert_eq!(roles.of("", "", "", true), Some(PodWatch::Pending));
    }
}
