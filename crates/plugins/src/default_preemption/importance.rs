//! Which of two pods is more important, and so is evicted later.

use super::sorting;
use secondmate_framework::Parity;
use secondmate_model::{Pod, Timestamp};
use std::cmp::Reverse;
use std::sync::Arc;

/// A pod that may have to be evicted.
#[derive(Clone, Debug)]
pub(super) struct Victim {
    pub(super) pod: Arc<Pod>,
    /// Its position among the pods of its node.
    pub(super) place: usize,
}

/// The order of importance at a point in time: a pod that the kubelet has not acknowledged yet counts as started now.
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

    /// Sorts pods by importance, the most important first: higher priority, then earlier start. In strict parity, ties come out as
    /// upstream's sort leaves them; otherwise they keep their order.
    ///
    /// For each pod without a start time, upstream reads the clock, in the order of the node's pods, so that of two such pods the first is
    /// the more important.
    pub(super) fn sort(self, victims: &mut [Victim]) {
        let key = |victim: &Victim| {
            let unstarted = victim.pod.start_time.is_none().then_some(victim.place);
            (Reverse(victim.pod.priority), self.start(&victim.pod), unstarted)
        };
        match self.parity {
            Parity::Strict => sorting::sort(victims, |a, b| key(a) < key(b)),
            Parity::Sensible => victims.sort_by_key(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use serde_json::json;

    fn sorted(parity: Parity, pods: &[(&str, i32, &str)]) -> String {
        let mut victims: Vec<Victim> = (0..)
            .zip(pods)
            .map(|(place, (name, priority, start))| {
                let mut pod =
                    json!({"metadata": {"name": name}, "spec": {"containers": [], "priority": priority}});
                if !start.is_empty() {
                    pod["status"] = json!({"startTime": format!("2026-01-01T00:00:{start}Z")});
                }
                Victim { pod: fixture::pod(pod), place }
            })
            .collect();
        let now = Timestamp::parse("2026-01-01T00:00:30Z").expect("a time");
        Importance { now, parity }.sort(&mut victims);
        victims.iter().map(|victim| &*victim.pod.name).collect()
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
    fn pods_that_were_not_started_keep_their_order() {
        let pods = [("a", 1, ""), ("b", 1, ""), ("c", 1, ""), ("d", 1, "05")];
        assert_eq!(sorted(Parity::Strict, &pods), "dabc");
        assert_eq!(sorted(Parity::Sensible, &pods), "dabc");
        // Longer than the length up to which upstream's sort is stable: the clock advances from pod to pod, so there is no tie.
        let names: Vec<String> = (0..60).map(|i| ((b'A' + i) as char).to_string()).collect();
        let many: Vec<(&str, i32, &str)> = names.iter().map(|name| (name.as_str(), 1, "")).collect();
        assert_eq!(sorted(Parity::Strict, &many), names.concat());
    }
}
