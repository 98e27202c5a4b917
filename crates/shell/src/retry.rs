//! When a call is sent again, how long after, and when it is given up.

use crate::call::{Call, CallError, Caller};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest pause that an API server can ask for and get.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Pause where it says "later" without saying when.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Bounds of the tries of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    /// Tries at most.
    pub tries_max: u32,
    /// No try begins later than this after the first.
    pub total: Duration,
    /// Pause after the first try that failed; it grows by `factor`.
    pub pause: Duration,
    /// Growth of the pause.
    pub factor: u32,
    /// Whether a call that may have been carried out is sent again: only where doing it twice is harmless.
    pub repeat_unknown: bool,
}

impl RetryPolicy {
    /// Bindings, and writes that must not be made twice: only what was certainly not carried out is sent again.
    pub const ONCE: Self = Self {
        tries_max: 10,
        total: Duration::from_secs(60),
        pause: Duration::from_millis(100),
        factor: 2,
        repeat_unknown: false,
    };

    /// The status of a pod: four tries from 10 ms on, as upstream (`pkg/scheduler/util/utils.go`).
    pub const STATUS: Self = Self {
        tries_max: 4,
        total: Duration::from_secs(60),
        pause: Duration::from_millis(10),
        factor: 5,
        repeat_unknown: true,
    };

    /// Events: patient, as nobody waits for them.
    pub const EVENT: Self = Self {
        tries_max: 12,
        total: Duration::from_secs(120),
        pause: Duration::from_secs(1),
        factor: 2,
        repeat_unknown: true,
    };
}

/// What a call came to after all tries.
pub(crate) type Result = std::result::Result<(), Failure>;

/// Why a call was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// This process may not write (any more), and nothing was carried out.
    NotLeading,
    /// The last try ended so.
    Call(CallError),
}

/// Sends a call until it succeeds or is given up. Before each try `may_write` is asked.
pub(crate) async fn send(
    caller: &Caller,
    call: &Call,
    policy: RetryPolicy,
    may_write: impl Fn() -> bool,
) -> Result {
    let began = Instant::now();
    let mut pause = policy.pause;
    let mut tries = 1;
    loop {
        if !may_write() {
            return Err(Failure::NotLeading);
        }
        let error = match caller.write(call).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let wait = match &error {
            CallError::Answered { code: 429, retry_after, .. } => {
                retry_after.unwrap_or(RETRY_AFTER_DEFAULT).min(RETRY_AFTER_MAX)
            }
            // With a time to come back at: refused before anything was done.
            CallError::Answered { code: 503, retry_after: Some(after), .. } => (*after).min(RETRY_AFTER_MAX),
            CallError::NotSent(_) => pause,
            CallError::Answered { code: 409 | 500.., .. } | CallError::Lost(_) if policy.repeat_unknown => {
                pause
            }
            CallError::Answered { .. } | CallError::Lost(_) => return Err(Failure::Call(error)),
        };
        if tries >= policy.tries_max || began.elapsed() + wait > policy.total {
            return Err(Failure::Call(error));
        }
        sleep(wait).await;
        tries += 1;
        pause = (pause * policy.factor).min(RETRY_AFTER_MAX);
    }
}
