//! An ignorable extender that keeps failing is not called for a while, since each failure can take as long as its timeout.

use super::error::AskError;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Consecutive failures after which it is not called.
pub(super) const FAILURES_MAX: u32 = 5;
/// For how long it is not called.
pub(super) const PAUSE: Duration = Duration::from_secs(30);

/// Counts the failures of one extender.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Consecutive failures.
    failures: u32,
    last: String,
    /// Not called until then; after that, one call is let through.
    until: Option<Instant>,
}

/// What changed with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The extender is suspended for a while.
    Suspended,
    /// It answers again.
    Recovered,
}

impl Breaker {
    /// Whether the extender may be called now.
    ///
    /// # Errors
    /// It may not, and why.
    pub fn admit(&self) -> Result<(), AskError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.until {
            Some(until) if Instant::now() < until => {
                Err(AskError::Suspended { failures: state.failures, last: state.last.clone() })
            }
            Some(_) => {
                // A single call shows whether it answers again; the others do not wait for it.
                state.until = Some(Instant::now() + PAUSE);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Records the end of a call, with its error if it failed.
    pub fn record(&self, error: Option<&str>) -> Option<Change> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error else {
            let before = std::mem::take(&mut *state);
            return before.until.is_some().then_some(Change::Recovered);
        };
        state.failures = state.failures.saturating_add(1);
        error.clone_into(&mut state.last);
        if state.failures < FAILURES_MAX {
            return None;
        }
        let first = state.until.is_none();
        state.until = Some(Instant::now() + PAUSE);
        first.then_some(Change::Suspended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn after_failures_in_a_row_it_is_asked_now_and_then_until_it_answers() {
        let breaker = Breaker::default();
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.record(Some("EOF")), None);
        }
        assert_eq!(breaker.record(None), None, "an answer ends the row");
        for _ in 1..FAILURES_MAX {
            assert_eq!(breaker.record(Some("EOF")), None);
        }
        assert!(breaker.admit().is_ok());
        assert_eq!(breaker.record(Some("EOF")), Some(Change::Suspended));
        let admitted = || breaker.admit().map_err(|error| error.to_string());
        let not_asked = Err("not asked, as it has failed 5 times in a row: EOF".to_owned());
        assert_eq!(admitted(), not_asked);
        advance(PAUSE).await;
        assert_eq!(admitted(), Ok(()));
        assert_eq!(admitted(), not_asked, "one call at a time");
        assert_eq!(breaker.record(Some("EOF")), None, "told once");
        advance(PAUSE).await;
        assert_eq!(admitted(), Ok(()));
        assert_eq!(breaker.record(None), Some(Change::Recovered));
        assert_eq!(admitted(), Ok(()));
    }
}
