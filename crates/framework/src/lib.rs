//! The extension points, and what plugins read: all that a plugin author needs.
//!
//! A plugin implements [`Plugin`] and the trait of each extension point that it uses; `Plugin` hands those out as trait objects.
//! The points, their order, the status codes and the rules for combining them are upstream's.
//!
//! Everything here is synchronous and free of clocks, clients and random numbers: a plugin sees the frozen [`Snapshot`] of its
//! cycle through [`Context`], keeps its intermediate results in the [`CycleState`], and answers with a [`Status`]. Writes to the
//! API server are returned as data ([`BindStep`], [`PreBindStep`]) and done by the shell.

mod affinity_terms;
mod claims_in_use;
mod declaration;
mod event;
mod extender;
mod fact;
mod fit_error;
mod grouping;
mod normalization;
mod plugin;
mod point;
mod poll;
mod reading;
mod registry;
mod rows;
mod snapshot;
mod state;
mod status;
mod trials;
mod verdicts;

/// What plugins read: pods, nodes and the other objects, compiled. The types that nearly every plugin names are also re-exported
/// here.
pub use secondmate_model as model;
pub use secondmate_model::objects::{ApiResource, ObjectKind, ObjectName, OwnKind, OwnObject, PluginObject};
pub use secondmate_model::{
    Atom, Effect, LabelSelector, Labels, Node, NodeInfo, Pod, Resources, Taint, Timestamp, Toleration, Uid,
};
/// Plugin arguments and the bodies of writes are JSON.
pub use serde_json;

pub use affinity_terms::{ExistingTerm, TermList};
pub use declaration::{Declaration, NodeParts, PodParts, Reach, Right};
pub use event::{
    ActionType, ClusterEvent, EventObject, EventRegistration, EventResource, Hint, ObjectChange,
};
pub use extender::{
    AwaitScores, CallExtender, EXTENDER_NAME, Extender, ExtenderError, ExtenderVerbs, ExtenderVerdict,
    ExtenderVictims, Extenders, MAX_EXTENDER_PRIORITY, PassedNodes,
};
pub use fact::Fact;
pub use fit_error::fit_error_message;
pub use grouping::{
    Alike, COORDINATES_MAX, Coordinate, Coordinates, DomainTotals, GroupFilter, GroupScore, NodeGroup, Place,
    hash_of,
};
pub use normalization::Normalization;
pub use plugin::{
    ApiWrite, Bind, BindStep, Context, Filter, MAX_NODE_SCORE, MIN_NODE_SCORE, Nomination, Nominations,
    NominationsCursor, Permit, Plugin, PostBind, PostFilter, PostFilterOutcome, PreBind, PreBindStep,
    PreEnqueue, PreFilter, PreFilterOutcome, PreScore, PreemptionCandidate, QueueSort, QueuedPod, Reserve,
    RunFilters, Score, WriteVerb,
};
pub use point::{ExtensionPoint, PerPoint};
pub use poll::{Endpoint, LeftOut, POLL_EVERY_MIN, Poll, PollFunction};
pub use reading::Reading;
pub use registry::{
    AnyFactory, COMMANDS_MAX, EVENTS_MAX, Factory, Handle, Parity, PluginError, PluginEvent, Registry,
    WaitingPodCommand,
};
pub use rows::{AmountColumns, CpuAndMemory, NodeRow, NodeRows, NodeTable, RowFilter, RowScore};
pub use snapshot::{CHANGES_MAX, Cursor, Identity, NodeIndex, Snapshot};
pub use state::{CycleState, State};
pub use status::{Code, Reason, Status};
pub use trials::{KeptTrials, Trial, TrialCounts, TrialMarks, TrialTerms};
pub use verdicts::{KeptVerdicts, NodeStatuses};
