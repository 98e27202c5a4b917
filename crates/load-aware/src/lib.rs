//! LoadAware: scores nodes by actual usage, not by requests.
//!
//! The model is Trimaran from the scheduler plugins of Kubernetes SIG Scheduling, with its two strategies: TargetLoadPacking (fills nodes
//! up to a target and no further) and LoadVariationRiskBalancing (prefers nodes whose usage is low and steady). Usage is polled from
//! `metrics.k8s.io` or from Prometheus, outside the scheduling cycle. A measurement that is too old does not count; while there is none at
//! all, the plugin is skipped.
//!
//! Differences from Trimaran: the usage expected of a pod is taken from its requests, since limits are not read; pods that are too young to
//! be included in a measurement are recognised by their start time, whichever scheduler placed them, in both strategies; and measured usage
//! is relative to the allocatable amount in both.
//!
//! State: the arguments. Everything else is in the snapshot, so the same snapshot gives the same scores.

mod args;
mod load;
mod measured;
mod strategy;

pub use args::{LoadAwareArgs, Prometheus, Strategy};
pub use measured::{NodeUse, Samples};

use load::Loads;
use secondmate_framework::{
    Context, CycleState, Declaration, EventRegistration, Handle, NodeInfo, NodeParts, Normalization, Plugin,
    PluginError, Pod, PodParts, Poll, PreScore, Score, Status, serde_json,
};
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "LoadAware";

/// The plugin.
#[derive(Clone, Debug)]
pub struct LoadAware {
    args: LoadAwareArgs,
    loads: Loads,
}

/// Creates the plugin.
///
/// # Errors
/// An argument is unknown or out of range.
pub fn new(args: &serde_json::Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let args = LoadAwareArgs::read(args)
        .map_err(|reason| PluginError::Arguments { plugin: NAME.to_owned(), reason })?;
    let loads = Loads::new(&args, handle.profile.as_str());
    Ok(Arc::new(LoadAware { args, loads }))
}

impl Plugin for LoadAware {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        let parts = NodeParts::NAME | NodeParts::ALLOCATABLE | NodeParts::REQUESTED | NodeParts::PODS;
        Declaration::of(PodParts::REQUESTS, parts).with_objects(&self.loads.kinds())
    }

    fn polls(&self) -> Vec<Poll> {
        self.loads.polls(&self.args)
    }

    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }

    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        // It rejects nothing.
        Vec::new()
    }
}

impl PreScore for LoadAware {
    fn pre_score(&self, cx: &Context<'_>, _: &mut CycleState, _: &Arc<Pod>, _: &[Arc<NodeInfo>]) -> Status {
        // Without any measurement, all nodes would be equal.
        if self.loads.are_known(cx) { Status::SUCCESS } else { Status::skip() }
    }
}

impl Score for LoadAware {
    /// As in Trimaran, a node without a measurement is the least preferred.
    fn score(
        &self,
        cx: &Context<'_>,
        _: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        let load = self.loads.of(cx, &self.args, pod, node);
        Ok(load.map_or(0, |load| self.args.strategy.score(&self.args, &load)))
    }

    fn normalization(&self) -> Normalization {
        Normalization::Identity
    }
}

#[cfg(test)]
mod tests;
