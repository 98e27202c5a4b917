//! When the core is judged: what changed after every input and step, and all of it once in a while, so that what is judged by
//! changes alone is itself checked.

use super::*;
use secondmate_core::CacheDifference;
use std::collections::BTreeSet;

/// Everything is judged anew after so much simulated time.
const WHOLE_EVERY: Duration = Duration::from_secs(60 * 60);

/// What is still to be judged.
pub(super) struct Judged {
    /// Nodes that changed since the cache was held against what the core was told.
    pub nodes: BTreeSet<Atom>,
    /// Pods, likewise.
    pods: BTreeSet<Uid>,
    /// When everything is judged next.
    whole_at: Timestamp,
}

impl Judged {
    pub fn new() -> Self {
        Self { nodes: BTreeSet::new(), pods: BTreeSet::new(), whole_at: BEGAN + WHOLE_EVERY }
    }
}

impl World {
    /// Judges what changed.
    pub(super) fn check(&mut self) {
        self.counts.add("checks of the invariants", 1);
        match self.scheduler.check_changes() {
            Ok(pods) if self.judged.pods.is_empty() => self.judged.pods = pods,
            Ok(pods) => self.judged.pods.extend(pods),
            Err(broken) => panic!("{broken}"),
        }
    }

    /// The cache has what the core was told of the pods and nodes that changed; what a look has told it is beside the watches.
    pub(super) fn check_cache_changes(&mut self) {
        let (cache, told) = (self.scheduler.cache(), &self.told);
        for uid in std::mem::take(&mut self.judged.pods) {
            let (here, there) =
                (cache.pod(&uid).and_then(|pod| pod.node_name.as_ref()), told.assigned.get(&uid));
            assert!(
                here == there || (there.is_none() && cache.is_assumed(&uid)) || told.looked_at.contains(&uid),
                "the cache is not what the core was told: pod {uid} is on node {here:?}, and was shown on {there:?}"
            );
        }
        for name in std::mem::take(&mut self.judged.nodes) {
            assert_eq!(
                cache.node(&name).is_some(),
                told.nodes.contains(&name),
                "the cache is not what the core was told: node {name}"
            );
        }
    }

    /// Judges everything, once in a while.
    pub(super) fn check_whole_if_due(&mut self) {
        if self.judged.whole_at <= self.now {
            self.check_whole();
        }
    }

    /// Judges everything. What has been judged by its changes is right.
    pub(super) fn check_whole(&mut self) {
        self.judged.whole_at = self.now + WHOLE_EVERY;
        self.counts.add("checks of everything", 1);
        self.check_cache_changes();
        if let Err(broken) = self.scheduler.check() {
            panic!("{broken}\n(no change has shown it)");
        }
        let told = &self.told;
        let beside = |difference: &CacheDifference| match difference {
            CacheDifference::RedundantPod { pod, .. } | CacheDifference::MissingPod { pod, .. } => {
                told.looked_at.contains(&Uid::from(pod.as_str()))
            }
            CacheDifference::MissingNode(_) | CacheDifference::RedundantNode(_) => false,
        };
        let nodes = told.nodes.iter().map(ToString::to_string).collect();
        let assigned = told.assigned.iter().map(|(uid, node)| (uid.to_string(), node.to_string())).collect();
        let different = self.scheduler.compare(&nodes, &assigned).into_iter().find(|d| !beside(d));
        assert_eq!(different, None, "the cache is not what the core was told");
    }
}
