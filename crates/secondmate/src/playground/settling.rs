//! When the playground has seen all that there will be.

use super::observations::Counts;
use super::summary::Ended;
use std::time::Duration;

/// How long nothing may have changed where some pods are left over: longer than the scheduler takes to say that it has nothing
/// left to try (a second), and than the controllers take to replace a victim.
const QUIET: Duration = Duration::from_millis(2500);
/// After this time without any change nothing is expected any more. Longer than the longest backoff (10 s).
const STALLED: Duration = Duration::from_secs(45);

/// A look at everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub counts: Counts,
    /// Pods that are to be created, in all.
    pub expected: u64,
    /// All requests that create were answered.
    pub created: bool,
    /// The scheduler has nothing left to try.
    pub idle: bool,
    /// How long no pod has changed.
    pub quiet: Duration,
}

impl Situation {
    /// Whether this is the end, and why.
    pub fn end(&self) -> Option<Ended> {
        let counts = self.counts;
        let complete =
            self.created && counts.seen >= self.expected && counts.waiting + counts.terminating == 0;
        // A deleted pod may be replaced by its controller; a rejected one may be tried again.
        let lasting = counts.rejected + counts.gone == 0 || (self.idle && self.quiet >= QUIET);
        if complete && lasting {
            Some(Ended::Settled)
        } else if self.created && self.quiet >= STALLED {
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

    fn end(counts: Counts, idle: bool, quiet: Duration) -> Option<Ended> {
        Situation { counts, expected: 3, created: true, idle, quiet }.end()
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
        assert_eq!(end(Counts { terminating: 1, ..counts }, true, QUIET), None);
    }

    #[test]
    fn what_never_changes_ends_too() {
        let counts = Counts { seen: 3, bound: 2, waiting: 1, ..Counts::default() };
        assert_eq!(end(counts, false, STALLED), Some(Ended::Stalled));
        let creating = Situation { counts, expected: 3, created: false, idle: true, quiet: STALLED };
        assert_eq!(creating.end(), None);
    }
}
