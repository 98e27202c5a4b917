//! Decides when the playground is done.

use super::observations::Counts;
use super::summary::Ended;
use std::time::Duration;

/// How long nothing must have changed if some pods are left over: longer than the scheduler takes to report that it has nothing
/// left to try (a second), and longer than the controllers take to replace a victim.
pub(super) const QUIET: Duration = Duration::from_millis(2500);
/// If nothing has changed for this long, in addition to the longest backoff, nothing more is expected.
const STALLED: Duration = Duration::from_secs(35);

/// A snapshot of everything that matters for the decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub counts: Counts,
    /// Total number of pods to be created, without those that never will be.
    pub expected: u64,
    /// All create requests have been answered.
    pub created: bool,
    /// The scheduler has nothing left to try.
    pub idle: bool,
    /// Maximum time between two attempts of the scheduler at a pod.
    pub max_backoff: Duration,
    /// Time since a pod last changed.
    pub quiet: Duration,
}

impl Situation {
    /// Whether this is the end, and why.
    pub fn end(&self) -> Option<Ended> {
        let counts = self.counts;
        let complete =
            self.created && counts.seen >= self.expected && counts.waiting + counts.terminating == 0;
        // A deleted pod may be replaced by its controller; a rejected one may be tried again.
        // Some are retried forever (for example if there are no nodes at all): one more attempt with the same result is enough.
        let tried_again = self.quiet >= self.max_backoff + QUIET;
        let lasting = counts.rejected + counts.gone == 0 || (self.idle && self.quiet >= QUIET) || tried_again;
        if complete && lasting {
            Some(Ended::Settled)
        } else if self.created && self.quiet >= self.max_backoff + STALLED {
            Some(Ended::Stalled)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::ZERO;
    const BACKOFF: Duration = Duration::from_secs(10);

    fn end(counts: Counts, idle: bool, quiet: Duration) -> Option<Ended> {
        Situation { counts, expected: 3, created: true, idle, max_backoff: BACKOFF, quiet }.end()
    }

    #[test]
    fn all_bound_is_the_end_at_once() {
        assert_eq!(
            end(Counts { seen: 3, bound: 3, ..Counts::default() }, false, NEVER),
            Some(Ended::Settled)
        );
        assert_eq!(end(Counts { seen: 3, bound: 2, waiting: 1, ..Counts::default() }, true, QUIET), None);
        assert_eq!(end(Counts { seen: 2, bound: 2, ..Counts::default() }, true, QUIET), None);
        assert_eq!(
            end(Counts { seen: 3, bound: 2, foreign: 1, ..Counts::default() }, false, NEVER),
            Some(Ended::Settled)
        );
    }

    #[test]
    fn rejected_pods_may_be_tried_again() {
        let counts = Counts { seen: 3, bound: 2, rejected: 1, ..Counts::default() };
        assert_eq!(end(counts, true, NEVER), None);
        assert_eq!(end(counts, false, QUIET), None);
        assert_eq!(end(counts, true, QUIET), Some(Ended::Settled));
        assert_eq!(end(counts, false, BACKOFF + QUIET), Some(Ended::Settled));
        assert_eq!(end(Counts { terminating: 1, ..counts }, true, QUIET), None);
    }

    #[test]
    fn what_never_changes_ends_too() {
        let counts = Counts { seen: 3, bound: 2, waiting: 1, ..Counts::default() };
        assert_eq!(end(counts, true, STALLED), None);
        assert_eq!(end(counts, false, BACKOFF + STALLED), Some(Ended::Stalled));
        let creating = Situation {
            counts,
            expected: 3,
            created: false,
            idle: true,
            max_backoff: BACKOFF,
            quiet: BACKOFF + STALLED,
        };
        assert_eq!(creating.end(), None);
    }
}
