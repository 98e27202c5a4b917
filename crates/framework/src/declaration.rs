//! What a plugin reads and writes, as declared by the plugin itself. It determines the watches, the permissions that are checked
//! at startup, the contents of a dump, and which filters run again before a pod is bound.

use secondmate_model::objects::ObjectKind;
use std::ops::BitOr;

/// How far a plugin looks when it evaluates a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Only at the node itself: its object, the pods on it, the total number of nodes, and objects of the declared kinds. The
    /// result depends neither on other nodes, nor on time, nor on undeclared parts of the pod (its name and UID are never
    /// declared): a verdict or a raw score is the same for all pods with equal declared parts, until the node or such an object
    /// changes. Its PreScore does not look at the feasible nodes.
    Node,
    /// Also at the nodes that share a topology domain with it.
    Domain,
    /// At any node.
    Cluster,
}

/// A set of parts of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeParts(u16);

#[allow(missing_docs, reason = "each is the part of its name")]
impl NodeParts {
    pub const NONE: Self = Self(0);
    pub const NAME: Self = Self(1);
    pub const LABELS: Self = Self(1 << 1);
    /// Taints, and whether it is unschedulable.
    pub const TAINTS: Self = Self(1 << 2);
    pub const ALLOCATABLE: Self = Self(1 << 3);
    pub const IMAGES: Self = Self(1 << 4);
    pub const DECLARED_FEATURES: Self = Self(1 << 5);
    pub const ANNOTATIONS: Self = Self(1 << 6);
    /// Number of pods on it, and the sums of what they request.
    pub const REQUESTED: Self = Self(1 << 7);
    /// Host ports that its pods use.
    pub const HOST_PORTS: Self = Self(1 << 8);
    /// Volumes and claims that its pods use.
    pub const VOLUMES: Self = Self(1 << 9);
    /// Namespaces, labels and affinity terms of its pods.
    pub const PODS: Self = Self(1 << 10);
    pub const ALL: Self = Self((1 << 11) - 1);

    /// The parts of a node that change when another pod is placed on it.
    pub const CHANGED_BY_PODS: Self =
        Self(Self::REQUESTED.0 | Self::HOST_PORTS.0 | Self::VOLUMES.0 | Self::PODS.0);

    /// Whether the sets have a part in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for NodeParts {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A set of parts of the pod that is being scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodParts(u16);

#[allow(missing_docs, reason = "each is the part of its name")]
impl PodParts {
    pub const NONE: Self = Self(0);
    pub const NODE_NAME: Self = Self(1);
    /// Namespace and labels.
    pub const LABELS: Self = Self(1 << 1);
    pub const TOLERATIONS: Self = Self(1 << 2);
    /// Node selector and node affinity.
    pub const NODE_AFFINITY: Self = Self(1 << 3);
    pub const POD_AFFINITY: Self = Self(1 << 4);
    pub const TOPOLOGY_SPREAD: Self = Self(1 << 5);
    pub const REQUESTS: Self = Self(1 << 6);
    pub const HOST_PORTS: Self = Self(1 << 7);
    pub const VOLUMES: Self = Self(1 << 8);
    pub const IMAGES: Self = Self(1 << 9);
    pub const REQUIRED_FEATURES: Self = Self(1 << 10);
    pub const PRIORITY: Self = Self(1 << 11);
    pub const SCHEDULING_GATES: Self = Self(1 << 12);
    pub const RESOURCE_CLAIMS: Self = Self(1 << 13);
    /// The controller that owns it.
    pub const OWNER: Self = Self(1 << 14);
    pub const ALL: Self = Self((1 << 15) - 1);

    /// Whether the sets have a part in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl PodParts {
    /// Whether the set has all of these parts.
    #[must_use]
    pub const fn contains(self, parts: Self) -> bool {
        self.0 & parts.0 == parts.0
    }
}

impl std::hash::Hash for PodParts {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u16(self.0);
    }
}

impl BitOr for PodParts {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A permission that a plugin needs beyond reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Verb, such as `patch`.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, such as `persistentvolumes`.
    pub resource: &'static str,
}

/// What a plugin reads and writes. See [`Plugin::declaration`](crate::Plugin::declaration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Kinds of objects that it reads besides pods and nodes: they are watched and included in every dump. Any kind may be read
    /// ([`ObjectKind::own`]); the kinds that it [polls](crate::Plugin::polls) must be listed here too.
    pub objects: Vec<ObjectKind>,
    /// What it reads of the pod being scheduled, including in hints. Among pods for which these parts are equal, the plugin is
    /// asked about one, and its answer is used for the others. [`PodParts::ALL`] means everything, including names, so the plugin
    /// is asked about each pod.
    pub pod: PodParts,
    /// What it reads of a node.
    pub node: NodeParts,
    /// How far its filter looks, including PreFilter. A filter that looks only at the node, and reads parts of it that other pods
    /// change, runs once more just before the pod is bound there, against the newest state of the node.
    pub filter: Reach,
    /// How far its score looks, including PreScore; for an individual pod it may look less far, see
    /// [`Plugin::score_reach`](crate::Plugin::score_reach). What normalisation depends on is given by
    /// [`Score::normalization`](crate::Score::normalization).
    pub score: Reach,
    /// Whether the rule must hold when a pod is bound, and not just when its node is chosen: because the kubelet checks the same
    /// thing against the node's object when it admits a pod, or because the pod must not be there whatever the kubelet says. Such a
    /// filter runs once more before a pod is bound to a node whose object has changed since the node was chosen. (A filter that
    /// [guards the node](Declaration::guards_the_node) runs again in any case.)
    pub judged_at_admission: bool,
    /// Permissions that its writes need.
    pub writes: Vec<Right>,
    /// Whether it reads complete pods and nodes ([`PodContent::json`](secondmate_model::PodContent::json),
    /// [`Node::json`](secondmate_model::Node::json)), in which case their JSON is kept in memory.
    pub whole_objects: bool,
}

impl Declaration {
    /// The declaration of a plugin that reads these parts and looks only at the node that it evaluates.
    #[must_use]
    pub fn of(pod: PodParts, node: NodeParts) -> Self {
        Self {
            objects: Vec::new(),
            pod,
            node,
            filter: Reach::Node,
            score: Reach::Node,
            judged_at_admission: false,
            writes: Vec::new(),
            whole_objects: false,
        }
    }

    /// The declaration of a plugin that declares nothing: it may read anything of every pod and node.
    #[must_use]
    pub fn unknown() -> Self {
        Self::of(PodParts::ALL, NodeParts::ALL).reaching(Reach::Cluster)
    }

    /// Whether two pods can be equivalent for it. Never true if it reads everything of them, including names.
    #[must_use]
    pub fn tells_what_it_reads(&self) -> bool {
        self.pod != PodParts::ALL && !self.whole_objects
    }

    /// Sets how far its filter and its score look.
    #[must_use]
    pub fn reaching(mut self, reach: Reach) -> Self {
        (self.filter, self.score) = (reach, reach);
        self
    }

    /// Marks the filter as one whose rule must still hold when a pod is bound, as those do that the kubelet repeats when it admits
    /// a pod.
    #[must_use]
    pub fn judged_at_admission(mut self) -> Self {
        self.judged_at_admission = true;
        self
    }

    /// Adds kinds of objects that it reads.
    #[must_use]
    pub fn with_objects(mut self, objects: &[ObjectKind]) -> Self {
        self.objects.extend_from_slice(objects);
        self
    }

    /// Adds permissions that its writes need.
    #[must_use]
    pub fn with_writes(mut self, writes: &[Right]) -> Self {
        self.writes.extend_from_slice(writes);
        self
    }

    /// Declares that it reads complete pods and nodes.
    #[must_use]
    pub fn with_whole_objects(mut self) -> Self {
        self.whole_objects = true;
        self
    }

    /// Whether it may evict pods.
    #[must_use]
    pub fn evicts_pods(&self) -> bool {
        self.writes.iter().any(|right| (right.verb, right.group, right.resource) == ("delete", "", "pods"))
    }

    /// Whether the arrival of another pod on a node can make the filter reject that node, and nothing outside the node can.
    #[must_use]
    pub fn guards_the_node(&self) -> bool {
        self.filter == Reach::Node && self.node.intersects(NodeParts::CHANGED_BY_PODS)
    }
}
