//! The plain pass: one node after the other through the plugin traits, exactly as the extension points define. It remembers
//! nothing from one pod to the next, and is the reference for every other implementation.

use crate::evaluate::{Answer, Details, Evaluate, Outcome, Question, Rejection, Scope};
use crate::evaluation::{self, Failure, Feasible, FilterRunner, PreFiltered, Scored, Search};
use crate::panics;
use crate::profile::Profile;
use crate::random::Random;
use secondmate_framework::{
    Code, Context, CycleState, EXTENDER_NAME, NodeStatuses, Nomination, PostFilterOutcome, RunFilters,
    Status, fit_error_message,
};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Message of an attempt in a cluster without nodes.
pub const NO_NODES: &str = "no nodes available to schedule pods";

/// The plain pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Evaluate for Plain {
    fn evaluate(&mut self, question: &Question<'_>, random: &mut Random) -> Answer {
        answer(question, |mut pass, looked_at| {
            let pre_filtered = pass.pre_filter()?;
            pass.search(pre_filtered, random, looked_at)
        })
    }
}

/// The answer to a question, where `run` takes the pod through the extension points and counts the nodes that were looked at.
pub(crate) fn answer<'a>(
    question: &Question<'a>,
    run: impl FnOnce(Pass<'a>, &mut usize) -> Result<Found, Failure>,
) -> Answer {
    if question.snapshot.nodes().is_empty() {
        return Answer {
            outcome: Outcome::Rejected(no_nodes()),
            looked_at: 0,
            details: question.scope.is_every().then(Details::default),
        };
    }
    let mut looked_at = 0;
    let found = panics::catch(question.profile, question.pod, || run(Pass::new(question), &mut looked_at));
    match found.unwrap_or_else(|panic| Err(Failure::new(&panic.plugin, panic.to_string()))) {
        Ok((outcome, details)) => Answer { outcome, looked_at, details },
        Err(failure) => Answer { outcome: Outcome::Failed(failure), looked_at, details: None },
    }
}

fn no_nodes() -> Rejection {
    Rejection {
        message: NO_NODES.to_owned(),
        rejected_by: BTreeSet::new(),
        pending_by: BTreeSet::new(),
        post_filter: nobody_asked(),
        post_filter_ran: false,
    }
}

/// PostFilter's outcome if no plugin is called.
fn nobody_asked() -> PostFilterOutcome {
    PostFilterOutcome { nomination: Some(Nomination::Clear), ..PostFilterOutcome::from(Status::SUCCESS) }
}

/// One pod on its way through the extension points from PreFilter to NormalizeScore.
pub(crate) struct Pass<'a> {
    pub profile: &'a Profile,
    pub cx: Context<'a>,
    pub pod: &'a Arc<Pod>,
    pub scope: Scope,
    pub state: CycleState,
}

pub(crate) type Found = (Outcome, Option<Details>);

impl<'a> Pass<'a> {
    fn new(question: &Question<'a>) -> Self {
        let mut state = CycleState::new();
        state.set_timed(question.profile.probe().times_cycle());
        Self {
            profile: question.profile,
            cx: Context { snapshot: question.snapshot, now: question.now, nominations: question.nominations },
            pod: question.pod,
            scope: question.scope,
            state,
        }
    }

    /// PreFilter.
    pub fn pre_filter(&mut self) -> Result<PreFiltered, Failure> {
        evaluation::pre_filter(self.profile, &self.cx, &mut self.state, self.pod)
    }

    /// Everything after PreFilter, one node after the other.
    pub fn search(
        mut self,
        mut pre_filtered: PreFiltered,
        random: &mut Random,
        looked_at: &mut usize,
    ) -> Result<Found, Failure> {
        let runner = FilterRunner::new(self.profile, &self.state);
        if !pre_filtered.status.is_success() {
            let statuses = NodeStatuses::new(pre_filtered.status.clone());
            return Ok(self.reject(&runner, &pre_filtered, statuses));
        }
        let mut statuses = unseen();
        let nominated = self.nominated_node(&runner, &mut pre_filtered, &mut statuses);
        let search = match self.scope {
            Scope::Every => Search::ALL,
            Scope::Sample { start } => {
                if let Some(node) = nominated {
                    return Ok((Outcome::Placed { node, state: self.state }, None));
                }
                Search {
                    start,
                    percentage: self.profile.percentage_of_nodes_to_score(),
                    first_only: self.profile.score.is_empty() && !self.profile.extenders_choose(),
                }
            }
        };
        let found = evaluation::find_feasible(
            &runner,
            &self.cx,
            &self.state,
            self.pod,
            &pre_filtered,
            statuses,
            search,
        );
        *looked_at = match &found {
            Ok(feasible) => feasible.nodes.len() + feasible.statuses.len(),
            Err((_, looked_at)) => *looked_at,
        };
        let mut feasible = found.map_err(|(failure, _)| failure)?;
        self.ask_extenders(&mut pre_filtered, &mut feasible)?;
        if feasible.nodes.is_empty() {
            return Ok(self.reject(&runner, &pre_filtered, feasible.statuses));
        }
        let (chosen, scored) = self.choose(&feasible, random)?;
        let details = self.scope.is_every().then(|| Details {
            pre_filter: None,
            narrowed_by: pre_filtered.plugins_with_nodes,
            statuses: feasible.statuses,
            feasible: feasible.nodes,
            scored,
            state: Some(self.state.clone()),
        });
        Ok((Outcome::Placed { node: nominated.unwrap_or(chosen), state: self.state }, details))
    }

    /// The node to which the pod is nominated, if it passes the filters. It is checked before the others, regardless of
    /// PreFilter's node set; a failure there is not reported, since the search will encounter it again if it matters.
    pub fn nominated_node(
        &self,
        runner: &FilterRunner<'_>,
        pre_filtered: &mut PreFiltered,
        statuses: &mut NodeStatuses,
    ) -> Option<Arc<NodeInfo>> {
        let position = self.cx.snapshot.position(self.pod.nominated_node_name.as_ref()?)?;
        let node = self.cx.snapshot.at(position);
        let run = || runner.run(&self.cx, &self.state, self.pod, node);
        let status = runner.search(run, |s| s.code() == Code::Error);
        if status.is_success() {
            let only = vec![Arc::clone(node)];
            let passed =
                evaluation::filter_by_extenders(self.profile, &self.cx, self.pod, only, statuses).ok()?;
            return (!passed.is_empty()).then(|| Arc::clone(node));
        }
        if status.is_rejected() {
            // Upstream keeps the plugins that narrowed the search and those that rejected in one set, so the verdict on the nodes
            // outside the node set names this plugin too.
            pre_filtered.plugins_with_nodes.extend(status.plugin().cloned());
            statuses.set(position, status);
        }
        None
    }

    /// Keeps only nodes that pass the extenders too.
    fn ask_extenders(&self, pre_filtered: &mut PreFiltered, feasible: &mut Feasible) -> Result<(), Failure> {
        let before = feasible.nodes.len();
        let nodes = std::mem::take(&mut feasible.nodes);
        let passed =
            evaluation::filter_by_extenders(self.profile, &self.cx, self.pod, nodes, &mut feasible.statuses)?;
        if passed.len() != before {
            // Extenders cannot register events, so any event requeues the pod.
            pre_filtered.plugins_with_nodes.insert(Atom::new(EXTENDER_NAME));
        }
        feasible.nodes = passed;
        Ok(())
    }

    /// One of the best nodes. If there is only one, it is taken without scoring.
    fn choose(
        &mut self,
        feasible: &Feasible,
        random: &mut Random,
    ) -> Result<(Arc<NodeInfo>, Scored), Failure> {
        if let [one] = feasible.nodes.as_slice() {
            return Ok((Arc::clone(one), Scored::default()));
        }
        let keep = self.scope.is_every();
        let scored =
            evaluation::score(self.profile, &self.cx, &mut self.state, self.pod, &feasible.nodes, keep)?;
        Ok((Arc::clone(&feasible.nodes[scored.pick(random)]), scored))
    }

    /// No node passed: runs PostFilter and composes the message.
    pub fn reject(
        mut self,
        runner: &FilterRunner<'_>,
        pre_filtered: &PreFiltered,
        statuses: NodeStatuses,
    ) -> Found {
        let (rejected_by, pending_by) = culprits(pre_filtered, &statuses);
        let post_filter_ran = !self.profile.post_filter.is_empty();
        let post_filter = if post_filter_ran {
            evaluation::post_filter(self.profile, &self.cx, &mut self.state, self.pod, &statuses, runner)
        } else {
            nobody_asked()
        };
        let pre_filter = (!pre_filtered.status.is_success()).then(|| pre_filtered.status.clone());
        let message = fit_error_message(
            self.cx.snapshot.nodes().len(),
            pre_filter.as_ref().map(Status::message).as_deref(),
            &statuses,
            &post_filter.message(),
        );
        let rejection = Rejection { message, rejected_by, pending_by, post_filter, post_filter_ran };
        let details = self.scope.is_every().then(|| Details {
            pre_filter,
            narrowed_by: pre_filtered.plugins_with_nodes.clone(),
            statuses,
            feasible: Vec::new(),
            scored: Scored::default(),
            state: Some(self.state),
        });
        (Outcome::Rejected(rejection), details)
    }
}

/// No verdicts yet: preemption cannot help on nodes that were not looked at.
pub(crate) fn unseen() -> NodeStatuses {
    NodeStatuses::new(Status::with_reasons(Code::UnschedulableAndUnresolvable, []))
}

/// The plugins that rejected the pod or a node, and those that returned `Pending`.
fn culprits(pre_filtered: &PreFiltered, statuses: &NodeStatuses) -> (BTreeSet<Atom>, BTreeSet<Atom>) {
    let mut rejected_by = pre_filtered.plugins_with_nodes.clone();
    let mut pending_by = BTreeSet::new();
    let verdicts = statuses.tally().map(|(s, _)| s).chain(std::iter::once(&pre_filtered.status));
    for status in verdicts {
        if let Some(plugin) = status.plugin() {
            let set = if status.code() == Code::Pending { &mut pending_by } else { &mut rejected_by };
            // Most nodes are rejected by a plugin that is already in the set.
            if !set.contains(plugin) {
                set.insert(plugin.clone());
            }
        }
    }
    (rejected_by, pending_by)
}
