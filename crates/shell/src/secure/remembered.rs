//! Answers that are valid for a while.

use secondmate_telemetry::Metrics;
use secondmate_telemetry::metrics::BoundedQueue;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of answers kept. A client that uses many identities costs the API server one review each; other clients keep their
/// answers, because the answer closest to expiry makes room.
pub(super) const ANSWERS_MAX: usize = 4096;

/// A bounded number of answers, each with its expiry.
pub(super) struct Remembered<K, V> {
    answers: Mutex<HashMap<K, (V, Instant)>>,
    measured: BoundedQueue,
}

impl<K: Eq + Hash + Clone, V: Clone> Remembered<K, V> {
    /// Empty; `name` is the queue's name in the metrics.
    pub fn new(name: &str, metrics: &Metrics) -> Self {
        Self { answers: Mutex::default(), measured: metrics.bounded_queue(name, ANSWERS_MAX) }
    }

    /// The answer, while it is valid.
    pub fn get(&self, key: &K) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(key).filter(|(_, end)| *end > Instant::now()).map(|(value, _)| value.clone())
    }

    /// Keeps an answer for this long.
    pub fn keep(&self, key: K, value: V, time: Duration) {
        if time.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (_, end)| *end > now);
        }
        if answers.len() >= ANSWERS_MAX {
            self.measured.full.inc();
            let first = answers.iter().min_by_key(|(_, (_, end))| *end).map(|(key, _)| key.clone());
            if let Some(first) = first {
                answers.remove(&first);
            }
        }
        answers.insert(key, (value, now + time));
        self.measured.length.set(i64::try_from(answers.len()).unwrap_or(i64::MAX));
    }
}
