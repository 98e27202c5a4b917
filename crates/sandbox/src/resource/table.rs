//! The served kinds.

use super::{
    Access, CLAIMS, CONTROLLER_REVISIONS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, DISRUPTION_BUDGETS,
    ENDPOINT_SLICES, EVENTS, JOBS, LIMIT_RANGES, NAMESPACES, NO_STORE, NODES, NameRule, PODS,
    PRIORITY_CLASSES, REPLICA_SETS, RUNTIME_CLASSES, ResourceType, STATEFUL_SETS, STORAGE_CLASSES, StoreId,
    VALIDATING_WEBHOOKS, VOLUMES,
};

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

pub(super) const POD_FIELDS: &[(&str, &str)] = &[
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

pub(super) const CORE_EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject.kind", "/involvedObject/kind"),
    ("involvedObject.namespace", "/involvedObject/namespace"),
    ("involvedObject.name", "/involvedObject/name"),
    ("involvedObject.uid", "/involvedObject/uid"),
    ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
    ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingComponent", "/reportingComponent"),
    ("type", "/type"),
    // If it is empty, the reporting component.
    ("source", EVENT_SOURCE),
];
/// The field of a core/v1 event for the component that wrote it.
pub(crate) const EVENT_SOURCE: &str = "/source/component";

// The same pointers in the same order, except for the source: the fields are extracted once, from the stored core/v1 form.
pub(super) const NEW_EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding.kind", "/involvedObject/kind"),
    ("regarding.namespace", "/involvedObject/namespace"),
    ("regarding.name", "/involvedObject/name"),
    ("regarding.uid", "/involvedObject/uid"),
    ("regarding.apiVersion", "/involvedObject/apiVersion"),
    ("regarding.resourceVersion", "/involvedObject/resourceVersion"),
    ("regarding.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingController", "/reportingComponent"),
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
    // Stored, so that manifests can be applied. Nothing is forbidden here, and there is no network.
    ResourceType {
        group: "rbac.authorization.k8s.io",
        plural: "roles",
        singular: "role",
        kind: "Role",
        store: StoreId(33),
        name_rule: NameRule::PathSegment,
        ..BASE
    },
    ResourceType {
        group: "rbac.authorization.k8s.io",
        plural: "rolebindings",
        singular: "rolebinding",
        kind: "RoleBinding",
        store: StoreId(34),
        name_rule: NameRule::PathSegment,
        ..BASE
    },
    ResourceType {
        group: "rbac.authorization.k8s.io",
        plural: "clusterroles",
        singular: "clusterrole",
        kind: "ClusterRole",
        namespaced: false,
        store: StoreId(35),
        name_rule: NameRule::PathSegment,
        ..BASE
    },
    ResourceType {
        group: "rbac.authorization.k8s.io",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        kind: "ClusterRoleBinding",
        namespaced: false,
        store: StoreId(36),
        name_rule: NameRule::PathSegment,
        ..BASE
    },
    ResourceType {
        group: "networking.k8s.io",
        plural: "networkpolicies",
        singular: "networkpolicy",
        kind: "NetworkPolicy",
        short_names: &["netpol"],
        store: StoreId(37),
        has_generation: true,
        ..BASE
    },
    ResourceType {
        group: "metrics.k8s.io",
        version: "v1beta1",
        plural: "nodes",
        singular: "node",
        kind: "NodeMetrics",
        namespaced: false,
        access: Access::Derived,
        store: NO_STORE,
        ..BASE
    },
    ResourceType {
        group: "metrics.k8s.io",
        version: "v1beta1",
        plural: "pods",
        singular: "pod",
        kind: "PodMetrics",
        access: Access::Derived,
        store: NO_STORE,
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
