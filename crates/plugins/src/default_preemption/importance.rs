//! Which of two pods is more important: it is evicted later.

use super::sorting;
use secondmate_framework::Parity;
use secondmate_model::{Pod, Timestamp};
use std::cmp::Reverse;
use std::sync::Arc;

/// The order of importance, at a point in time: a pod that the kubelet has not taken on counts as started now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Importance {
    pub(super) now: Timestamp,
    pub(super) parity: Parity,
}

impl Importance {
    /// When the pod was started.
    pub(super) fn start(self, pod: &Pod) -> Timestamp {
        pod.start_time.unwrap_or(self.now)
    }

    /// Upstream's comparison: higher priority, or equal priority and an earlier start.
    ///
    /// Upstream reads the clock for each pod that has no start time, in the order of the arguments, so of two such pods the
    /// one that is asked about first is always the earlier: the comparison contradicts itself, and its effect on the order
    /// is that of the sorting algorithm, which is therefore upstream's too.
    fn is_before(self, a: &Pod, b: &Pod) -> bool {
        if a.priority != b.priority {
            return a.priority > b.priority;
        }
        match (a.start_time, b.start_time) {
            (None, None) => true,
            _ => self.start(a) < self.start(b),
        }
    }

    /// Sorts pods by importance, the most important one first. In strict parity ties come out as upstream leaves them;
    /// otherwise in the order in which they stand.
    pub(super) fn sort(self, pods: &mut [Arc<Pod>]) {
        match self.parity {
            Parity::Strict => sorting::sort(pods, |a, b| self.is_before(a, b)),
            Parity::Sensible => pods.sort_by_key(|pod| (Reverse(pod.priority), self.start(pod))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use serde_json::json;

    fn sorted(parity: Parity, pods: &[(&str, i32, &str)]) -> String {
        let mut pods: Vec<Arc<Pod>> = pods
            .iter()
            .map(|(name, priority, start)| {
                let mut pod =
                    json!({"metadata": {"name": name}, "spec": {"containers": [], "priority": priority}});
                if !start.is_empty() {
                    pod["status"] = json!({"startTime": format!("2026-01-01T00:00:{start}Z")});
                }
                fixture::pod(pod)
            })
            .collect();
        let now = Timestamp::parse("2026-01-01T00:00:30Z").expect("a time");
        Importance { now, parity }.sort(&mut pods);
        pods.iter().map(|pod| &*pod.name).collect()
    }

    #[test]
    fn priority_comes_first_and_then_the_earlier_start() {
        let pods = [("a", 1, "05"), ("b", 2, "09"), ("c", 1, "03"), ("d", 2, "08"), ("e", 1, "")];
        assert_eq!(sorted(Parity::Strict, &pods), "dbcae");
        assert_eq!(sorted(Parity::Sensible, &pods), "dbcae");
    }

    #[test]
    fn ties_keep_their_order_in_short_rows() {
        let pods = [("a", 1, "05"), ("b", 1, "05"), ("c", 2, "05"), ("d", 1, "05")];
        assert_eq!(sorted(Parity::Strict, &pods), "cabd");
        assert_eq!(sorted(Parity::Sensible, &pods), "cabd");
    }

    #[test]
    fn pods_that_were_not_started_come_out_reversed_as_upstream_has_it() {
        let pods = [("a", 1, ""), ("b", 1, ""), ("c", 1, ""), ("d", 1, "05")];
        assert_eq!(sorted(Parity::Strict, &pods), "dcba");
        assert_eq!(sorted(Parity::Sensible, &pods), "dabc");
    }
}
