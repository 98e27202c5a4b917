//! Waits for a state of the cluster, by polling, never by a fixed sleep.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The minimum pause between two probes, short compared with what is waited for.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The maximum pause, whatever a probe costs.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Calls `probe` until it returns a value, and returns that value.
///
/// An error of the probe counts as "not yet" (an API server that restarts refuses connections); the last one is part
/// of the message if the deadline passes.
///
/// # Errors
///
/// When `deadline` has passed: names `what` was waited for.
pub fn wait_until<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let look = Instant::now();
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= deadline {
            match last {
                Some(error) => bail!("waited {deadline:?} for {what}; the last look failed: {error:#}"),
                None => bail!("waited {deadline:?} for {what}"),
            }
        }
        // A list of thousands of nodes costs the API server more than the wait is worth, so most of the time is spent pausing.
        std::thread::sleep((look.elapsed() * 3).clamp(PAUSE_MIN, PAUSE_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_look_is_not_the_end_and_the_last_failure_is_told() {
        let mut looks = 0;
        let value = wait_until(Duration::from_secs(30), "the third look", || {
            looks += 1;
            match looks {
                1 => bail!("refused"),
                2 => Ok(None),
                _ => Ok(Some(looks)),
            }
        })
        .unwrap();
        assert_eq!(value, 3);

        let error = wait_until::<()>(Duration::ZERO, "nothing", || bail!("refused")).unwrap_err();
        assert_eq!(error.to_string(), "waited 0ns for nothing; the last look failed: refused");
    }
}
