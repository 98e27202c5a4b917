//! Pods on the wire.

use super::{
    LabelSelector, NodeSelector, NodeSelectorTerm, ObjectMeta, ResourceList, StringMap, null_default,
};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// `v1.Pod`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Pod {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// Spec.
    pub spec: PodSpec,
    /// Status.
    pub status: PodStatus,
}

/// `v1.PodSpec`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Name of the node once bound.
    #[serde(deserialize_with = "null_default")]
    pub node_name: Box<str>,
    /// The scheduler that the pod specifies; empty means `default-scheduler`.
    #[serde(deserialize_with = "null_default")]
    pub scheduler_name: Box<str>,
    /// Priority; absent means 0.
    pub priority: Option<i32>,
    /// `Never` or `PreemptLowerPriority` (the default).
    #[serde(deserialize_with = "null_default")]
    pub preemption_policy: Box<str>,
    /// App containers.
    #[serde(deserialize_with = "null_default")]
    pub containers: Vec<Container>,
    /// Init containers and sidecars.
    #[serde(deserialize_with = "null_default")]
    pub init_containers: Vec<Container>,
    /// Ephemeral containers.
    #[serde(deserialize_with = "null_default")]
    pub ephemeral_containers: Vec<EphemeralContainer>,
    /// Overhead of the runtime class.
    #[serde(deserialize_with = "null_default")]
    pub overhead: ResourceList,
    /// Pod-level resources.
    pub resources: Option<ResourceRequirements>,
    /// Node labels that must match.
    #[serde(deserialize_with = "null_default")]
    pub node_selector: StringMap,
    /// Affinity.
    pub affinity: Option<Affinity>,
    /// Tolerations.
    #[serde(deserialize_with = "null_default")]
    pub tolerations: Vec<Toleration>,
    /// Topology spread constraints.
    #[serde(deserialize_with = "null_default")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Scheduling gates.
    #[serde(deserialize_with = "null_default")]
    pub scheduling_gates: Vec<Named>,
    /// Volumes.
    #[serde(deserialize_with = "null_default")]
    pub volumes: Vec<Volume>,
    /// Resource claims (dynamic resource allocation).
    #[serde(deserialize_with = "null_default")]
    pub resource_claims: Vec<Named>,
    /// Whether the pod uses the host's network.
    #[serde(deserialize_with = "null_default")]
    pub host_network: bool,
    /// `false`: the pod runs in a user namespace.
    pub host_users: Option<bool>,
    /// Operating system that the pod is made for.
    pub os: Option<Named>,
    /// Restart policy.
    #[serde(deserialize_with = "null_default")]
    pub restart_policy: Box<str>,
    /// Grace period in seconds.
    pub termination_grace_period_seconds: Option<i64>,
}

/// An object of which only the name is read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Named {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
}

/// `v1.Container`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// Image reference.
    #[serde(deserialize_with = "null_default")]
    pub image: Box<str>,
    /// Requests and claims.
    #[serde(deserialize_with = "null_default")]
    pub resources: ResourceRequirements,
    /// Ports.
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<ContainerPort>,
    /// `Always` on an init container makes it a sidecar.
    pub restart_policy: Option<Box<str>>,
    /// Rules for restarting this container depending on its exit code.
    #[serde(deserialize_with = "null_default")]
    pub restart_policy_rules: Vec<ContainerRestartRule>,
    /// Where volumes are mounted.
    #[serde(deserialize_with = "null_default")]
    pub volume_mounts: VolumeMounts,
}

/// `v1.EphemeralContainer`: only its mounts are read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct EphemeralContainer {
    /// Where volumes are mounted.
    #[serde(deserialize_with = "null_default")]
    pub volume_mounts: VolumeMounts,
}

/// A list of `v1.VolumeMount`. All that is read of it is one bit, so that the many mounts of a pod take no memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VolumeMounts {
    /// At least one of them has `bindMountOptions`.
    pub have_bind_options: bool,
}

impl<'de> Deserialize<'de> for VolumeMounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(VolumeMountsVisitor)
    }
}

struct VolumeMountsVisitor;

impl<'de> Visitor<'de> for VolumeMountsVisitor {
    type Value = VolumeMounts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of volume mounts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<VolumeMounts, A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct VolumeMount {
            #[serde(default, deserialize_with = "null_default")]
            bind_mount_options: Vec<IgnoredAny>,
        }
        let mut mounts = VolumeMounts::default();
        while let Some(mount) = list.next_element::<VolumeMount>()? {
            mounts.have_bind_options |= !mount.bind_mount_options.is_empty();
        }
        Ok(mounts)
    }
}

/// `v1.ContainerRestartRule`: only the action is read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerRestartRule {
    /// `Restart` or `RestartAllContainers`.
    #[serde(deserialize_with = "null_default")]
    pub action: Box<str>,
}

/// `v1.ResourceRequirements`, without limits: where only a limit is given, the API server adds a request of the same amount.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceRequirements {
    /// Requests.
    #[serde(deserialize_with = "null_default")]
    pub requests: ResourceList,
    /// Claims of dynamic resource allocation.
    #[serde(deserialize_with = "null_default")]
    pub claims: Vec<Named>,
}

/// `v1.ContainerPort`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Port on the host; 0 if none is requested.
    #[serde(deserialize_with = "null_default")]
    pub host_port: i32,
    /// Address on the host.
    #[serde(rename = "hostIP", deserialize_with = "null_default")]
    pub host_ip: Box<str>,
    /// Protocol; empty means TCP.
    #[serde(deserialize_with = "null_default")]
    pub protocol: Box<str>,
}

/// `v1.Toleration`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Toleration {
    /// Taint key; empty means all.
    #[serde(deserialize_with = "null_default")]
    pub key: Box<str>,
    /// Operator; empty means `Equal`.
    #[serde(deserialize_with = "null_default")]
    pub operator: Box<str>,
    /// Value.
    #[serde(deserialize_with = "null_default")]
    pub value: Box<str>,
    /// Effect; empty means all.
    #[serde(deserialize_with = "null_default")]
    pub effect: Box<str>,
}

/// `v1.Affinity`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Affinity {
    /// Node affinity.
    pub node_affinity: Option<NodeAffinity>,
    /// Pod affinity.
    pub pod_affinity: Option<PodAffinity>,
    /// Pod anti-affinity.
    pub pod_anti_affinity: Option<PodAffinity>,
}

/// `v1.NodeAffinity`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeAffinity {
    /// Hard terms.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    /// Soft terms.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_default")]
    pub preferred: Vec<PreferredSchedulingTerm>,
}

/// `v1.PreferredSchedulingTerm`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PreferredSchedulingTerm {
    /// Weight.
    #[serde(deserialize_with = "null_default")]
    pub weight: i32,
    /// The term.
    pub preference: NodeSelectorTerm,
}

/// `v1.PodAffinity` and `v1.PodAntiAffinity`: the same shape.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PodAffinity {
    /// Hard terms.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_default")]
    pub required: Vec<PodAffinityTerm>,
    /// Soft terms.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "null_default")]
    pub preferred: Vec<WeightedPodAffinityTerm>,
}

/// `v1.PodAffinityTerm`. `matchLabelKeys` and `mismatchLabelKeys` are merged into the selector by the API server.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PodAffinityTerm {
    /// Selects pods; absent matches none.
    pub label_selector: Option<LabelSelector>,
    /// Selected namespaces by name.
    #[serde(deserialize_with = "null_default")]
    pub namespaces: Vec<Box<str>>,
    /// Selected namespaces by label; empty matches all.
    pub namespace_selector: Option<LabelSelector>,
    /// Node label that defines the domains.
    #[serde(deserialize_with = "null_default")]
    pub topology_key: Box<str>,
}

/// `v1.WeightedPodAffinityTerm`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct WeightedPodAffinityTerm {
    /// Weight.
    #[serde(deserialize_with = "null_default")]
    pub weight: i32,
    /// The term.
    pub pod_affinity_term: PodAffinityTerm,
}

/// `v1.TopologySpreadConstraint`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct TopologySpreadConstraint {
    /// Largest skew allowed.
    #[serde(deserialize_with = "null_default")]
    pub max_skew: i32,
    /// Node label that defines the domains.
    #[serde(deserialize_with = "null_default")]
    pub topology_key: Box<str>,
    /// `DoNotSchedule` or `ScheduleAnyway`.
    #[serde(deserialize_with = "null_default")]
    pub when_unsatisfiable: Box<str>,
    /// Pods to count; absent matches none.
    pub label_selector: Option<LabelSelector>,
    /// Minimum number of domains.
    pub min_domains: Option<i32>,
    /// `Honor` (the default) or `Ignore`.
    pub node_affinity_policy: Option<Box<str>>,
    /// `Honor` or `Ignore` (the default).
    pub node_taints_policy: Option<Box<str>>,
    /// Label keys whose values, taken from the pod itself, narrow the selector.
    #[serde(deserialize_with = "null_default")]
    pub match_label_keys: Vec<Box<str>>,
}

/// `v1.Volume`: the sources that scheduling reads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Volume {
    /// Name of the volume inside the pod.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// A claim by name.
    pub persistent_volume_claim: Option<PersistentVolumeClaimSource>,
    /// A generic ephemeral volume: its claim is named `POD-VOLUME`.
    pub ephemeral: Option<EphemeralSource>,
    /// An inline CSI volume.
    pub csi: Option<InlineCsiSource>,
    /// An image volume.
    pub image: Option<ImageVolumeSource>,
    /// An inline GCE persistent disk.
    pub gce_persistent_disk: Option<GcePersistentDisk>,
    /// An inline EBS volume.
    pub aws_elastic_block_store: Option<AwsElasticBlockStore>,
    /// An inline Azure disk.
    pub azure_disk: Option<AzureDisk>,
    /// An inline Cinder volume.
    pub cinder: Option<Cinder>,
    /// An inline Portworx volume.
    pub portworx_volume: Option<PortworxVolume>,
    /// An inline RBD image.
    pub rbd: Option<Rbd>,
    /// An inline iSCSI target.
    pub iscsi: Option<Iscsi>,
    /// An inline Azure file share.
    pub azure_file: Option<PresentSource>,
    /// An inline vSphere volume.
    pub vsphere_volume: Option<PresentSource>,
}

/// `v1.PersistentVolumeClaimVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PersistentVolumeClaimSource {
    /// Claim in the pod's namespace.
    #[serde(deserialize_with = "null_default")]
    pub claim_name: Box<str>,
    /// Mounted read only.
    #[serde(deserialize_with = "null_default")]
    pub read_only: bool,
}

/// `v1.EphemeralVolumeSource`: its presence is what matters.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct EphemeralSource {}

/// A source of which only the presence is read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct PresentSource {}

/// `v1.CSIVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct InlineCsiSource {
    /// Driver name.
    #[serde(deserialize_with = "null_default")]
    pub driver: Box<str>,
}

/// `v1.ImageVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageVolumeSource {
    /// Image reference.
    #[serde(deserialize_with = "null_default")]
    pub reference: Box<str>,
}

/// `v1.GCEPersistentDiskVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct GcePersistentDisk {
    /// Disk name.
    #[serde(deserialize_with = "null_default")]
    pub pd_name: Box<str>,
    /// Read only.
    #[serde(deserialize_with = "null_default")]
    pub read_only: bool,
}

/// `v1.AWSElasticBlockStoreVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct AwsElasticBlockStore {
    /// Volume id.
    #[serde(rename = "volumeID", deserialize_with = "null_default")]
    pub volume_id: Box<str>,
    /// Read only.
    #[serde(deserialize_with = "null_default")]
    pub read_only: bool,
}

/// `v1.AzureDiskVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct AzureDisk {
    /// Disk name.
    #[serde(deserialize_with = "null_default")]
    pub disk_name: Box<str>,
    /// Disk URI.
    #[serde(rename = "diskURI", deserialize_with = "null_default")]
    pub disk_uri: Box<str>,
    /// `Managed`, `Dedicated` or `Shared`: only the first is translated to CSI.
    pub kind: Option<Box<str>>,
}

/// `v1.CinderVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Cinder {
    /// Volume id.
    #[serde(rename = "volumeID", deserialize_with = "null_default")]
    pub volume_id: Box<str>,
}

/// `v1.PortworxVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PortworxVolume {
    /// Volume id.
    #[serde(rename = "volumeID", deserialize_with = "null_default")]
    pub volume_id: Box<str>,
}

/// `v1.RBDVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Rbd {
    /// Monitors.
    #[serde(deserialize_with = "null_default")]
    pub monitors: Vec<Box<str>>,
    /// Pool.
    #[serde(deserialize_with = "null_default")]
    pub pool: Box<str>,
    /// Image.
    #[serde(deserialize_with = "null_default")]
    pub image: Box<str>,
    /// Read only.
    #[serde(deserialize_with = "null_default")]
    pub read_only: bool,
}

/// `v1.ISCSIVolumeSource`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Iscsi {
    /// Qualified name.
    #[serde(deserialize_with = "null_default")]
    pub iqn: Box<str>,
    /// Read only.
    #[serde(deserialize_with = "null_default")]
    pub read_only: bool,
}

/// `v1.PodStatus`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// Phase.
    #[serde(deserialize_with = "null_default")]
    pub phase: Box<str>,
    /// Node that the pod is nominated to.
    #[serde(deserialize_with = "null_default")]
    pub nominated_node_name: Box<str>,
    /// Conditions.
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
    /// Status of the app containers.
    #[serde(deserialize_with = "null_default")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Status of the init containers.
    #[serde(deserialize_with = "null_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// When the kubelet accepted the pod, RFC 3339.
    pub start_time: Option<Box<str>>,
    /// Pod-level resources as actuated.
    pub resources: Option<ActuatedResources>,
    /// Pod-level resources as allocated.
    pub allocated_resources: Option<ResourceList>,
    /// Claims generated for the pod from templates.
    #[serde(deserialize_with = "null_default")]
    pub resource_claim_statuses: Vec<ResourceClaimStatus>,
    /// Claim generated for extended resources that a DeviceClass provides.
    pub extended_resource_claim_status: Option<ExtendedResourceClaimStatus>,
}

/// An entry of `status.resourceClaimStatuses`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceClaimStatus {
    /// Name of the claim within the pod.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// Name of the ResourceClaim; absent if no claim is needed.
    pub resource_claim_name: Option<Box<str>>,
}

/// `status.extendedResourceClaimStatus`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtendedResourceClaimStatus {
    /// Name of the ResourceClaim.
    #[serde(deserialize_with = "null_default")]
    pub resource_claim_name: Box<str>,
    /// Which request of the claim provides which resource of which container.
    #[serde(deserialize_with = "null_default")]
    pub request_mappings: Vec<ExtendedResourceRequest>,
}

/// An entry of `status.extendedResourceClaimStatus.requestMappings`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
#[serde(default, rename_all = "camelCase")]
pub struct ExtendedResourceRequest {
    /// Container.
    #[serde(deserialize_with = "null_default")]
    pub container_name: Box<str>,
    /// Extended resource.
    #[serde(deserialize_with = "null_default")]
    pub resource_name: Box<str>,
    /// Request of the claim.
    #[serde(deserialize_with = "null_default")]
    pub request_name: Box<str>,
}

/// A condition of a pod or node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// Type.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: Box<str>,
    /// `True`, `False`, `Unknown`.
    #[serde(deserialize_with = "null_default")]
    pub status: Box<str>,
    /// Reason.
    #[serde(deserialize_with = "null_default")]
    pub reason: Box<str>,
    /// Message.
    #[serde(deserialize_with = "null_default")]
    pub message: Box<str>,
    /// When the status last flipped, RFC 3339.
    pub last_transition_time: Option<Box<str>>,
}

/// `v1.ContainerStatus`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Container name.
    #[serde(deserialize_with = "null_default")]
    pub name: Box<str>,
    /// Resources as actuated.
    pub resources: Option<ActuatedResources>,
    /// Resources as allocated.
    pub allocated_resources: Option<ResourceList>,
}

/// `v1.ResourceRequirements` in a status. An absent list does not mean the same as an empty one.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct ActuatedResources {
    /// Requests in effect.
    pub requests: Option<ResourceList>,
}
