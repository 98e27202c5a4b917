//! What has to be watched, and what the scheduler must be allowed to do, for a set of profiles.

use super::kind::{Kind, Place, of};
use secondmate_core::port::PodWatch;
use secondmate_cycle::Profile;
use secondmate_framework::EventResource;
use std::collections::BTreeSet;
use std::fmt;

/// What a watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Pods(PodWatch),
    Nodes,
    Namespaces,
    Services,
    ReplicationControllers,
    ReplicaSets,
    StatefulSets,
    DisruptionBudgets,
    PersistentVolumes,
    PersistentVolumeClaims,
    StorageClasses,
    CsiNodes,
    CsiDrivers,
    StorageCapacities,
    VolumeAttachments,
    DeviceClasses,
}

impl Subject {
    pub fn place(self) -> Place {
        match self {
            Self::Pods(_) => of::Pod::PLACE,
            Self::Nodes => of::Node::PLACE,
            Self::Namespaces => of::Namespace::PLACE,
            Self::Services => of::Service::PLACE,
            Self::ReplicationControllers => of::ReplicationController::PLACE,
            Self::ReplicaSets => of::ReplicaSet::PLACE,
            Self::StatefulSets => of::StatefulSet::PLACE,
            Self::DisruptionBudgets => of::PodDisruptionBudget::PLACE,
            Self::PersistentVolumes => of::PersistentVolume::PLACE,
            Self::PersistentVolumeClaims => of::PersistentVolumeClaim::PLACE,
            Self::StorageClasses => of::StorageClass::PLACE,
            Self::CsiNodes => of::CSINode::PLACE,
            Self::CsiDrivers => of::CSIDriver::PLACE,
            Self::StorageCapacities => of::CSIStorageCapacity::PLACE,
            Self::VolumeAttachments => of::VolumeAttachment::PLACE,
            Self::DeviceClasses => of::DeviceClass::PLACE,
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
}

impl Watch {
    /// Every API server serves it; that it does not is an error.
    pub fn is_essential(&self) -> bool {
        self.subject.place().group.is_empty()
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.subject.place().plural)?;
        match &self.fields {
            Some(fields) => write!(f, " ({fields})"),
            None => Ok(()),
        }
    }
}

/// What an in-tree plugin reads beside pods, nodes and namespaces.
fn reads(plugin: &str) -> &'static [Subject] {
    use Subject as S;
    match plugin {
        "PodTopologySpread" => &[S::Services, S::ReplicationControllers, S::ReplicaSets, S::StatefulSets],
        "DefaultPreemption" => &[S::DisruptionBudgets],
        "VolumeRestrictions" => &[S::PersistentVolumeClaims],
        "VolumeZone" => &[S::PersistentVolumes, S::PersistentVolumeClaims, S::StorageClasses],
        "NodeVolumeLimits" => &[
            S::PersistentVolumes,
            S::PersistentVolumeClaims,
            S::StorageClasses,
            S::CsiNodes,
            S::VolumeAttachments,
        ],
        "VolumeBinding" => &[
            S::PersistentVolumes,
            S::PersistentVolumeClaims,
            S::StorageClasses,
            S::CsiNodes,
            S::CsiDrivers,
            S::StorageCapacities,
        ],
        "DynamicResources" | "NodeResourcesFit" => &[S::DeviceClasses],
        _ => &[],
    }
}

/// What a plugin that is not in the tree reads: what it registered events of.
fn registered(resource: EventResource) -> Option<Subject> {
    use EventResource as R;
    Some(match resource {
        R::PersistentVolume => Subject::PersistentVolumes,
        R::PersistentVolumeClaim => Subject::PersistentVolumeClaims,
        R::StorageClass => Subject::StorageClasses,
        R::CsiNode => Subject::CsiNodes,
        R::CsiDriver => Subject::CsiDrivers,
        R::CsiStorageCapacity => Subject::StorageCapacities,
        R::VolumeAttachment => Subject::VolumeAttachments,
        R::DeviceClass => Subject::DeviceClasses,
        _ => return None,
    })
}

/// The watches that these profiles need.
pub(crate) fn watches(profiles: &[Profile]) -> Vec<Watch> {
    let names: Vec<&str> = profiles.iter().map(|p| p.name().as_str()).collect();
    let mut watches: Vec<Watch> = names
        .iter()
        .map(|name| Watch {
            subject: Subject::Pods(PodWatch::Pending),
            fields: Some(format!("spec.schedulerName={name},spec.nodeName=")),
            scheduler_name: Some((*name).to_owned()),
        })
        .collect();
    let pods = |watch, fields: String| Watch {
        subject: Subject::Pods(watch),
        fields: Some(fields),
        scheduler_name: None,
    };
    watches.push(pods(
        PodWatch::Assigned,
        "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed".to_owned(),
    ));
    let foreign: String = names.iter().map(|name| format!(",spec.schedulerName!={name}")).collect();
    watches.push(pods(
        PodWatch::ForeignNominated,
        format!("spec.nodeName=,status.nominatedNodeName!={foreign}"),
    ));
    let mut subjects = BTreeSet::from([Subject::Nodes, Subject::Namespaces]);
    for plugin in profiles.iter().flat_map(Profile::plugins) {
        subjects.extend(reads(plugin.name.as_str()));
        subjects.extend(plugin.plugin.events().iter().filter_map(|e| registered(e.resource)));
    }
    watches.extend(subjects.into_iter().map(|subject| Watch { subject, fields: None, scheduler_name: None }));
    watches
}

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
    let mut needed = BTreeSet::new();
    let mut need = |group: &str, resource, subresource, verbs: &[&'static str]| {
        for verb in verbs {
            needed.insert(Permission {
                group: group.to_owned(),
                resource,
                subresource,
                verb,
                namespace: String::new(),
                name: String::new(),
            });
        }
    };
    for watch in watches {
        let place = watch.subject.place();
        need(place.group, place.plural, "", &["list", "watch"]);
    }
    need("", "pods", "", &["get"]);
    need("", "pods", "binding", &["create"]);
    need("", "pods", "status", &["patch"]);
    need("events.k8s.io", "events", "", &["create", "patch"]);
    let runs = |name: &str| profiles.iter().flat_map(Profile::plugins).any(|p| p.name.as_str() == name);
    if runs("DefaultPreemption") {
        need("", "pods", "", &["delete"]);
    }
    if runs("VolumeBinding") {
        need("", "persistentvolumes", "", &["patch"]);
        need("", "persistentvolumeclaims", "", &["patch"]);
    }
    needed
}
