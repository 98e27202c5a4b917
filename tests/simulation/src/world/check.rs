//! When the core is checked: what has changed, after every input and step, and everything from time to time, so that checking only the
//! changes is itself checked.

use super::*;
use secondmate_core::CacheDifference;
use std::collections::BTreeSet;

/// Simulated time between two checks of everything.
const WHOLE_EVERY: Duration = Duration::from_secs(60 * 60);

/// What is still to be checked.
pub(super) struct Judged {
    /// Nodes that have changed since the cache was last compared with what the core was told.
    pub nodes: BTreeSet<Atom>,
    /// Pods, likewise.
    pods: BTreeSet<Uid>,
    /// The time of the next check of everything.
    whole_at: Timestamp,
}

impl Judged {
    pub fn new() -> Self {
        Self { nodes: BTreeSet::new(), pods: BTreeSet::new(), whole_at: BEGAN + WHOLE_EVERY }
    }
}

impl World {
    /// Checks what has changed.
    pub(super) fn check(&mut self) {
        self.counts.add("checks of the invariants", 1);
        match self.scheduler.check_changes() {
            Ok(pods) if self.judged.pods.is_empty() => self.judged.pods = pods,
            Ok(pods) => self.judged.pods.extend(pods),
            Err(broken) => panic!("{broken}"),
        }
    }

    /// Checks that the cache has what the core was told about the pods and nodes that have changed; what it learned from a lookup is not in the
    /// watches.
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

    /// Checks everything, from time to time.
    pub(super) fn check_whole_if_due(&mut self) {
        if self.judged.whole_at <= self.now {
            self.check_whole();
        }
    }

    /// Checks everything, and that what was checked by its changes is right.
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
