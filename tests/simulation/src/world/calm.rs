//! Faults stop: every pod that fits has to be placed.

use super::objects::StoredNode;
use super::*;

/// Minimum number of rounds of eight seconds in a calm: longer than the maximum stay in the unschedulable queue, plus the backoff
/// after it.
const ROUNDS: u32 = 50;
/// A pod that no event concerns is retried after five minutes, which are checked every thirty seconds, plus a backoff.
const FLUSHED_WITHIN: Duration = Duration::from_secs(6 * 60);
/// Additional rounds to finish what has been started.
const MORE_ROUNDS: u32 = 10;
/// If controllers replace what is evicted, it may take longer until nothing changes any more.
const MORE_ROUNDS_OF_THE_LIVING: u32 = 250;

impl World {
    /// Faults stop and nothing more is requested: every pod that fits must be placed soon.
    ///
    /// # Panics
    /// An invariant is broken; the message says which.
    pub fn calm_down(&mut self) {
        self.counts.add("calms", 1);
        self.calm = true;
        self.leading = true;
        self.silent = [BEGAN; STREAMS];
        self.guard_comes_back();
        let more = if self.options.living { MORE_ROUNDS_OF_THE_LIVING } else { MORE_ROUNDS };
        let (mut rounds, mut unchanged) = (0, 0);
        while rounds < ROUNDS
            || (rounds < ROUNDS + more
                && (self.scheduler.sizes().bindings > 0 || (self.options.living && unchanged < 3)))
        {
            rounds += 1;
            let version = self.truth.version;
            self.now = self.now + Duration::from_secs(8);
            self.store_binds();
            self.finish_deletions();
            if self.options.living {
                self.controllers_act();
            }
            self.decide_on_permit();
            self.guard_acts();
            self.deliver();
            loop {
                let tried = self.scheduler.step(self.now).is_some();
                // It may have requested something just because time has passed.
                self.take_effects();
                if !tried && self.streams.iter().all(|s| s.0.is_empty()) {
                    break;
                }
                self.guard_acts();
                self.deliver();
            }
            self.check();
            unchanged = if self.truth.version == version { unchanged + 1 } else { 0 };
        }
        self.everything_is_settled();
        // The watches have by now shown whatever lookups have shown.
        self.told.looked_at.clear();
        self.check_whole();
        self.calm = false;
    }

    fn everything_is_settled(&self) {
        let sizes = self.scheduler.sizes();
        assert_eq!(sizes.cache.assumed_pods, 0, "assumed pods are left over: {sizes:?}");
        assert_eq!(sizes.bindings, 0, "bindings are left over: {sizes:?}");
        let on_nodes = self.truth.pods.values().filter(|stored| stored.is_on_node()).count();
        assert_eq!(sizes.cache.pods, on_nodes, "the cache has what the cluster has");
        let elsewhere = self.truth.list(3).len();
        assert_eq!(sizes.others_waiting, elsewhere, "the core knows which pods of others wait");
        let waits = |stored: &&StoredPod| stored.is_ours() && stored.waits() && self.is_served(stored);
        let waiting: Vec<&StoredPod> = self.truth.pods.values().filter(waits).collect();
        let queue = sizes.queue;
        let queued = queue.active + queue.backoff + queue.unschedulable + queue.gated;
        assert_eq!(queued, waiting.len(), "each waiting pod is queued: {queue:?}");
        for stored in waiting {
            // `has_room` does not know which pods a pod repels; the fresh scheduler below does.
            if stored.is_gated()
                || self.options.topology
                || stored.pod.deleting
                || self.waits_for_flush(stored)
            {
                continue;
            }
            for (name, node) in &self.truth.nodes {
                let fits = self.has_room(stored, node);
                assert!(!fits, "invariant 7: {} fits {name} and waits", stored.pod.name);
            }
        }
        self.a_fresh_scheduler_places_none_of_them();
    }

    /// Whether a plugin has recently rejected the pod for a reason that no event would resolve. If victims are replaced until the last round
    /// of the calm, that may have been the first time that the pod got this far.
    fn waits_for_flush(&self, stored: &StoredPod) -> bool {
        let entry = self.scheduler.queue().get(&stored.pod.uid);
        entry.is_some_and(|entry| {
            entry.rejected_by.iter().any(|plugin| plugin.as_str() == slow::NAME)
                && self.now.since(entry.queued.timestamp) < FLUSHED_WITHIN
        })
    }

    fn is_served(&self, stored: &StoredPod) -> bool {
        self.options.living || stored.pod.scheduler_name.as_str() == OUR_NAMES[0]
    }

    /// Another scheduler that starts now, in the same cluster and without any memory, finds no node for any pending pod.
    fn a_fresh_scheduler_places_none_of_them(&self) {
        let mut fresh =
            new_scheduler(self.seed, self.options, &slow::Shared::default(), &Arc::new(Odd::default()));
        for input in self.truth.lists() {
            fresh.apply(input, self.now);
        }
        while let Some(report) = fresh.step(self.now) {
            if let Some(node) = report.node {
                panic!("invariant 7: pod {} fits {node} and waits", report.pod.full_name());
            }
        }
    }

    /// The rules, checked directly: cordon, tenant, room, host ports, pods.
    pub(super) fn has_room(&self, stored: &StoredPod, node: &StoredNode) -> bool {
        if node.is_cordoned() || !self.tenant_allows(stored, node) {
            return false;
        }
        let name = &node.node.name;
        let nominated = self.truth.pods.values().filter(|other| {
            other.waits()
                && other.pod.nominated_node_name.as_ref() == Some(name)
                && other.pod.uid != stored.pod.uid
                && other.needs.priority >= stored.needs.priority
        });
        let there = self.truth.needs_on(name.as_str()).map(|(_, needs)| needs);
        node.room.takes(&stored.needs, there.chain(nominated.map(|other| &other.needs)))
    }

    /// Whether the tenant of the pod's scheduler name allows the pod, and the pod on this node.
    fn tenant_allows(&self, stored: &StoredPod, node: &StoredNode) -> bool {
        let scheduler = stored.pod.scheduler_name.as_str();
        let Some(at) = OUR_NAMES.iter().position(|name| *name == scheduler) else { return true };
        !self.options.tenants || (stored.pod.namespace.as_str() == NAMESPACES[at] && may_use(at, node.pool()))
    }
}
