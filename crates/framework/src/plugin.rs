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

/// A plugin: a name, and the extension points at which it acts.
///
/// Override the accessor of each point that the type implements, with `Some(self)`.
///
/// # Panics
///
/// A panic in a method fails the attempt in which it happens, as an error: the event and the log name the plugin, the extension point,
/// the pod and the node, and `secondmate_plugin_panics_total` counts it. Other pods are scheduled as before, and this one is tried
/// again after its backoff. At PreEnqueue a panic holds the pod back, in [`Plugin::hint`] it is [`Hint::Queue`], in the queue's order
/// the two pods are alike, and at Unreserve and PostBind it changes nothing. Only a factory that panics, or a method that is asked at
/// the start ([`Plugin::declaration`], [`Plugin::events`]), ends the process.
///
/// The [`CycleState`] of the attempt is thrown away. What a plugin keeps from one pod to the next stays as the panic left it, and the
/// plugin is asked again: nobody else can tell whether that state is whole. Behind a [`std::sync::Mutex`] the author chooses. With
/// `lock().expect(…)` a lock that was held during the panic makes every later call that needs it panic, so that no pod is placed by
/// state in doubt, until the process is restarted; with `unwrap_or_else(PoisonError::into_inner)` the plugin goes on, which is right
/// where each change under the lock is whole at any moment.
#[allow(missing_docs, reason = "each accessor returns the plugin as the extension point of its name")]
pub trait Plugin: Send + Sync + 'static {
    /// Name, unique in the registry; in-tree plugins have upstream's.
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

    /// What it reads and writes. By default anything of pods and nodes, the kinds whose events it registers by name, and nothing is
    /// written: such a plugin works, but its filter is not asked again before a pod is bound.
    fn declaration(&self) -> Declaration {
        let kinds = self.events().iter().filter_map(|event| event.resource.kind()).collect::<Vec<_>>();
        Declaration::unknown().with_objects(&kinds)
    }

    /// Endpoints that are asked for it outside of the cycle, again and again. What they answered last stands among the objects of the
    /// snapshot, as an object of the polled kind, which [`Plugin::declaration`] names too.
    fn polls(&self) -> Vec<Poll> {
        Vec::new()
    }

    /// How far its score looks for this pod in this snapshot, where that is less far than it declares: it has nothing to say about
    /// the pod, say.
    fn score_reach(&self, _cx: &Context<'_>, _pod: &Arc<Pod>) -> Option<Reach> {
        None
    }

    /// What its filter and its score read for this pod, where they look no further than the node and that is less than the declaration says, or
    /// can be told more narrowly: a pod with a claim of its own, say, is like others whose volumes can be reached from the same nodes. Asked
    /// after PreFilter, with the state that it left, and only where the standing evaluation could serve the pod. `None` leaves it at the
    /// declaration.
    ///
    /// A reading promises what [`Reach::Node`] does, of the key in place of the declared parts of the pod: the same key, the same verdicts and
    /// raw scores on nodes that have not changed.
    fn reading(&self, _cx: &Context<'_>, _state: &CycleState, _pod: &Arc<Pod>) -> Option<Reading> {
        None
    }

    /// Events that may make a pod schedulable that this plugin rejected. By default every event.
    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(EventResource::Wildcard, ActionType::ALL)]
    }

    /// Whether an event that [`Plugin::events`] names is worth another attempt for a pod that this plugin rejected.
    fn hint(&self, _pod: &Pod, _change: &ObjectChange) -> Hint {
        Hint::Queue
    }

    /// What lies behind a rejection by this plugin, for people who ask why a pod is not placed: of the node, with the state that its
    /// filter had, or (without a node) of the pod as a whole by its PreFilter. It decides nothing, and the scheduler never asks.
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

/// What a plugin sees of the world in a cycle.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Nodes and other objects, frozen.
    pub snapshot: &'a Snapshot,
    /// The time of the cycle, as the shell gave it.
    pub now: Timestamp,
    /// Pods that are nominated to a node.
    pub nominations: &'a dyn Nominations,
}

/// The profile's filter plugins in this cycle, for a PostFilter plugin that tries placements out.
pub trait RunFilters {
    /// Runs all filters for the pod on the node; where pods of equal or higher priority are nominated to it, once with and once
    /// without them, as upstream's two-pass filter.
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
    /// Asks the extenders that take part in preemption which candidates stand, with which victims. Without such extenders
    /// all do.
    ///
    /// # Errors
    /// An extender that may not be ignored failed.
    fn confirm_preemption(
        &self,
        _cx: &Context<'_>,
        _pod: &Arc<Pod>,
        candidates: Vec<PreemptionCandidate>,
    ) -> Result<Vec<PreemptionCandidate>, Status> {
        Ok(candidates)
    }
    /// What came of trying out nodes for pods like this one in earlier cycles: it holds for this pod as well, as long as a node is as it was. `None`
    /// where it would not, or where the candidates have to be [confirmed](RunFilters::confirm_preemption) with their victims.
    fn kept_trials(&self) -> Option<RefMut<'_, KeptTrials>> {
        None
    }
}

/// A node on which the pod would fit, were the victims gone.
#[derive(Clone, Debug, PartialEq)]
pub struct PreemptionCandidate {
    /// The node.
    pub node: Atom,
    /// Pods that have to go, from the most to the least important; at least one.
    pub victims: Vec<Arc<Pod>>,
    /// How many of them a PodDisruptionBudget protects.
    pub budget_violations: i64,
}

/// Pods that wait for room that was promised to them.
pub trait Nominations {
    /// Pods nominated to the node, in the order in which they were nominated.
    fn on_node(&self, node: &Atom) -> &[Arc<Pod>];
    /// Names of the nodes to which pods are nominated, in no order.
    fn nodes(&self) -> Vec<&Atom>;
    /// Whether no pod is nominated to any node.
    fn is_empty(&self) -> bool {
        self.nodes().is_empty()
    }
    /// The node to which a pod is nominated: no more than one.
    fn node_of(&self, pod: &Uid) -> Option<&Atom> {
        self.nodes().into_iter().find(|node| self.on_node(node).iter().any(|other| other.uid == *pod))
    }
    /// Where their changes stand now; `None` where nobody follows these.
    fn cursor(&self) -> Option<NominationsCursor> {
        None
    }
    /// Names of the nodes whose nominated pods have changed since the cursor was taken, in no order, some of them several times. `None` where
    /// that is not known any more, or the cursor is that of other nominations.
    fn changed_since(&self, _cursor: &NominationsCursor) -> Option<Vec<&Atom>> {
        None
    }
}

/// How far somebody has followed the changes of nominations.
#[derive(Debug, PartialEq, Eq)]
pub struct NominationsCursor {
    /// Whose changes they are.
    pub of: Identity,
    /// How many there were.
    pub changes: u64,
}

/// Holds a pod back before it enters the active queue.
pub trait PreEnqueue: Plugin {
    /// Success lets the pod into the queue; a rejection gates it until an event that the plugin registered.
    fn pre_enqueue(&self, pod: &Pod) -> Status;
}

/// A pod in the queue, as the queue's order sees it.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    /// The pod.
    pub pod: Arc<Pod>,
    /// When it was last put into a queue.
    pub timestamp: Timestamp,
    /// Number of attempts so far.
    pub attempts: u32,
}

/// Orders the active queue. Exactly one plugin does, the same for all profiles.
pub trait QueueSort: Plugin {
    /// `Less`: the first goes before the second. Ties are settled by the order of arrival.
    fn compare(&self, a: &QueuedPod, b: &QueuedPod) -> Ordering;
}

/// What a PreFilter plugin answers.
#[derive(Clone, Debug, Default)]
pub struct PreFilterOutcome {
    /// Status; `Skip` turns the plugin's filter off for this cycle.
    pub status: Status,
    /// The only nodes worth looking at; `None` means all.
    pub nodes: Option<BTreeSet<Atom>>,
}

impl From<Status> for PreFilterOutcome {
    fn from(status: Status) -> Self {
        Self { status, nodes: None }
    }
}

/// Once per cycle, before the filters.
pub trait PreFilter: Plugin {
    /// Computes what the filter needs, or rejects the pod as a whole. Where the state is that of a cycle that
    /// [counts later](CycleState::counts_later), a plugin with a [filter by group](Filter::by_group) leaves what takes a look at every
    /// node until its filter is asked.
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome;

    /// Another pod is added to the node in this state only (nominated pods, preemption's reprieve).
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

    /// Another pod is removed from the node in this state only (preemption's dry run).
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

/// Once per node.
pub trait Filter: Plugin {
    /// Whether the pod may run on the node.
    fn filter(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status;

    /// The filter by group, for plugins whose filter looks further than the node: what comes of PreFilter and Filter, worked out from
    /// counts. `None` is always right. Asked after PreFilter, which let the pod pass; a profile that does not run the plugin's PreFilter
    /// makes no use of it.
    fn by_group(&self, _cx: &Context<'_>, _pod: &Arc<Pod>) -> Option<Box<dyn GroupFilter>> {
        None
    }

    /// The filter by rows, where all that it reads of a node for this pod is there and it cannot fail. `None` is always right. Asked after
    /// PreFilter, with the state that it left.
    fn by_row<'a>(&'a self, _state: &'a CycleState, _pod: &'a Arc<Pod>) -> Option<Box<dyn RowFilter + 'a>> {
        None
    }
}

/// What a failed cycle makes of the pod's nomination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    /// Leave it.
    Keep,
    /// Take it back.
    Clear,
    /// Promise this node.
    Node(Atom),
}

/// What a PostFilter plugin answers.
#[derive(Clone, Debug)]
pub struct PostFilterOutcome {
    /// Success: the pod may become schedulable by what follows. Otherwise the reasons are part of the pod's message.
    pub status: Status,
    /// The plugin that succeeded; filled in by the framework.
    pub plugin: Option<Atom>,
    /// Where it succeeded, what it found: then this is the last part of the pod's message.
    pub found: String,
    /// The pod's nomination; `None` where the plugin has no say in it.
    pub nomination: Option<Nomination>,
    /// Pods that have to go, from the most to the least important.
    pub victims: Vec<Arc<Pod>>,
    /// How many of the victims a PodDisruptionBudget protects, which is overridden.
    pub budget_violations: usize,
    /// Nominated pods of lower priority on the node, whose nomination is taken back.
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

/// Runs where no node passed the filters.
pub trait PostFilter: Plugin {
    /// Tries to make the pod schedulable; `filters` says whether it would fit. The eviction of the victims is the core's to order.
    fn post_filter(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        statuses: &NodeStatuses,
        filters: &dyn RunFilters,
    ) -> PostFilterOutcome;

    /// Whether what it answers where it finds nothing follows from the context, from the pod's parts
    /// ([`PodParts::ALL`](crate::PodParts::ALL)) and from whether the pod preempts at all: then the answer counts for others that are alike in
    /// these, while nothing changes.
    fn fails_alike(&self) -> bool {
        false
    }
}

/// Once per cycle, before scoring.
pub trait PreScore: Plugin {
    /// Computes what the score needs. `Skip` turns the plugin's score off for this cycle.
    fn pre_score(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        feasible: &[Arc<NodeInfo>],
    ) -> Status;
}

/// Once per feasible node.
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

    /// Brings the raw scores into the range from [`MIN_NODE_SCORE`] to [`MAX_NODE_SCORE`]; `scores[i]` is that of `feasible[i]`.
    /// By default as [`Score::normalization`] says. Who overrides this leaves that at [`Normalization::Own`].
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

    /// The score by group, for plugins whose score looks further than the node: what comes of PreScore, Score and normalisation, worked
    /// out from counts. `None` is always right.
    fn by_group(&self, _cx: &Context<'_>, _pod: &Arc<Pod>) -> Option<Box<dyn GroupScore>> {
        None
    }

    /// The score by rows, where all that it reads of a node for this pod is there and it cannot fail. `None` is always right. Asked after
    /// PreScore, with the state that it left.
    fn by_row<'a>(&'a self, _state: &'a CycleState, _pod: &'a Arc<Pod>) -> Option<Box<dyn RowScore + 'a>> {
        None
    }

    /// How [`Score::normalize`] works, where it is one of the usual ways.
    fn normalization(&self) -> Normalization {
        Normalization::Own
    }
}

/// Keeps a plugin's own books when a node is chosen, and undoes it when the attempt fails later.
pub trait Reserve: Plugin {
    /// The pod is going to this node.
    fn reserve(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) -> Status;
    /// It is not, after all. Must be safe to call more than once, and without a reserve before.
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

/// A write to the API server that a plugin wants done.
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
    /// Send these writes in order; asked again when all have succeeded. A failure fails the binding.
    Write(Vec<ApiWrite>),
    /// Asked again when one of the objects that the plugin's [`Plugin::events`] name changes, and when the time has come,
    /// which is an error then.
    Wait {
        /// End of the wait.
        deadline: Timestamp,
    },
    /// The binding fails.
    Fail(Status),
}

/// Work that has to be done before the pod is bound, such as binding its volumes.
///
/// It is a machine that the core drives: each call does what can be done without waiting and says what comes next, so that
/// a replay of the same inputs takes the same steps.
pub trait PreBind: Plugin {
    /// Whether there is anything to do for this pod; where nothing is, no nomination is published.
    fn pre_flight(&self, state: &CycleState, pod: &Arc<Pod>, node: &Atom) -> bool;
    /// The next step.
    fn pre_bind(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>, node: &Atom) -> PreBindStep;
}

/// What a Bind plugin answers.
#[derive(Clone, Debug)]
pub enum BindStep {
    /// Not this pod: ask the next Bind plugin.
    Skip,
    /// POST a Binding for the pod's UID.
    Binding {
        /// Annotations to be merged into the pod.
        annotations: std::collections::BTreeMap<String, String>,
    },
    /// Bind by another write.
    Write(ApiWrite),
    /// The binding fails.
    Fail(Status),
}

/// Binds the pod.
pub trait Bind: Plugin {
    /// How to bind.
    fn bind(&self, state: &CycleState, pod: &Arc<Pod>, node: &Atom) -> BindStep;
}

/// Told when a pod was bound.
pub trait PostBind: Plugin {
    /// For information only.
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
