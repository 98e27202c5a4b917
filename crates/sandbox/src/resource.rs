//! The resources that the sandbox serves: one table, read by discovery, routing, storage and selectors.

/// What a client may do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// All verbs.
    Full,
    /// get, list and watch: nothing in the sandbox would act on a created object, but the scheduler reads it.
    ReadOnly,
    /// create only, nothing is stored (reviews and bindings).
    CreateOnly,
}

/// Where a resource's objects live. Two resources may be views of one store (events).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub(crate) u8);

/// One resource type.
#[derive(Debug)]
pub(crate) struct ResourceType {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub access: Access,
    pub subresources: &'static [&'static str],
    pub store: StoreId,
    /// Supported field selectors beside metadata.name and metadata.namespace: label and JSON pointer.
    pub fields: &'static [(&'static str, &'static str)],
    /// `metadata.generation` counts changes of the spec.
    pub has_generation: bool,
    /// PUT to a name that does not exist creates.
    pub create_on_update: bool,
    /// PUT without resourceVersion is allowed.
    pub unconditional_update: bool,
    /// What the name of an object must look like.
    pub name_rule: NameRule,
}

/// What the name of an object must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    Subdomain,
    Label,
}

impl ResourceType {
    /// `v1` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `leases.coordination.k8s.io`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The discovery verbs.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match self.access {
            Access::Full => {
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            }
            Access::ReadOnly => &["get", "list", "watch"],
            Access::CreateOnly => &["create"],
        }
    }

    /// Whether this row has no store of its own: a second view of one, or nothing is stored.
    pub(crate) fn is_view_or_unstored(&self) -> bool {
        self.store == NO_STORE || !std::ptr::eq(stored_as(self.store), self)
    }

    /// Whether it shows events as events.k8s.io/v1 does, and not as they are stored.
    pub(crate) fn is_new_event(&self) -> bool {
        self.store == EVENTS && !self.group.is_empty()
    }

    /// Whether objects are stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.store != NO_STORE
    }

    /// Whether status is written through `/status` only.
    pub(crate) fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }
}

const BASE: ResourceType = ResourceType {
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    access: Access::Full,
    subresources: &[],
    store: StoreId(0),
    fields: &[],
    has_generation: false,
    create_on_update: false,
    unconditional_update: true,
    name_rule: NameRule::Subdomain,
};

/// Pods: the store that binding, kubelets and history look at.
pub const PODS: StoreId = StoreId(0);
/// Nodes.
pub const NODES: StoreId = StoreId(1);
/// Namespaces.
pub const NAMESPACES: StoreId = StoreId(2);
/// Events of both API groups, stored in the form of core/v1.
pub const EVENTS: StoreId = StoreId(3);
pub(crate) const PRIORITY_CLASSES: StoreId = StoreId(4);
pub(crate) const REPLICA_SETS: StoreId = StoreId(5);
pub(crate) const DISRUPTION_BUDGETS: StoreId = StoreId(6);
pub(crate) const DEPLOYMENTS: StoreId = StoreId(23);
pub(crate) const CLAIMS: StoreId = StoreId(10);
pub(crate) const VOLUMES: StoreId = StoreId(11);
pub(crate) const STORAGE_CLASSES: StoreId = StoreId(15);
pub(crate) const STATEFUL_SETS: StoreId = StoreId(13);
pub(crate) const DAEMON_SETS: StoreId = StoreId(26);
pub(crate) const JOBS: StoreId = StoreId(27);
pub(crate) const CRON_JOBS: StoreId = StoreId(28);
pub(crate) const CONTROLLER_REVISIONS: StoreId = StoreId(29);
/// Read by the admission of pods.
pub(crate) const LIMIT_RANGES: StoreId = StoreId(24);
/// Read by the admission of pods.
pub(crate) const RUNTIME_CLASSES: StoreId = StoreId(25);
/// Asked before a pod is bound.
pub(crate) const VALIDATING_WEBHOOKS: StoreId = StoreId(31);
/// Where webhooks that name a Service are reached.
pub(crate) const ENDPOINT_SLICES: StoreId = StoreId(32);
/// Resources without a store.
const NO_STORE: StoreId = StoreId(255);
/// One more than the largest store.
pub(crate) const STORE_COUNT: usize = 33;

const POD_FIELDS: &[(&str, &str)] = &[
    ("spec.nodeName", "/spec/nodeName"),
    ("spec.schedulerName", "/spec/schedulerName"),
    ("status.phase", "/status/phase"),
    ("status.nominatedNodeName", "/status/nominatedNodeName"),
    ("spec.restartPolicy", "/spec/restartPolicy"),
    ("spec.serviceAccountName", "/spec/serviceAccountName"),
    ("status.podIP", "/status/podIP"),
    ("spec.hostNetwork", "/spec/hostNetwork"),
];
/// Position of `spec.nodeName` among the extracted fields of a pod.
pub(crate) const POD_NODE_NAME: usize = 0;
/// Position of `status.phase` among the extracted fields of a pod.
pub(crate) const POD_PHASE: usize = 2;

const CORE_EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject.kind", "/involvedObject/kind"),
    ("involvedObject.namespace", "/involvedObject/namespace"),
    ("involvedObject.name", "/involvedObject/name"),
    ("involvedObject.uid", "/involvedObject/uid"),
    ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
    ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingComponent", "/reportingComponent"),
    ("source", "/source/component"),
    ("type", "/type"),
];

// The same pointers in the same order: the fields are extracted once, from the stored core/v1 form.
const NEW_EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding.kind", "/involvedObject/kind"),
    ("regarding.namespace", "/involvedObject/namespace"),
    ("regarding.name", "/involvedObject/name"),
    ("regarding.uid", "/involvedObject/uid"),
    ("regarding.apiVersion", "/involvedObject/apiVersion"),
    ("regarding.resourceVersion", "/involvedObject/resourceVersion"),
    ("regarding.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingController", "/reportingComponent"),
    ("deprecatedSource.component", "/source/component"),
    ("type", "/type"),
];

/// Everything that is served.
pub(crate) static RESOURCES: &[ResourceType] = &[
    ResourceType {
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        short_names: &["po"],
        categories: &["all"],
        subresources: &["binding", "eviction", "status"],
        store: PODS,
        fields: POD_FIELDS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        plural: "nodes",
        singular: "node",
        kind: "Node",
        short_names: &["no"],
        namespaced: false,
        subresources: &["status"],
        store: NODES,
        fields: &[("spec.unschedulable", "/spec/unschedulable")],
        ..BASE
    },
    ResourceType {
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        short_names: &["ns"],
        namespaced: false,
        subresources: &["status", "finalize"],
        store: NAMESPACES,
        fields: &[("status.phase", "/status/phase")],
        name_rule: NameRule::Label,
        ..BASE
    },
    ResourceType {
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        store: EVENTS,
        fields: CORE_EVENT_FIELDS,
        create_on_update: true,
        ..BASE
    },
    ResourceType {
        group: "events.k8s.io",
        plural: "events",
        singular: "event",
        kind: "Event",
        store: EVENTS,
        fields: NEW_EVENT_FIELDS,
        create_on_update: true,
        ..BASE
    },
    ResourceType {
        plural: "bindings",
        singular: "binding",
        kind: "Binding",
        access: Access::CreateOnly,
        store: NO_STORE,
        ..BASE
    },
    ResourceType {
        plural: "services",
        singular: "service",
        kind: "Service",
        short_names: &["svc"],
        categories: &["all"],
        subresources: &["status"],
        store: StoreId(7),
        name_rule: NameRule::Label,
        fields: &[("spec.clusterIP", "/spec/clusterIP"), ("spec.type", "/spec/type")],
        ..BASE
    },
    ResourceType {
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        short_names: &["cm"],
        store: StoreId(8),
        ..BASE
    },
    ResourceType {
        plural: "secrets",
        singular: "secret",
        kind: "Secret",
        store: StoreId(30),
        fields: &[("type", "/type")],
        ..BASE
    },
    ResourceType {
        plural: "serviceaccounts",
        singular: "serviceaccount",
        kind: "ServiceAccount",
        short_names: &["sa"],
        store: StoreId(9),
        ..BASE
    },
    ResourceType {
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        kind: "PersistentVolumeClaim",
        short_names: &["pvc"],
        subresources: &["status"],
        store: CLAIMS,
        ..BASE
    },
    ResourceType {
        plural: "persistentvolumes",
        singular: "persistentvolume",
        kind: "PersistentVolume",
        short_names: &["pv"],
        namespaced: false,
        subresources: &["status"],
        store: VOLUMES,
        ..BASE
    },
    ResourceType {
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        kind: "ReplicationController",
        short_names: &["rc"],
        categories: &["all"],
        access: Access::ReadOnly,
        store: StoreId(12),
        ..BASE
    },
    ResourceType {
        group: "apps",
        plural: "deployments",
        singular: "deployment",
        kind: "Deployment",
        short_names: &["deploy"],
        categories: &["all"],
        subresources: &["scale", "status"],
        store: DEPLOYMENTS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "apps",
        plural: "replicasets",
        singular: "replicaset",
        kind: "ReplicaSet",
        short_names: &["rs"],
        categories: &["all"],
        subresources: &["scale", "status"],
        store: REPLICA_SETS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "apps",
        plural: "statefulsets",
        singular: "statefulset",
        kind: "StatefulSet",
        short_names: &["sts"],
        categories: &["all"],
        subresources: &["scale", "status"],
        store: STATEFUL_SETS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "apps",
        plural: "daemonsets",
        singular: "daemonset",
        kind: "DaemonSet",
        short_names: &["ds"],
        categories: &["all"],
        subresources: &["status"],
        store: DAEMON_SETS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "apps",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        kind: "ControllerRevision",
        store: CONTROLLER_REVISIONS,
        ..BASE
    },
    ResourceType {
        group: "batch",
        plural: "jobs",
        singular: "job",
        kind: "Job",
        categories: &["all"],
        subresources: &["status"],
        store: JOBS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "batch",
        plural: "cronjobs",
        singular: "cronjob",
        kind: "CronJob",
        short_names: &["cj"],
        categories: &["all"],
        subresources: &["status"],
        store: CRON_JOBS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "coordination.k8s.io",
        plural: "leases",
        singular: "lease",
        kind: "Lease",
        store: StoreId(14),
        create_on_update: true,
        unconditional_update: false,
        ..BASE
    },
    ResourceType {
        group: "admissionregistration.k8s.io",
        plural: "validatingwebhookconfigurations",
        singular: "validatingwebhookconfiguration",
        kind: "ValidatingWebhookConfiguration",
        namespaced: false,
        store: VALIDATING_WEBHOOKS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        singular: "endpointslice",
        kind: "EndpointSlice",
        store: ENDPOINT_SLICES,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "policy",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        kind: "PodDisruptionBudget",
        short_names: &["pdb"],
        subresources: &["status"],
        store: DISRUPTION_BUDGETS,
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "storage.k8s.io",
        plural: "storageclasses",
        singular: "storageclass",
        kind: "StorageClass",
        short_names: &["sc"],
        namespaced: false,
        store: STORAGE_CLASSES,
        ..BASE
    },
    ResourceType {
        group: "storage.k8s.io",
        plural: "csinodes",
        singular: "csinode",
        kind: "CSINode",
        namespaced: false,
        store: StoreId(16),
        ..BASE
    },
    ResourceType {
        group: "storage.k8s.io",
        plural: "csidrivers",
        singular: "csidriver",
        kind: "CSIDriver",
        namespaced: false,
        store: StoreId(17),
        ..BASE
    },
    ResourceType {
        group: "storage.k8s.io",
        plural: "csistoragecapacities",
        singular: "csistoragecapacity",
        kind: "CSIStorageCapacity",
        store: StoreId(18),
        ..BASE
    },
    ResourceType {
        group: "storage.k8s.io",
        plural: "volumeattachments",
        singular: "volumeattachment",
        kind: "VolumeAttachment",
        namespaced: false,
        subresources: &["status"],
        store: StoreId(19),
        ..BASE
    },
    ResourceType {
        group: "scheduling.k8s.io",
        plural: "priorityclasses",
        singular: "priorityclass",
        kind: "PriorityClass",
        short_names: &["pc"],
        namespaced: false,
        store: PRIORITY_CLASSES,
        ..BASE
    },
    ResourceType {
        group: "resource.k8s.io",
        plural: "resourceclaims",
        singular: "resourceclaim",
        kind: "ResourceClaim",
        subresources: &["status"],
        store: StoreId(20),
        ..BASE
    },
    ResourceType {
        group: "resource.k8s.io",
        plural: "deviceclasses",
        singular: "deviceclass",
        kind: "DeviceClass",
        namespaced: false,
        store: StoreId(21),
        ..BASE
    },
    ResourceType {
        group: "resource.k8s.io",
        plural: "resourceslices",
        singular: "resourceslice",
        kind: "ResourceSlice",
        namespaced: false,
        store: StoreId(22),
        fields: &[("spec.nodeName", "/spec/nodeName"), ("spec.driver", "/spec/driver")],
        ..BASE
    },
    ResourceType {
        plural: "limitranges",
        singular: "limitrange",
        kind: "LimitRange",
        short_names: &["limits"],
        store: LIMIT_RANGES,
        ..BASE
    },
    ResourceType {
        group: "node.k8s.io",
        plural: "runtimeclasses",
        singular: "runtimeclass",
        kind: "RuntimeClass",
        namespaced: false,
        store: RUNTIME_CLASSES,
        ..BASE
    },
    ResourceType {
        group: "authorization.k8s.io",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        namespaced: false,
        access: Access::CreateOnly,
        store: NO_STORE,
        ..BASE
    },
];

/// The resource at `group/version` with this plural name.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static ResourceType> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The resource whose form is the stored one.
pub(crate) fn stored_as(store: StoreId) -> &'static ResourceType {
    RESOURCES.iter().find(|r| r.store == store).expect("each store id is that of a row in RESOURCES")
}

/// The resource of an object's `apiVersion` and `kind`.
pub(crate) fn of_kind(api_version: &str, kind: &str) -> Option<&'static ResourceType> {
    RESOURCES.iter().find(|r| r.kind == kind && r.api_version() == api_version)
}

/// Group versions in the order of discovery, the core group (empty) first.
pub(crate) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for resource in RESOURCES {
        if !all.contains(&(resource.group, resource.version)) {
            all.push((resource.group, resource.version));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_numbered_without_gaps_and_only_events_share_one() {
        let mut seen = [0; STORE_COUNT];
        for resource in RESOURCES.iter().filter(|r| r.store != NO_STORE) {
            seen[usize::from(resource.store.0)] += 1;
        }
        for (id, count) in seen.iter().enumerate() {
            assert_eq!(*count, if StoreId(id as u8) == EVENTS { 2 } else { 1 }, "store {id}");
        }
    }

    #[test]
    fn positions_of_extracted_pod_fields_are_right() {
        assert_eq!(POD_FIELDS[POD_NODE_NAME].0, "spec.nodeName");
        assert_eq!(POD_FIELDS[POD_PHASE].0, "status.phase");
    }

    #[test]
    fn both_event_views_extract_the_same_fields() {
        let core: Vec<_> = CORE_EVENT_FIELDS.iter().map(|f| f.1).collect();
        let new: Vec<_> = NEW_EVENT_FIELDS.iter().map(|f| f.1).collect();
        assert_eq!(core, new);
    }
}
