//! The filters of a profile, as they run in one cycle: on a node as it is, and beside the pods that are nominated to it.

use crate::panics::{points, run};
use crate::probe::{Laps, Point, TIMED_NODES};
use crate::profile::{PluginRef, Profile};
use secondmate_framework::{
    Code, Context, CycleState, Filter, KeptTrials, PreFilter, PreemptionCandidate, RunFilters, Status,
};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::cell::{Cell, RefCell, RefMut};
use std::sync::Arc;

/// The profile's filters in one cycle: those that PreFilter left enabled.
pub struct FilterRunner<'a> {
    profile: &'a Profile,
    filters: Vec<RunningFilter<'a>>,
    hooks: Vec<(&'a PluginRef, &'a dyn PreFilter)>,
    /// Number of runs that passed all filters.
    passed: Cell<u64>,
    /// Number of runs whose calls are still to be timed individually, if the cycle is timed.
    to_time: Cell<u32>,
    /// Known trials for pods equivalent to the one of this cycle, while plugins may ask for them.
    trials: RefCell<Option<KeptTrials>>,
}

struct RunningFilter<'a> {
    plugin: &'a PluginRef,
    filter: &'a dyn Filter,
    /// Number of runs that ended here with a rejection. Together with those that passed, it tells how often each filter was
    /// called, at the cost of one addition per run.
    ended: Cell<u64>,
}

impl RunningFilter<'_> {
    #[inline]
    fn ask(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let ask = || self.filter.filter(cx, state, pod, node);
        run(&self.plugin.name, Point::Filter.name(), Some(node.name()), ask)
    }

    /// Ends the run here and returns the status to report.
    fn end(&self, status: Status) -> Status {
        self.ended.set(self.ended.get() + 1);
        let name = &self.plugin.name;
        if status.is_rejected() {
            return status.by(name);
        }
        Status::error(format!("running {:?} filter plugin: {}", name.as_str(), status.message())).by(name)
    }
}

impl<'a> FilterRunner<'a> {
    /// The filters of the profile, except those that PreFilter disabled.
    #[must_use]
    pub fn new(profile: &'a Profile, state: &CycleState) -> Self {
        // The size is known up front: this is created for each pod.
        let mut filters = Vec::with_capacity(profile.filter.len());
        let running = profile.filter.iter().filter(|p| !state.skips_filter(&p.name));
        filters.extend(running.map(|plugin| RunningFilter {
            plugin,
            filter: &*plugin.point,
            ended: Cell::new(0),
        }));
        let mut hooks = Vec::with_capacity(profile.pre_filter.len());
        let hooked = profile.pre_filter.iter().filter(|p| !state.skips_filter(&p.name));
        hooks.extend(hooked.map(|p| -> (&PluginRef, &dyn PreFilter) { (p, &*p.point) }));
        Self {
            profile,
            passed: Cell::new(0),
            to_time: Cell::new(TIMED_NODES),
            filters,
            hooks,
            trials: RefCell::new(None),
        }
    }

    /// From here on plugins may ask for these trials.
    pub(crate) fn lend_trials(&self, trials: Option<KeptTrials>) {
        *self.trials.borrow_mut() = trials;
    }

    /// Takes back the lent trials, including any that were added.
    pub(crate) fn take_trials(&self) -> Option<KeptTrials> {
        self.trials.borrow_mut().take()
    }

    /// The node and the state with the pods that are nominated to it and count for the pod, if there are any.
    ///
    /// # Errors
    /// The status of a plugin that failed to add one.
    pub(super) fn with_nominated(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<Option<(NodeInfo, CycleState)>, Status> {
        self.with_nominated_but_for(cx, state, pod, node, &[])
    }

    /// Like [`Self::with_nominated`], but without notifying the plugins with these numbers.
    fn with_nominated_but_for(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
        without: &[usize],
    ) -> Result<Option<(NodeInfo, CycleState)>, Status> {
        let mut counting = nominated_with(cx, pod, node.name()).peekable();
        if counting.peek().is_none() {
            return Ok(None);
        }
        let (mut node, mut state) = (node.clone(), state.clone());
        for other in counting {
            node.add_pod(Arc::clone(other));
            let status = self.tell_added(cx, &mut state, pod, other, &node, without);
            if !status.is_success() {
                return Err(status);
            }
        }
        Ok(Some((node, state)))
    }

    fn tell_added(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        added: &Arc<Pod>,
        node: &NodeInfo,
        without: &[usize],
    ) -> Status {
        for (PluginRef { name, .. }, hook) in
            self.hooks.iter().filter(|(plugin, _)| !without.contains(&plugin.number))
        {
            let ask = || hook.add_pod(cx, state, pod, added, node);
            let status = run(name, points::ADD_POD, Some(node.name()), ask);
            if !status.is_success() {
                return Status::error(format!(
                    "running AddPod on PreFilter plugin {:?}: {}",
                    name.as_str(),
                    status.message()
                ))
                .by(name);
            }
        }
        Status::SUCCESS
    }

    /// Like [`Self::run_without`], but considering the nominated pods that count. Those must not concern the plugins that are
    /// left out.
    pub(crate) fn run_beside_nominated(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
        without: &[usize],
    ) -> (Status, usize) {
        match self.with_nominated_but_for(cx, state, pod, node, without) {
            Err(failure) => return (failure, 0),
            Ok(Some((node_with, state_with))) => {
                let (status, left_out) = self.run_without(cx, &state_with, pod, &node_with, without);
                if !status.is_success() {
                    return (status, left_out);
                }
            }
            Ok(None) => {}
        }
        // All plugins that are left out come before this point: the run with the nominated pods passed them.
        (self.run_without(cx, state, pod, node, without).0, without.len())
    }

    pub(super) fn run_once(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        self.run_without(cx, state, pod, node, &[]).0
    }

    /// The verdict of all filters except the plugins with these numbers, and how many of those come before the filter that gave
    /// the verdict. Nominated pods are not considered.
    pub(crate) fn run_without(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
        without: &[usize],
    ) -> (Status, usize) {
        if state.is_timed() && self.to_time.get() > 0 {
            return self.run_timed(cx, state, pod, node, without);
        }
        let mut left_out = 0;
        for running in &self.filters {
            if without.contains(&running.plugin.number) {
                left_out += 1;
                continue;
            }
            let status = running.ask(cx, state, pod, node);
            if !status.is_success() {
                return (running.end(status), left_out);
            }
        }
        self.passed.set(self.passed.get() + 1);
        (Status::SUCCESS, left_out)
    }

    #[cold]
    fn run_timed(
        &self,
        cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
        without: &[usize],
    ) -> (Status, usize) {
        self.to_time.set(self.to_time.get() - 1);
        let mut laps = Laps::begin(self.profile.probe(), Point::Filter);
        let mut left_out = 0;
        for running in &self.filters {
            if without.contains(&running.plugin.number) {
                left_out += 1;
                continue;
            }
            let status = running.ask(cx, state, pod, node);
            laps.lap(running.plugin, status.code());
            if !status.is_success() {
                return (running.end(status), left_out);
            }
        }
        self.passed.set(self.passed.get() + 1);
        (Status::SUCCESS, left_out)
    }

    /// Measures one search as Filter, whether over all nodes or of the nominated node alone.
    pub(crate) fn search<T>(&self, search: impl FnOnce() -> T, failed: impl FnOnce(&T) -> bool) -> T {
        if self.profile.filter.is_empty() {
            return search();
        }
        let probe = self.profile.probe();
        let began = probe.now();
        let found = search();
        let code = if failed(&found) { Code::Error } else { Code::Success };
        probe.point_done(Point::Filter, code, probe.now().since(began));
        found
    }
}

/// Reports to the probe how often each filter was called.
impl Drop for FilterRunner<'_> {
    fn drop(&mut self) {
        let mut calls = self.passed.get();
        for running in self.filters.iter().rev() {
            calls += running.ended.get();
            if calls > 0 {
                self.profile.probe().plugin_evaluated(running.plugin, Point::Filter, calls);
            }
        }
    }
}

/// The pods that are nominated to the node and count as present for the pod: those of equal or higher priority.
pub fn nominated_with<'a>(
    cx: &Context<'a>,
    pod: &'a Pod,
    node: &Atom,
) -> impl Iterator<Item = &'a Arc<Pod>> + use<'a> {
    let nominated = cx.nominations.on_node(node);
    nominated.iter().filter(|other| other.priority >= pod.priority && other.uid != pod.uid)
}

impl RunFilters for FilterRunner<'_> {
    fn run(&self, cx: &Context<'_>, state: &CycleState, pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        // First with the nominated pods: what they bring (ports, anti-affinity) must not conflict. Then without them: they may
        // never arrive, so what they bring (affinity) must not be required.
        match self.with_nominated(cx, state, pod, node) {
            Err(failure) => return failure,
            Ok(Some((node_with, state_with))) => {
                let status = self.run_once(cx, &state_with, pod, &node_with);
                if !status.is_success() {
                    return status;
                }
            }
            Ok(None) => {}
        }
        self.run_once(cx, state, pod, node)
    }

    fn add_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        added: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        self.tell_added(cx, state, pod, added, node, &[])
    }

    fn remove_pod(
        &self,
        cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        removed: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Status {
        for (PluginRef { name, .. }, plugin) in &self.hooks {
            let ask = || plugin.remove_pod(cx, state, pod, removed, node);
            let status = run(name, points::REMOVE_POD, Some(node.name()), ask);
            if !status.is_success() {
                return Status::error(format!(
                    "running RemovePod on PreFilter plugin {:?}: {}",
                    name.as_str(),
                    status.message()
                ))
                .by(name);
            }
        }
        Status::SUCCESS
    }

    fn confirm_preemption(
        &self,
        cx: &Context<'_>,
        pod: &Arc<Pod>,
        candidates: Vec<PreemptionCandidate>,
    ) -> Result<Vec<PreemptionCandidate>, Status> {
        super::confirm_preemption(self.profile, cx, pod, candidates)
    }

    fn kept_trials(&self) -> Option<RefMut<'_, KeptTrials>> {
        RefMut::filter_map(self.trials.borrow_mut(), Option::as_mut).ok()
    }
}
