//! What has to be watched, and what the scheduler must be allowed to do, for a set of profiles: pods and nodes always, and the rest
//! as the profiles' plugins declare it.

use secondmate_core::port::PodWatch;
use secondmate_cycle::Profile;
use secondmate_framework::Right;
use secondmate_model::objects::{ApiResource, ObjectKind};
use std::collections::BTreeSet;
use std::fmt;

/// What a watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Pods(PodWatch),
    Nodes,
    Objects(ObjectKind),
}

impl Subject {
    pub fn api(self) -> ApiResource {
        match self {
            Self::Pods(_) => ApiResource::PODS,
            Self::Nodes => ApiResource::NODES,
            Self::Objects(kind) => kind.api(),
        }
    }
}

/// A watch that has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub subject: Subject,
    pub fields: Option<String>,
    /// Of a watch of own pending pods: the name.
    pub scheduler_name: Option<String>,
    /// Pods and nodes are kept in full, since a plugin reads them so.
    pub whole: bool,
}

impl Watch {
    /// Every API server serves it; that it does not is an error.
    pub fn is_essential(&self) -> bool {
        self.subject.api().group.is_empty()
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.subject.api().plural)?;
        match &self.fields {
            Some(fields) => write!(f, " ({fields})"),
            None => Ok(()),
        }
    }
}

/// The watches that these profiles need.
pub(crate) fn watches(profiles: &[Profile]) -> Vec<Watch> {
    let names: Vec<&str> = profiles.iter().map(|p| p.name().as_str()).collect();
    let whole = reads_whole_objects(profiles);
    let mut watches: Vec<Watch> = names
        .iter()
        .map(|name| Watch {
            subject: Subject::Pods(PodWatch::Pending),
            fields: Some(format!("spec.schedulerName={name},spec.nodeName=")),
            scheduler_name: Some((*name).to_owned()),
            whole,
        })
        .collect();
    let pods = |watch, fields: String| Watch {
        subject: Subject::Pods(watch),
        fields: Some(fields),
        scheduler_name: None,
        whole,
    };
    watches.push(pods(PodWatch::Assigned, ASSIGNED.to_owned()));
    // All profiles are of one configuration.
    if !profiles.iter().any(Profile::ignores_nominations_of_others) {
        watches.push(pods(PodWatch::ForeignNominated, nominated_by_others(&names)));
    }
    let subjects = std::iter::once(Subject::Nodes).chain(kinds(profiles).into_iter().map(Subject::Objects));
    watches.extend(subjects.map(|subject| Watch { subject, fields: None, scheduler_name: None, whole }));
    watches
}

/// Selects pods of other schedulers that are nominated to a node and not bound yet.
fn nominated_by_others(names: &[&str]) -> String {
    let others: String = names.iter().map(|name| format!(",spec.schedulerName!={name}")).collect();
    format!("spec.nodeName=,status.nominatedNodeName!={others}")
}

/// Whether a plugin of the profiles reads pods and nodes in full.
pub(crate) fn reads_whole_objects(profiles: &[Profile]) -> bool {
    profiles.iter().flat_map(Profile::plugins).any(|p| p.plugin.declaration().whole_objects)
}

/// Pods that are on a node and have not ended, of all schedulers.
const ASSIGNED: &str = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed";

/// The watches that the bind guard needs: nodes, the pods on them, and the pods that wait, of all schedulers.
pub(crate) fn guard_watches() -> Vec<Watch> {
    let pods = |watch, fields: &str| Watch {
        subject: Subject::Pods(watch),
        fields: Some(fields.to_owned()),
        scheduler_name: None,
        whole: false,
    };
    vec![
        Watch { subject: Subject::Nodes, fields: None, scheduler_name: None, whole: false },
        pods(PodWatch::Assigned, ASSIGNED),
        pods(PodWatch::Pending, "spec.nodeName="),
    ]
}

/// The kinds of objects beside pods and nodes that the profiles' plugins read, sorted.
pub(crate) fn kinds(profiles: &[Profile]) -> BTreeSet<ObjectKind> {
    profiles.iter().flat_map(Profile::plugins).flat_map(|p| p.plugin.declaration().objects).collect()
}

/// What the core writes whatever the plugins are.
const WRITES_OF_THE_CORE: [Right; 5] = [
    Right { verb: "get", group: "", resource: "pods" },
    Right { verb: "create", group: "", resource: "pods/binding" },
    Right { verb: "patch", group: "", resource: "pods/status" },
    Right { verb: "create", group: "events.k8s.io", resource: "events" },
    Right { verb: "patch", group: "events.k8s.io", resource: "events" },
];

/// Something that the scheduler must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Permission {
    pub group: String,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub verb: &'static str,
    /// In this namespace only; empty: everywhere.
    pub namespace: String,
    /// For this object only; empty: for all.
    pub name: String,
}

impl Permission {
    /// A right to objects in a namespace (empty: everywhere), or to the one of this name (empty: to all).
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

/// Everything that these watches and profiles need to be allowed, sorted.
pub(crate) fn permissions(profiles: &[Profile], watches: &[Watch]) -> BTreeSet<Permission> {
    let writes = profiles.iter().flat_map(Profile::plugins).flat_map(|p| p.plugin.declaration().writes);
    let writes = WRITES_OF_THE_CORE.into_iter().chain(writes).map(Permission::from);
    to_watch(watches).into_iter().chain(writes).collect()
}

/// What these watches need to be allowed, sorted.
pub(crate) fn to_watch(watches: &[Watch]) -> BTreeSet<Permission> {
    let reads = watches.iter().flat_map(|watch| {
        let api = watch.subject.api();
        ["list", "watch"].map(|verb| Right { verb, group: api.group, resource: api.plural })
    });
    reads.map(Permission::from).collect()
}

impl From<Right> for Permission {
    /// The right, in every namespace and for every object.
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
    fn nominations_that_are_ignored_are_not_watched() {
        let profiles = |own: &str| {
            let text = format!(
                "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{schedulerName: mate}}]\n\
                 ---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n{own}"
            );
            let registry = secondmate_plugins::registry().expect("in-tree names differ");
            make_profiles(&text.parse::<Configuration>().expect("valid"), &registry).expect("in-tree plugins")
        };
        let watched = |own: &str| {
            let watches = watches(&profiles(own));
            watches.iter().any(|watch| watch.subject == Subject::Pods(PodWatch::ForeignNominated))
        };
        assert!(watched("nominationsOfOthers: honour"));
        assert!(!watched("nominationsOfOthers: ignore"));
    }
}
