//! The plugin traits, one for each extension point.

use crate::declaration::{Declaration, Reach};
use crate::event::{ActionType, EventRegistration, EventResource, Hint, ObjectChange};
use crate::fact::Fact;
use crate::grouping::{GroupFilter, GroupScore};
use crate::normalization::Normalization;
use crate::poll::Poll;
use crate::reading::Reading;
use crate::rows::{RowFilter, RowScore};
use crate::snapshot::{Identity, Snapshot};
use crate::state::CycleState;
use crate::status::Status;
use crate::trials::KeptTrials;
use crate::verdicts::NodeStatuses;
use secondmate_model::{Atom, NodeInfo, Pod, Timestamp, Uid};
use std::cell::RefMut;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Largest score of a node after normalisation.
pub const MAX_NODE_SCORE: i64 = 100;
/// Smallest score of a node after normalisation.
pub const MIN_NODE_SCORE: i64 = 0;

/// A plugin: a name, and the extension points that it uses.
///
/// Override the accessor of each point that the type implements, with `Some(self)`.
///
/// # Panics
///
/// A panic in a method counts as an error of the current attempt: the event and the log name the plugin, the extension point, the
/// pod and the node, and `secondmate_plugin_panics_total` counts it. Other pods are scheduled as before, and this one is retried
/// after its backoff. In PreEnqueue a panic holds the pod back, in [`Plugin::hint`] it means [`Hint::Queue`], in queue sort the
/// two pods compare as equal, and in Unreserve and PostBind it has no effect. Only a panic in a factory, or in a method that is
/// called at startup ([`Plugin::declaration`], [`Plugin::events`], [`PostFilter::fails_alike`]), ends the process.
///
/// The [`CycleState`] of the attempt is discarded. State that a plugin keeps across pods remains as the panic left it, and the
/// plugin continues to be called, because only its author can tell whether that state is consistent. With a [`std::sync::Mutex`]
/// the author chooses: with `lock().expect(…)`, a panic while the lock is held makes every later call that needs it panic too, so
/// that no pod is placed based on doubtful state until the process is restarted; with `unwrap_or_else(PoisonError::into_inner)`
/// the plugin carries on, which is right if every change under the lock leaves the state consistent at each moment.
#[allow(missing_docs, reason = "each accessor returns the plugin as the extension point of its name")]
pub trait Plugin: Send + Sync + 'static {
    /// Name, unique in the registry; in-tree plugins use upstream's names.
    fn name(&self) -> &str;

    fn as_pre_enqueue(self: Arc<Self>) -> Option<Arc<dyn PreEnqueue>> {
        None
    }
    fn as_queue_sort(self: Arc<Self>) -> Option<Arc<dyn QueueSort>> {
        None
    }
    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        None
    }
    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        None
    }
    fn as_post_filter(self: Arc<Self>) -> Option<Arc<dyn PostFilter>> {
        None
    }
    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        None
    }
    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        None
    }
    fn as_reserve(self: Arc<Self>) -> Option<Arc<dyn Reserve>> {
        None
    }
    fn as_permit(self: Arc<Self>) -> Option<Arc<dyn Permit>> {
        None
    }
    fn as_pre_bind(self: Arc<Self>) -> Option<Arc<dyn PreBind>> {
        None
    }
    fn as_bind(self: Arc<Self>) -> Option<Arc<dyn Bind>> {
        None
    }
    fn as_post_bind(self: Arc<Self>) -> Option<Arc<dyn PostBind>> {
        None
    }

    /// What it reads and writes. By default: anything of pods and nodes, the kinds whose events it registers explicitly, and no
    /// writes. Such a plugin works, but its filter does not run again before a pod is bound.
    fn declaration(&self) -> Declaration {
        let kinds = self.events().iter().filter_map(|event| event.resource.kind()).collect::<Vec<_>>();
        Declaration::unknown().with_objects(&kinds)
    }

    /// Endpoints that are polled for it outside of the cycle. The last answer is available among the objects of the snapshot, as
    /// an object of the polled kind, which must also be listed in [`Plugin::declaration`].
    fn polls(&self) -> Vec<Poll> {
        Vec::new()
    }

    /// How far its score looks for this pod in this snapshot, if that is less far than declared, for example because the pod does
    /// not concern it.
    fn score_reach(&self, _cx: &Context<'_>, _pod: &Arc<Pod>) -> Option<Reach> {
        None
    }

    /// What its filter and its score read for this pod, if they look only at the node and read less than declared, or something
    /// that can be described more narrowly. For example, a pod with its own claim is equivalent to others whose volumes can be
    /// accessed from the same nodes. Called after PreFilter, with the state that it left, and only if the standing evaluation
    /// could serve the pod. `None` means that the declaration applies.
    ///
    /// A reading makes the same promise as [`Reach::Node`], with the key in place of the declared parts of the pod: the same key
    /// gives the same verdicts and raw scores on nodes that have not changed.
    fn reading(&self, _cx: &Context<'_>, _state: &CycleState, _pod: &Arc<Pod>) -> Option<Reading> {
        None
    }

    /// Events that may make a pod schedulable that this plugin rejected. By default, every event.
    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(EventResource::Wildcard, ActionType::ALL)]
    }

    /// Whether an event that matches [`Plugin::events`] is worth another attempt for a pod that this plugin rejected.
    fn hint(&self, _pod: &Pod, _change: &ObjectChange) -> Hint {
        Hint::Queue
    }

    /// Details behind a rejection by this plugin, for people who ask why a pod is not placed: for a node, with the state that its
    /// filter had; or, without a node, for a rejection of the whole pod by its PreFilter. This affects no decision, and the
    /// scheduler itself never calls it.
    fn facts(
        &self,
        _cx: &Context<'_>,
        _state: &CycleState,
        _pod: &Arc<Pod>,
        _node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        Vec::new()
    }
}

/// What a plugin sees of the cluster during a cycle.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Nodes and other objects, frozen.
    pub snapshot: &'a Snapshot,
    /// The time of the cycle, as provided by the shell.
    pub now: Timestamp,
    /// Pods that are nominated to a node.
    pub nominations: &'a dyn Nominations,
}

/// The profile's filter plugins in this cycle, for PostFilter plugins that try out placements.
pub trait RunFilters {
    /// Runs all filters for the pod on the node. If pods of equal or higher priority are nominated to it, runs them with and
    /// without those pods, like upstream's two-pass filter.
    fn run(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status;
    /// Tells all PreFilter plugins that a pod is added to the node in this state.
    fn add_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        added: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status;
    /// Tells all PreFilter plugins that a pod is removed from the node in this state.
    fn remove_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        removed: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status;
    /// Asks the extenders that support preemption which candidates remain, and with which victims. Without such extenders, all
    /// remain.
    ///
    /// # Errors
    /// If an extender that is not ignorable failed.
    fn confirm_preemption(
        &self,
        _cx: &Context<'_>,
        _pod: &Arc<Pod>,
        candidates: Vec<PreemptionCandidate>,
    ) -> Result<Vec<PreemptionCandidate>, Status> {
        Ok(candidates)
    }
    /// The results of dry runs on nodes for equivalent pods in earlier cycles. A result is valid for this pod too as long as the
    /// node has not changed. `None` if the results could not be reused, or if the candidates have to be
    /// [confirmed](RunFilters::confirm_preemption) with their victims.
    fn kept_trials(&self) -> Option<RefMut<'_, KeptTrials>> {
        None
    }
}

/// A node on which the pod would fit if the victims were gone.
#[derive(Clone, Debug, PartialEq)]
pub struct PreemptionCandidate {
    /// The node.
    pub node: Atom,
    /// Pods to evict, from the most to the least important; at least one.
    pub victims: Vec<Arc<Pod>>,
    /// How many of them are protected by a PodDisruptionBudget.
    pub budget_violations: i64,
}

/// Pods that are nominated to nodes and wait for room there.
pub trait Nominations {
    /// Pods nominated to the node, in order of nomination.
    fn on_node(&self, node: &Atom) -> &[Arc<Pod>];
    /// Names of the nodes to which pods are nominated, in no particular order.
    fn nodes(&self) -> Vec<&Atom>;
    /// Whether no pod is nominated to any node.
    fn is_empty(&self) -> bool {
        self.nodes().is_empty()
    }
    /// The node to which a pod is nominated; there is at most one.
    fn node_of(&self, pod: &Uid) -> Option<&Atom> {
        self.nodes().into_iter().find(|node| self.on_node(node).iter().any(|other| other.uid == *pod))
    }
    /// The current position in the log of changes; `None` if changes are not tracked.
    fn cursor(&self) -> Option<NominationsCursor> {
        None
    }
    /// Names of the nodes whose nominated pods have changed since the cursor was taken, in no particular order, possibly with
    /// duplicates. `None` if that is no longer known, or the cursor belongs to other nominations.
    fn changed_since(&self, _cursor: &NominationsCursor) -> Option<Vec<&Atom>> {
        None
    }
}

/// A position in the changes of nominations.
#[derive(Debug, PartialEq, Eq)]
pub struct NominationsCursor {
    /// Whose changes they are.
    pub of: Identity,
    /// Number of changes at that time.
    pub changes: u64,
}

/// Holds a pod back before it enters the active queue.
pub trait PreEnqueue: Plugin {
    /// Success lets the pod into the queue; a rejection gates it until an event occurs that the plugin registered.
    fn pre_enqueue(&self, pod: &Pod) -> Status;
}

/// A pod in the queue, as seen by queue sort.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    /// The pod.
    pub pod: Arc<Pod>,
    /// When it was last put into a queue.
    pub timestamp: Timestamp,
    /// Number of attempts so far.
    pub attempts: u32,
}

/// Orders the active queue. There is exactly one such plugin, the same for all profiles.
pub trait QueueSort: Plugin {
    /// `Less` means that the first goes before the second. Ties are broken by order of arrival.
    fn compare(&self, a: &QueuedPod, b: &QueuedPod) -> Ordering;
}

/// What a PreFilter plugin answers.
#[derive(Clone, Debug, Default)]
pub struct PreFilterOutcome {
    /// Status; `Skip` disables the plugin's filter for this cycle.
    pub status: Status,
    /// The only nodes that need to be considered; `None` means all.
    pub nodes: Option<BTreeSet<Atom>>,
}

impl From<Status> for PreFilterOutcome {
    fn from(status: Status) -> Self {
        Self { status, nodes: None }
    }
}

/// Runs once per cycle, before the filters.
pub trait PreFilter: Plugin {
    /// Computes what the filter needs, or rejects the whole pod. If the state belongs to a cycle that [counts
    /// later](CycleState::counts_later), a plugin with a [filter by group](Filter::by_group) defers work that would look at every
    /// node until its filter is called.
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome;

    /// Another pod is added to the node, in this state only (nominated pods, or reprieve during preemption).
    fn add_pod(
        &self,
        _cx: &Context<'_>,
        _state: &mut CycleState,
        _pod: &Arc<Pod>,
        _added: &Arc<Pod>,
        _node: &NodeInfo,
    ) -> Status {
        Status::SUCCESS
    }

    /// Another pod is removed from the node, in this state only (dry run of preemption).
    fn remove_pod(
        &self,
        _cx: &Context<'_>,
        _state: &mut CycleState,
        _pod: &Arc<Pod>,
        _removed: &Arc<Pod>,
        _node: &NodeInfo,
    ) -> Status {
        Status::SUCCESS
    }
}

/// Runs once per node.
pub trait Filter: Plugin {
    /// Whether the pod may run on the node.
    fn filter(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status;

    /// The filter by group, for plugins whose filter looks further than the node: the combined result of PreFilter and Filter,
    /// computed from counts. `None` is always correct. Called after PreFilter let the pod pass; not used by a profile that does
    /// not run the plugin's PreFilter.
    fn by_group(&self, _cx: &Context<'_>, _pod: &Arc<Pod>) -> Option<Box<dyn GroupFilter>> {
        None
    }

    /// The filter by rows, if the rows contain everything that it reads of a node for this pod and it cannot fail. `None` is
    /// always correct. Called after PreFilter, with the state that it left.
    fn by_row<'a>(&'a self, _state: &'a CycleState, _pod: &'a Arc<Pod>) -> Option<Box<dyn RowFilter + 'a>> {
        None
    }
}

/// What happens to the pod's nomination after a failed cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    /// Leave it.
    Keep,
    /// Remove it.
    Clear,
    /// Nominate the pod to this node.
    Node(Atom),
}

/// What a PostFilter plugin answers.
#[derive(Clone, Debug)]
pub struct PostFilterOutcome {
    /// Success: the pod may become schedulable through what this outcome requests. Otherwise the reasons are part of the pod's
    /// message.
    pub status: Status,
    /// The plugin that succeeded; filled in by the framework.
    pub plugin: Option<Atom>,
    /// On success, what was found; this then becomes the last part of the pod's message.
    pub found: String,
    /// The pod's nomination; `None` if the plugin does not decide about it.
    pub nomination: Option<Nomination>,
    /// Pods to evict, from the most to the least important.
    pub victims: Vec<Arc<Pod>>,
    /// How many of the victims are protected by a PodDisruptionBudget, which is overridden.
    pub budget_violations: usize,
    /// Nominated pods of lower priority on the node, whose nominations are removed.
    pub nominations_to_clear: Vec<Arc<Pod>>,
}

impl From<Status> for PostFilterOutcome {
    fn from(status: Status) -> Self {
        Self {
            status,
            plugin: None,
            found: String::new(),
            nomination: None,
            victims: Vec::new(),
            budget_violations: 0,
            nominations_to_clear: Vec::new(),
        }
    }
}

impl PostFilterOutcome {
    /// The plugin's part of the pod's message.
    #[must_use]
    pub fn message(&self) -> String {
        if self.status.is_success() { self.found.clone() } else { self.status.message() }
    }
}

/// Runs if no node passed the filters.
pub trait PostFilter: Plugin {
    /// Tries to make the pod schedulable; `filters` tells whether it would fit. The victims are evicted by the core, not by the
    /// plugin.
    fn post_filter(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        statuses: &NodeStatuses,
        filters: &dyn RunFilters,
    ) -> PostFilterOutcome;

    /// Whether a negative answer depends only on the context, on the pod's parts ([`PodParts::ALL`](crate::PodParts::ALL)), and
    /// on whether the pod preempts at all. If so, the answer is reused for other pods that are equivalent in these respects, as
    /// long as nothing changes. Called once, at startup.
    fn fails_alike(&self) -> bool {
        false
    }
}

/// Runs once per cycle, before scoring.
pub trait PreScore: Plugin {
    /// Computes what the score needs. `Skip` disables the plugin's score for this cycle.
    fn pre_score(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
    ) -> Status;
}

/// Runs once per feasible node.
pub trait Score: Plugin {
    /// Raw score of the node.
    ///
    /// # Errors
    /// A status that fails the whole attempt.
    fn score(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status>;

    /// Brings the raw scores into the range from [`MIN_NODE_SCORE`] to [`MAX_NODE_SCORE`]; `scores[i]` belongs to `feasible[i]`.
    /// The default applies [`Score::normalization`]. If you override this, leave that at [`Normalization::Own`].
    fn normalize(
        &self,
        _cx: &Context<'_>,
        _state: &CycleState,
        _pod: &Arc<Pod>,
        _feasible: &[Arc<NodeInfo>],
        scores: &mut [i64],
    ) -> Status {
        self.normalization().apply(scores);
        Status::SUCCESS
    }

    /// The score by group, for plugins whose score looks further than the node: the combined result of PreScore, Score and
    /// normalisation, computed from counts. `None` is always correct.
    fn by_group(&self, _cx: &Context<'_>, _pod: &Arc<Pod>) -> Option<Box<dyn GroupScore>> {
        None
    }

    /// The score by rows, if the rows contain everything that it reads of a node for this pod and it cannot fail. `None` is
    /// always correct. Called after PreScore, with the state that it left.
    fn by_row<'a>(&'a self, _state: &'a CycleState, _pod: &'a Arc<Pod>) -> Option<Box<dyn RowScore + 'a>> {
        None
    }

    /// How [`Score::normalize`] works, if it is one of the usual ways.
    fn normalization(&self) -> Normalization {
        Normalization::Own
    }
}

/// Updates a plugin's own state when a node is chosen, and reverts it if the attempt fails later.
pub trait Reserve: Plugin {
    /// The pod is going to be placed on this node.
    fn reserve(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) -> Status;
    /// The reservation is reverted. Must be safe to call more than once, and without a preceding reserve.
    fn unreserve(&self, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom);
}

/// Delays or prevents the binding of a pod.
pub trait Permit: Plugin {
    /// Success, a rejection, or `Wait` with a time-out (at most 15 minutes) after which the pod is rejected.
    fn permit(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        node: &Atom,
    ) -> (Status, Duration);
}

/// How a write is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    /// POST.
    Create,
    /// PUT; the body carries the resource version.
    Replace,
    /// PATCH, JSON merge patch.
    MergePatch,
    /// PATCH, strategic merge patch.
    StrategicMergePatch,
    /// DELETE; the body holds the options.
    Delete,
}

/// A write to the API server that a plugin requests.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiWrite {
    /// Verb.
    pub verb: WriteVerb,
    /// Path such as `/api/v1/persistentvolumes/pv-1`.
    pub path: String,
    /// Body.
    pub body: serde_json::Value,
}

/// The next step of a plugin's PreBind.
#[derive(Clone, Debug)]
pub enum PreBindStep {
    /// Nothing (more) to do.
    Done,
    /// Send these writes in order; the plugin is called again when all have succeeded. A failure fails the binding.
    Write(Vec<ApiWrite>),
    /// The plugin is called again when an object changes that its [`Plugin::events`] match. It is also called again at the
    /// deadline, when waiting any longer is an error.
    Wait {
        /// End of the wait.
        deadline: Timestamp,
    },
    /// The binding fails.
    Fail(Status),
}

/// Work that must be done before the pod is bound, such as binding its volumes.
///
/// This is a state machine driven by the core: each call does what can be done without waiting and returns the next step, so that
/// a replay of the same inputs takes the same steps.
pub trait PreBind: Plugin {
    /// Whether there is anything to do for this pod; if no plugin has anything to do, no nomination is published.
    fn pre_flight(&self, state: &CycleState, pod: &Arc<Pod>, node: &Atom) -> bool;
    /// The next step.
    fn pre_bind(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) -> PreBindStep;
}

/// What a Bind plugin answers.
#[derive(Clone, Debug)]
pub enum BindStep {
    /// Does not handle this pod: ask the next Bind plugin.
    Skip,
    /// POST a Binding for the pod's UID.
    Binding {
        /// Annotations to be merged into the pod.
        annotations: std::collections::BTreeMap<String, String>,
    },
    /// Bind through another write.
    Write(ApiWrite),
    /// The binding fails.
    Fail(Status),
}

/// Binds the pod.
pub trait Bind: Plugin {
    /// How to bind.
    fn bind(&self, state: &CycleState, pod: &Arc<Pod>, node: &Atom) -> BindStep;
}

/// Notified when a pod was bound.
pub trait PostBind: Plugin {
    /// Informational only.
    fn post_bind(&self, state: &CycleState, pod: &Arc<Pod>, node: &Atom);
}

/// Nothing is nominated.
impl Nominations for () {
    fn on_node(&self, _node: &Atom) -> &[Arc<Pod>] {
        &[]
    }

    fn nodes(&self) -> Vec<&Atom> {
        Vec::new()
    }
}
