//! NodeResourcesBalancedAllocation: prefers nodes whose resource usage becomes more balanced with the pod.
//!
//! Since 1.36, the score measures the improvement: the balance with the pod compared with the balance without it, between 50 and 100.

use crate::allocation::{
    Allocation, ROWS_AT_ONCE, ResourceArgs, RowAllocation, ScoredRequests, ScoredResource, Taken, exactly,
    requests_of, row_allocations, scored_resources, whole_percent,
};
use crate::arguments;
use fearless_simd::{Level, Simd, dispatch};
use secondmate_framework::{
    Context, CycleState, Declaration, EventRegistration, Handle, MAX_NODE_SCORE, NodeParts, NodeRows,
    Normalization, Plugin, PluginError, PodParts, PreScore, RowScore, Score, Status,
};
use secondmate_model::{NodeInfo, Pod};
use serde::Deserialize;
use serde_json::Value;
use smallvec::SmallVec;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "NodeResourcesBalancedAllocation";

/// The plugin.
#[derive(Clone, Debug)]
pub struct NodeResourcesBalancedAllocation {
    resources: Box<[ScoredResource]>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    resources: Option<Vec<ResourceArgs>>,
}

/// Creates the plugin from `NodeResourcesBalancedAllocationArgs`.
///
/// # Errors
/// A resource has a weight other than 1, or is named twice.
pub fn new(args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let args: Args = arguments::parse(NAME, args)?;
    let refused = |reason: String| arguments::refused(NAME, format!("resources: {reason}"));
    let resources = scored_resources(args.resources).map_err(refused)?;
    if let Some(other) = resources.iter().find(|resource| resource.weight != 1) {
        return Err(refused(format!(
            "weight {} of resource {:?} must be 1",
            other.weight,
            other.key.as_str()
        )));
    }
    let twice = resources.iter().enumerate().find(|(at, resource)| resources[..*at].contains(resource));
    if let Some((_, resource)) = twice {
        return Err(refused(format!("{:?} is named twice", resource.key.as_str())));
    }
    Ok(Arc::new(NodeResourcesBalancedAllocation { resources }))
}

/// The pod's requests of the balanced resources.
#[derive(Clone)]
struct Balanced(ScoredRequests);

fn asks_for_nothing(requests: &ScoredRequests) -> bool {
    requests.iter().all(|request| *request == 0)
}

impl NodeResourcesBalancedAllocation {
    fn requests(&self, pod: &Pod) -> ScoredRequests {
        requests_of(&self.resources, &pod.requests.on_node)
    }

    fn score_with(&self, requests: &ScoredRequests, node: &NodeInfo) -> i64 {
        score_of(self.resources.iter().zip(requests).filter_map(|(resource, request)| {
            Allocation::of(&resource.key, *request, node, Taken::Requested)
        }))
    }
}

/// The score of a node, from the allocations of its resources.
fn score_of(allocations: impl Iterator<Item = Allocation>) -> i64 {
    let (mut with, mut without) = (Fractions::new(), Fractions::new());
    for allocation in allocations {
        with.push(fraction(allocation.requested, allocation.allocatable));
        without.push(fraction(allocation.allocated, allocation.allocatable));
    }
    score_by(balance(&with), balance(&without))
}

/// The score, from the balance with the pod and without it.
fn score_by(with: i64, without: i64) -> i64 {
    let half = MAX_NODE_SCORE / 2;
    half + (half + with - without) / 2
}

/// The score from rows.
struct RowScores(SmallVec<[RowAllocation; 2]>);

impl RowScore for RowScores {
    fn score(&self, rows: NodeRows<'_>, passes: &[bool], scores: &mut [i64]) {
        let level = Level::new();
        let each = passes.chunks(ROWS_AT_ONCE).zip(scores.chunks_mut(ROWS_AT_ONCE));
        for (from, (passes, scores)) in (0..).step_by(ROWS_AT_ONCE).zip(each) {
            let rows = rows.part(from..from + scores.len());
            if !self.score_two(level, rows, scores) {
                self.score_each(rows, passes, scores);
            }
        }
    }
}

impl RowScores {
    /// The scores for two resources that every node has; returns whether the amounts are suitable. See [`score_of_two`].
    fn score_two(&self, level: Level, rows: NodeRows<'_>, scores: &mut [i64]) -> bool {
        let [a, b] = &*self.0 else { return false };
        dispatch!(level, simd => Self::score_by_two(simd, a, b, rows, scores))
    }

    #[inline(always)]
    fn score_by_two<S: Simd>(
        _simd: S,
        a: &RowAllocation,
        b: &RowAllocation,
        rows: NodeRows<'_>,
        scores: &mut [i64],
    ) -> bool {
        let ((has, taken), (other_has, other_taken)) = (a.columns(&rows), b.columns(&rows));
        let (mut too_large, mut has_none) = (0, false);
        let part = |used: f64, has: f64| {
            let part = used / has;
            if part < 1.0 { part } else { 1.0 }
        };
        let balance = |a: f64, b: f64| whole_percent((1.0 - ((a - b) / 2.0).abs()) * MAX_NODE_SCORE as f64);
        let one = has.iter().zip(taken);
        let other = other_has.iter().zip(other_taken);
        for (score, ((has, taken), (other_has, other_taken))) in scores.iter_mut().zip(one.zip(other)) {
            let requested = taken.wrapping_add(a.pod_request());
            let other_requested = other_taken.wrapping_add(b.pod_request());
            // As unsigned numbers, negative ones are large as well.
            too_large |= (has | taken | requested | other_has | other_taken | other_requested) as u64 >> 52;
            has_none |= (*has == 0) | (*other_has == 0);
            let (has, other_has) = (exactly(*has), exactly(*other_has));
            let without = balance(part(exactly(*taken), has), part(exactly(*other_taken), other_has));
            let with = balance(part(exactly(requested), has), part(exactly(other_requested), other_has));
            *score = score_by(with, without);
        }
        too_large == 0 && !has_none
    }

    fn score_each(&self, rows: NodeRows<'_>, passes: &[bool], scores: &mut [i64]) {
        for (at, (passes, score)) in passes.iter().zip(scores).enumerate() {
            if *passes {
                let row = &rows.row(at);
                *score = match *self.0 {
                    [a, b] => match (a.on(row), b.on(row)) {
                        (Some(a), Some(b)) => score_of_two(a, b),
                        (a, b) => score_of([a, b].into_iter().flatten()),
                    },
                    ref all => score_of(all.iter().filter_map(|resource| resource.on(row))),
                };
            }
        }
    }
}

/// Like [`score_of`].
fn score_of_two(a: Allocation, b: Allocation) -> i64 {
    let used = |of: fn(&Allocation) -> i64| {
        balance_of([a, b].map(|allocation| fraction(of(&allocation), allocation.allocatable)))
    };
    score_by(used(|allocation| allocation.requested), used(|allocation| allocation.allocated))
}

/// Allocated fractions of resources, 0 to 1.
type Fractions = SmallVec<[f64; 4]>;

fn fraction(used: i64, allocatable: i64) -> f64 {
    let fraction = used as f64 / allocatable as f64;
    if fraction > 1.0 { 1.0 } else { fraction }
}

/// 100 if all resources are used to the same extent, reduced by their standard deviation. The floating-point steps are upstream's.
fn balance(fractions: &Fractions) -> i64 {
    let deviation = match fractions.as_slice() {
        [] | [_] => 0.0,
        [a, b] => return balance_of([*a, *b]),
        all => {
            let count = all.len() as f64;
            let mut total = 0.0;
            for fraction in all {
                total += fraction;
            }
            let mean = total / count;
            let mut sum = 0.0;
            for fraction in all {
                sum += (fraction - mean) * (fraction - mean);
            }
            (sum / count).sqrt()
        }
    };
    part_of_most(1.0 - deviation)
}

fn balance_of([a, b]: [f64; 2]) -> i64 {
    part_of_most(1.0 - ((a - b) / 2.0).abs())
}

fn part_of_most(part: f64) -> i64 {
    (part * MAX_NODE_SCORE as f64) as i64
}

impl Plugin for NodeResourcesBalancedAllocation {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::REQUESTS, NodeParts::ALLOCATABLE | NodeParts::REQUESTED)
    }

    fn as_pre_score(self: Arc<Self>) -> Option<Arc<dyn PreScore>> {
        Some(self)
    }

    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        Vec::new()
    }
}

impl PreScore for NodeResourcesBalancedAllocation {
    fn pre_score(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        pod: &Arc<Pod>,
        _feasible: &[Arc<NodeInfo>],
    ) -> Status {
        let requests = self.requests(pod);
        if asks_for_nothing(&requests) {
            // Otherwise all such pods would go to the node that is balanced best.
            return Status::skip();
        }
        state.write(Balanced(requests));
        Status::SUCCESS
    }
}

impl Score for NodeResourcesBalancedAllocation {
    fn score(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        pod: &Arc<Pod>,
        node: &NodeInfo,
    ) -> Result<i64, Status> {
        if let Some(Balanced(requests)) = state.read() {
            return Ok(self.score_with(requests, node));
        }
        // If PreScore did not run for this plugin.
        let requests = self.requests(pod);
        Ok(if asks_for_nothing(&requests) { 0 } else { self.score_with(&requests, node) })
    }

    fn normalization(&self) -> Normalization {
        Normalization::Identity
    }

    fn by_row<'a>(&'a self, state: &'a CycleState, _pod: &'a Arc<Pod>) -> Option<Box<dyn RowScore + 'a>> {
        let Balanced(requests) = state.read()?;
        Some(Box::new(RowScores(row_allocations(&self.resources, requests, Taken::Requested)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::{some_rows, usual_rows};
    use crate::fixture::{context, node, pod};
    use secondmate_framework::{NodeTable, Snapshot};
    use serde_json::json;

    fn asking(requests: Value) -> Arc<Pod> {
        pod(json!({"spec": {"containers": [{"resources": {"requests": requests}}]}}))
    }

    /// PreScore's status and the score, on a node of 4 CPUs, 4Gi, 8 GPUs and 4Gi of storage on which a pod requests `taken`.
    fn score(args: Value, taken: Value, requests: Value) -> (Status, i64) {
        let snapshot = Snapshot::default();
        let cx = context(&snapshot);
        let plugin = new(&args, &Handle::default()).expect("sound arguments");
        let mut node = node(json!({"metadata": {"name": "n"}, "status": {"allocatable":
            {"cpu": "4", "memory": "4Gi", "example.com/gpu": "8", "ephemeral-storage": "4Gi", "pods": "9"}}}));
        node.add_pod(asking(taken));
        let pod = asking(requests);
        let mut state = CycleState::new();
        let scorer = plugin.clone().as_score().expect("scores");
        let unprepared = scorer.score(&cx, &state, &pod, &node);
        let status = plugin.clone().as_pre_score().expect("prepares").pre_score(&cx, &mut state, &pod, &[]);
        let prepared = scorer.score(&cx, &state, &pod, &node);
        assert_eq!(unprepared, prepared);
        (status, prepared.expect("a score"))
    }

    #[test]
    fn several_rows_at_once_score_as_each_does() {
        let resources = scored_resources(None).expect("CPU and memory");
        for requests in [[0, 0], [150, 1 << 30], [-100_000, 7]] {
            let allocations = row_allocations(&resources, &requests, Taken::Requested);
            let scores = RowScores(allocations.expect("CPU and memory"));
            let table: NodeTable = usual_rows(100).into_iter().chain(some_rows(300)).collect();
            let rows = table.rows();
            let (passes, mut at_once, mut each) = (vec![true; 400], vec![0; 400], vec![0; 400]);
            scores.score(rows, &passes, &mut at_once);
            scores.score_each(rows, &passes, &mut each);
            assert_eq!(at_once, each, "{requests:?}");
            for level in [Level::new(), Level::baseline()] {
                let (usual, at_once) = (rows.part(0..ROWS_AT_ONCE), &mut at_once[..ROWS_AT_ONCE]);
                assert_eq!(scores.score_two(level, usual, at_once), requests[0] >= 0);
                assert!(requests[0] < 0 || *at_once == each[..ROWS_AT_ONCE], "{requests:?} {level:?}");
            }
        }
    }

    #[test]
    fn the_score_is_about_the_improvement() {
        let three = json!({"resources": [{"name": "cpu"}, {"name": "memory"}, {"name": "example.com/gpu"}]});
        let one = json!({"resources": [{"name": "cpu", "weight": 1}]});
        for (args, taken, requests, expected) in [
            // Balanced before and after: 50 + (50 + 100 - 100) / 2
            (&Value::Null, json!({}), json!({"cpu": "1", "memory": "1Gi"}), 75),
            // 100 before, deviation 0.125 after: 50 + (50 + 87 - 100) / 2 = 68.5
            (&Value::Null, json!({}), json!({"cpu": "1"}), 68),
            // Deviation 0.25 before, none after: 50 + (50 + 100 - 75) / 2 = 87.5
            (&Value::Null, json!({"cpu": "2"}), json!({"memory": "2Gi"}), 87),
            // The defaults for containers without requests do not count: as if the node were empty.
            (&Value::Null, json!({}), json!({"cpu": "4", "memory": "2Gi"}), 62),
            // Usage beyond the node's capacity counts as full: 1 and 0, deviation 0.5: 50 + (50 + 50 - 100) / 2
            (&Value::Null, json!({}), json!({"cpu": "9"}), 50),
            // From the worst to the best: 50 + (50 + 100 - 50) / 2
            (&Value::Null, json!({"cpu": "4"}), json!({"memory": "4Gi"}), 100),
            // GPUs do not count unless requested: same as the second.
            (&three, json!({"example.com/gpu": "8"}), json!({"cpu": "1"}), 68),
            // After: 0.25, 0, 0.5, mean 0.25, deviation sqrt(0.125 / 3) = 0.2041: 79. 50 + (50 + 79 - 100) / 2 = 64.5
            (&three, json!({}), json!({"cpu": "1", "example.com/gpu": "4"}), 64),
            // A single resource is always balanced.
            (&one, json!({"memory": "4Gi"}), json!({"cpu": "4"}), 75),
        ] {
            assert_eq!(
                score(args.clone(), taken.clone(), requests.clone()),
                (Status::SUCCESS, expected),
                "{args} {taken} {requests}"
            );
        }
    }

    #[test]
    fn pods_that_ask_for_none_of_the_resources_are_skipped() {
        for (args, requests) in [
            (Value::Null, json!({})),
            (Value::Null, json!({"ephemeral-storage": "1Gi"})),
            (json!({"resources": [{"name": "example.com/gpu"}]}), json!({"cpu": "1"})),
        ] {
            assert_eq!(
                score(args.clone(), json!({}), requests.clone()),
                (Status::skip(), 0),
                "{args} {requests}"
            );
        }
    }

    #[test]
    fn the_requests_of_the_pod_as_a_whole_count() {
        let snapshot = Snapshot::default();
        let plugin = new(&Value::Null, &Handle::default()).expect("sound arguments");
        let node = node(
            json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "4", "memory": "4Gi"}}}),
        );
        let whole = pod(
            json!({"spec": {"resources": {"requests": {"cpu": "4", "memory": "2Gi"}}, "containers": [{}]}}),
        );
        let scorer = plugin.clone().as_score().expect("scores");
        // Deviation 0.25: 50 + (50 + 75 - 100) / 2 = 62.5
        assert_eq!(scorer.score(&context(&snapshot), &CycleState::new(), &whole, &node), Ok(62));
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        for (resources, reason) in [
            (json!([{"name": "cpu", "weight": 2}]), "resources: weight 2 of resource \"cpu\" must be 1"),
            (json!([{"name": "cpu"}, {"name": "cpu"}]), "resources: \"cpu\" is named twice"),
        ] {
            let error =
                new(&json!({ "resources": resources }), &Handle::default()).map(|_| ()).expect_err("refused");
            assert_eq!(error, PluginError::Arguments { plugin: NAME.to_owned(), reason: reason.to_owned() });
        }
    }
}
