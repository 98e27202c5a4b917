//! An outage of the API server, reported once when it begins and once when it is over, however many requests fail in between.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use tracing::{info, warn};

/// Whose requests are unanswered, and since when. Clones share it. Its size is bounded by the number of callers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outage {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    unanswered: BTreeSet<String>,
    since: Option<Instant>,
}

impl Outage {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `who` got no answer. Logs it if all was well before; returns whether it did.
    pub fn failed(&self, who: &str, why: &str) -> bool {
        let mut state = self.lock();
        state.unanswered.insert(who.to_owned());
        if state.since.is_some() {
            return false;
        }
        state.since = Some(Instant::now());
        drop(state);
        warn!(
            by = who,
            "no answer from the API server: {why}; trying again, and saying no more until it is over"
        );
        true
    }

    /// `who` got an answer. Logs it if everyone does again; returns whether it did.
    pub fn answered(&self, who: &str) -> bool {
        let mut state = self.lock();
        if !state.unanswered.remove(who) || !state.unanswered.is_empty() {
            return false;
        }
        let lasted = state.since.take().map(|since| since.elapsed()).unwrap_or_default();
        drop(state);
        info!("the API server answers again, after {:.1} s", lasted.as_secs_f64());
        true
    }

    /// Whether anyone is waiting for an answer.
    pub fn is_on(&self) -> bool {
        self.lock().since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_told_once_and_once_again_when_everybody_is_answered() {
        let outage = Outage::default();
        assert!(!outage.answered("pods"), "there was none");
        assert!(outage.failed("pods", "connection refused"));
        assert!(!outage.failed("nodes", "connection refused"));
        assert!(!outage.failed("pods", "connection refused"));
        assert!(outage.is_on());
        assert!(!outage.answered("pods"), "nodes are not answered yet");
        assert!(outage.answered("nodes"));
        assert!(!outage.is_on());
        assert!(outage.failed("pods", "again"), "another one");
    }
}
