//! Log lines about decisions: one for each pod that is bound, and one whenever a pod cannot be placed for a different reason than before.

use secondmate_core::port::ScheduledCondition;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Maximum log lines per second about pods that cannot be placed. A change in the cluster may give each of thousands of pods a new reason.
const FAILURES_PER_SECOND: u32 = 20;
const SECOND: Duration = Duration::from_secs(1);

/// Writes these lines, and enforces the limit.
#[derive(Debug)]
pub(crate) struct Decisions {
    second: Instant,
    written: u32,
    suppressed: u64,
}

impl Decisions {
    pub fn new() -> Self {
        Self { second: Instant::now(), written: 0, suppressed: 0 }
    }

    /// A pod was bound; `took` is the time since it could first be tried.
    pub fn bound(pod: &str, node: &str, attempts: u32, took: Duration) {
        info!(pod, node, attempts, took_ms = took.as_micros() as f64 / 1e3, "pod bound");
    }

    /// A pod cannot be placed, and the condition in its status is about to say so.
    pub fn not_placed(&mut self, pod: &str, condition: &ScheduledCondition) {
        if !self.admits(Instant::now()) {
            return;
        }
        match condition.reason {
            "Unschedulable" => info!(pod, "pod unschedulable: {}", condition.message),
            reason => warn!(pod, reason, "scheduling failed: {}", condition.message),
        }
    }

    /// When the second is over, logs how many lines were left out. To be called from time to time.
    pub fn settle(&mut self, now: Instant) {
        if let Some(suppressed) = self.next_second(now) {
            info!(
                suppressed,
                "more pods could not be scheduled than are logged a second; their events and status say why"
            );
        }
    }

    fn admits(&mut self, now: Instant) -> bool {
        self.settle(now);
        if self.written < FAILURES_PER_SECOND {
            self.written += 1;
            return true;
        }
        self.suppressed += 1;
        false
    }

    /// Starts the next second if the current one is over; returns the number of lines left out in it.
    fn next_second(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.second) < SECOND {
            return None;
        }
        (self.second, self.written) = (now, 0);
        Some(std::mem::take(&mut self.suppressed)).filter(|suppressed| *suppressed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_lines_and_the_rest_is_counted() {
        let mut decisions = Decisions::new();
        let start = decisions.second;
        let admitted = |decisions: &mut Decisions, at| (0..50).filter(|_| decisions.admits(at)).count();
        assert_eq!(admitted(&mut decisions, start), 20);
        assert_eq!(decisions.next_second(start + SECOND / 2), None, "it is not over");
        assert_eq!(decisions.next_second(start + SECOND), Some(30));
        assert_eq!(admitted(&mut decisions, start + SECOND), 20);
        assert_eq!(decisions.suppressed, 30);
        assert_eq!(admitted(&mut decisions, start + 2 * SECOND), 20, "the next second begins by itself");
        assert_eq!(decisions.next_second(start + 3 * SECOND), Some(30));
        assert_eq!(decisions.next_second(start + 4 * SECOND), None, "nothing was left out");
    }
}
