//! Our schedulers: what is under test, set up by a history's options.

use super::*;
use crate::{extender, slow};
use secondmate_core::{EvaluationSettings, SchedulerConfig};
use secondmate_cycle::{Profile, ProfileSpec, StandingSettings, multi_point};
use secondmate_framework::Parity;

/// The names that we serve.
pub(super) const OUR_NAMES: [&str; 2] = ["my-scheduler", "my-other-scheduler"];
/// The names that others serve.
pub(super) const OTHER_NAMES: [&str; 2] = ["default-scheduler", "batch-scheduler"];
/// The namespace of the pods of each of our names. With tenants, only pods in it may use the name.
pub(super) const NAMESPACES: [&str; 2] = ["default", "team-b"];
/// Pools of nodes. With tenants, each has its own pool, and the third is open to both.
pub(super) const POOLS: [&str; 3] = ["a", "b", "shared"];

const PLUGINS: &[(&str, i64)] = &[
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
];

/// Whether pods of our name with this index may be on a node of this pool.
pub(super) fn may_use(at: usize, pool: &str) -> bool {
    pool == POOLS[at] || pool == POOLS[2]
}

/// Whose pods may be evicted for pods of our name with this index: for the first one, everybody's except the other tenant's; for the second
/// one, only its own.
pub(super) fn may_evict(at: usize, scheduler: &str) -> bool {
    scheduler == OUR_NAMES[at] || (at == 0 && !is_our_name(scheduler))
}

fn tenant_args(at: usize) -> BTreeMap<String, Value> {
    let pools = [POOLS[at], POOLS[2]];
    BTreeMap::from([
        ("TenantNamespaces".to_owned(), json!({"allowed": {"names": [NAMESPACES[at]]}})),
        (
            "TenantNodes".to_owned(),
            json!({"selector": {"matchExpressions": [{"key": "pool", "operator": "In", "values": pools}]}}),
        ),
    ])
}

/// A scheduler that knows nothing yet.
pub(super) fn new_scheduler(seed: u64, options: Options, slow: &slow::Shared, probe: &Arc<Odd>) -> Scheduler {
    let mut registry = secondmate_plugins::registry().expect("in-tree plugins");
    slow.register(&mut registry);
    let mut plugins = Vec::new();
    if options.tenants {
        plugins.extend([("TenantNamespaces", 0), ("TenantNodes", 0)]);
    }
    plugins.extend(PLUGINS);
    if options.preemption {
        plugins.push(("DefaultPreemption", 0));
    }
    if options.topology {
        plugins.extend([("PodTopologySpread", 2), ("InterPodAffinity", 2)]);
    }
    if options.slow_plugins {
        plugins.push((slow::NAME, 0));
    }
    let profile = |at: usize| {
        let args = if options.tenants { tenant_args(at) } else { BTreeMap::new() };
        let everybody = OUR_NAMES.into_iter().chain(OTHER_NAMES);
        let victims = everybody.filter(|name| may_evict(at, name)).map(ToOwned::to_owned).collect();
        let spec = ProfileSpec {
            scheduler_name: OUR_NAMES[at].to_owned(),
            percentage_of_nodes_to_score: 100,
            plugins: multi_point(&plugins, &registry, &args).expect("in-tree plugins"),
            args,
            victims_of: options.tenants.then_some(victims),
        };
        let mut profile = Profile::new(&spec, &registry, Parity::Strict).expect("a valid profile");
        if options.extender {
            profile = profile.with_extenders(extender::binder());
        }
        if options.measured {
            profile = profile.with_probe(probe.clone());
        }
        if options.tenants { profile.with_weight([3, 1][at]) } else { profile }
    };
    let names = if options.living { OUR_NAMES.len() } else { 1 };
    let profiles = (0..names).map(profile).collect();
    let evaluation = if options.plain {
        EvaluationSettings::Plain
    } else {
        EvaluationSettings::Standing(StandingSettings { first_sight: true, ..StandingSettings::default() })
    };
    let break_preemption_loops = !options.loops_unbroken;
    let config = SchedulerConfig { seed, evaluation, break_preemption_loops, ..SchedulerConfig::default() };
    let scheduler = Scheduler::new(config, profiles).audited();
    if options.measured { scheduler.with_probe(probe.clone()) } else { scheduler }
}
