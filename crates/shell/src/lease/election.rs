//! The election itself: a standby waits, a leader renews.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use secondmate_telemetry::Counter;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{CallError, Claim, LeaseApi, LeaseName, Observation, Term};

/// Pauses between attempts are longer by a random share of up to this factor, so that candidates do not run in lockstep.
const JITTER_FACTOR: f64 = 1.2;

/// Between a release that came upon somebody else's write, and the next try.
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

/// Tells the time of day, for the times in the record that people read.
pub type WallClock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// How an election is conducted.
#[derive(Clone)]
pub struct ElectionConfig {
    /// The Lease.
    pub lease: LeaseName,
    /// Unique to each process: see [`super::identity`].
    pub identity: String,
    /// What the Lease is wanted for; recorded in its annotations.
    pub claim: Claim,
    /// Whether this process is known to lack permission to list what is needed to find scheduler names that nobody serves; also recorded in
    /// the annotations, so that another process does it instead.
    pub may_not_list: Arc<AtomicBool>,
    /// How long a standby waits after the last change that it saw. At least one second.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Pause between attempts.
    pub retry_period: Duration,
    /// Seed for the jitter of the pauses.
    pub jitter_seed: u64,
    /// Provides the times in the record.
    pub wall_clock: WallClock,
    /// Counts renewals for which the Lease had to be read first.
    pub slow_path: Counter,
}

impl ElectionConfig {
    /// kube-scheduler's timing: 15 s, 10 s, 2 s.
    pub fn new(lease: LeaseName, identity: impl Into<String>, claim: Claim) -> Self {
        let identity = identity.into();
        let jitter_seed = identity.bytes().fold(0xcbf2_9ce4_8422_2325, |seed: u64, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            lease,
            identity,
            claim,
            may_not_list: Arc::default(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            jitter_seed,
            wall_clock: Arc::new(jiff::Timestamp::now),
            slow_path: Counter::default(),
        }
    }

    fn validate(&self) -> Result<(), ElectionConfigError> {
        let invalid = |reason| Err(ElectionConfigError { lease: self.lease.to_string(), reason });
        if self.identity.is_empty() {
            return invalid("the identity is empty");
        }
        if self.lease_duration < Duration::from_secs(1) {
            return invalid("leaseDuration must be at least 1 second");
        }
        if self.retry_period.is_zero() {
            return invalid("retryPeriod must be greater than zero");
        }
        if self.lease_duration <= self.renew_deadline {
            return invalid("leaseDuration must be greater than renewDeadline");
        }
        if self.renew_deadline <= self.retry_period.mul_f64(JITTER_FACTOR) {
            return invalid("renewDeadline must be greater than 1.2 times retryPeriod");
        }
        Ok(())
    }

    /// Maximum wait for one answer: a second attempt must fit into the renew deadline.
    fn call_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }
}

impl fmt::Debug for ElectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectionConfig")
            .field("lease", &self.lease)
            .field("identity", &self.identity)
            .field("claim", &self.claim)
            .field("lease_duration", &self.lease_duration)
            .field("renew_deadline", &self.renew_deadline)
            .field("retry_period", &self.retry_period)
            .finish_non_exhaustive()
    }
}

/// The times of an election contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leader election on {lease}: {reason}")]
pub struct ElectionConfigError {
    /// The Lease.
    pub lease: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// How an election ended. In each case the term has been withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionEnd {
    /// Cancelled while another process led.
    NeverLed,
    /// Cancelled while leading; the next process may take over at once.
    Released,
    /// Cancelled while leading, but the release did not succeed: the next process has to wait until the lease expires.
    NotReleased {
        /// Why not.
        reason: String,
    },
    /// Leadership was lost. The process must exit.
    Lost {
        /// Why.
        reason: String,
    },
}

/// What others can see of an election.
#[derive(Clone, Debug)]
pub struct ElectionHandle {
    /// The term, while this process leads.
    pub term: watch::Receiver<Option<Term>>,
    /// The Lease as last seen; `None` before it was first read, or if it does not exist.
    pub observation: watch::Receiver<Option<Observation>>,
}

/// A candidate. [`Self::run`] it once.
#[derive(Debug)]
pub struct Election<A> {
    api: A,
    config: ElectionConfig,
    jitter: fastrand::Rng,
    /// The record when it last changed, and the local time at which that was seen.
    observed: Option<(LeaseSpec, Instant)>,
    /// The Lease as the API server returned it after our last write; the basis of the next renewal.
    held: Option<Lease>,
    /// The last time written to the record.
    last_time: Option<jiff::Timestamp>,
    /// The last failure that was logged, and when the trouble began.
    trouble: Option<(String, Instant)>,
    term: watch::Sender<Option<Term>>,
    observation: watch::Sender<Option<Observation>>,
}

/// The result of an attempt to acquire or renew the Lease.
enum Attempt {
    /// It is ours. `sent` is a moment before the successful write was sent.
    Ours { sent: Instant, transitions: i32 },
    /// Another process holds it, and its lease has not expired.
    Theirs { holder: String },
    /// This could not be determined, or another process wrote first.
    Failed(CallError),
}

impl<A: LeaseApi> Election<A> {
    /// A candidate that has not read the Lease yet.
    ///
    /// # Errors
    /// The times in the configuration contradict each other.
    pub fn new(api: A, config: ElectionConfig) -> Result<(Self, ElectionHandle), ElectionConfigError> {
        config.validate()?;
        let (term, term_receiver) = watch::channel(None);
        let (observation, observation_receiver) = watch::channel(None);
        let jitter = fastrand::Rng::with_seed(config.jitter_seed);
        let election = Self {
            api,
            config,
            jitter,
            observed: None,
            held: None,
            last_time: None,
            trouble: None,
            term,
            observation,
        };
        Ok((election, ElectionHandle { term: term_receiver, observation: observation_receiver }))
    }

    /// Waits for the Lease, renews it, and releases it when cancelled.
    ///
    /// Cancel only after everything that writes as the leader has stopped: the next leader may start before this returns.
    pub async fn run(mut self, cancel: CancellationToken) -> ElectionEnd {
        info!(lease = %self.config.lease, identity = %self.config.identity, "Attempting to acquire leader lease");
        let Some((term, sent)) = self.acquire(&cancel).await else { return ElectionEnd::NeverLed };
        info!(lease = %self.config.lease, transitions = term.transitions(), "Successfully acquired lease");
        match self.keep(&term, sent, &cancel).await {
            Some(reason) => {
                error!(lease = %self.config.lease, reason, "lost leadership");
                ElectionEnd::Lost { reason }
            }
            None => match self.release().await {
                Ok(()) => {
                    info!(lease = %self.config.lease, "Released lease");
                    ElectionEnd::Released
                }
                Err(error) => {
                    warn!(lease = %self.config.lease, %error, "Failed to release lease");
                    ElectionEnd::NotReleased { reason: error.to_string() }
                }
            },
        }
    }

    /// Tries until the Lease is ours; `None` if cancelled first.
    async fn acquire(&mut self, cancel: &CancellationToken) -> Option<(Term, Instant)> {
        loop {
            let attempt = tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                attempt = self.attempt() => Some(attempt),
            };
            let Some(attempt) = attempt else {
                // The interrupted attempt may have reached the API server.
                self.leave_nothing_behind().await;
                return None;
            };
            let may_have_written = !matches!(attempt, Attempt::Theirs { .. });
            match attempt {
                Attempt::Ours { sent, transitions } => {
                    let term = Term::begin(sent, transitions);
                    term.extend(sent + self.config.renew_deadline);
                    // False if the answer took so long that nothing is left of the term; then try again.
                    if term.is_valid() {
                        self.term.send_replace(Some(term.clone()));
                        return Some((term, sent));
                    }
                }
                Attempt::Theirs { holder } => {
                    self.say_well();
                    debug!(lease = %self.config.lease, holder, "lease is held and has not expired");
                }
                Attempt::Failed(error) => self.say_failed("Failed to acquire lease", &error),
            }
            let next = self.next_attempt();
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    if may_have_written {
                        self.leave_nothing_behind().await;
                    }
                    return None;
                }
                () = sleep_until(next) => {}
            }
        }
    }

    /// Releases a Lease that an attempt without an answer may have acquired: otherwise no other process could acquire it until it expires.
    async fn leave_nothing_behind(&mut self) {
        if let Err(error) = self.release().await {
            debug!(lease = %self.config.lease, %error, "nothing to release");
        }
    }

    /// When a standby tries again: after the retry period plus jitter, but no later than shortly after the expiry of the record it has
    /// seen.
    fn next_attempt(&mut self) -> Instant {
        let now = Instant::now();
        let pause = self.config.retry_period.mul_f64(1.0 + JITTER_FACTOR * self.jitter.f64());
        let slack = self.config.retry_period.mul_f64(0.1 * self.jitter.f64());
        match self.expiry() {
            Some(expiry) if expiry > now => (now + pause).min(expiry + slack),
            _ => now + pause,
        }
    }

    /// When the observed holder's lease expires, if there is a holder.
    fn expiry(&self) -> Option<Instant> {
        let (spec, at) = self.observed.as_ref()?;
        if spec.holder_identity.as_deref().unwrap_or_default().is_empty() {
            return None;
        }
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration =
            seconds.filter(|seconds| *seconds > 0).map_or(self.config.lease_duration, Duration::from_secs);
        Some(*at + duration)
    }

    /// Renews until cancelled (`None`) or until the Lease is lost (the reason). The term is withdrawn before this returns.
    async fn keep(&mut self, term: &Term, sent: Instant, cancel: &CancellationToken) -> Option<String> {
        let mut deadline = sent + self.config.renew_deadline;
        let mut last_attempt = sent;
        let mut last_error: Option<CallError> = None;
        let reason = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break None,
                () = sleep_until((last_attempt + self.config.retry_period).min(deadline)) => {}
            }
            last_attempt = Instant::now();
            let attempt = tokio::select! {
                biased;
                () = cancel.cancelled() => break None,
                attempt = timeout_at(deadline, self.attempt()) => attempt,
            };
            match attempt {
                Ok(Attempt::Ours { sent, .. }) => {
                    deadline = sent + self.config.renew_deadline;
                    term.extend(deadline);
                    last_error = None;
                    self.say_well();
                    debug!(lease = %self.config.lease, "Successfully renewed lease");
                }
                Ok(Attempt::Theirs { holder }) => break Some(format!("the lease was taken by {holder}")),
                Ok(Attempt::Failed(error)) => {
                    self.say_failed("Failed to renew lease, trying again", &error);
                    last_error = Some(error);
                }
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                let error = last_error.map_or_else(
                    || "the API server did not answer".to_owned(),
                    |error| format!("last error: {error}"),
                );
                break Some(format!(
                    "the lease could not be renewed within {:?} ({error})",
                    self.config.renew_deadline
                ));
            }
        };
        // First make sure that nothing writes any more.
        self.withdraw();
        reason
    }

    /// Logs a failure, but not the same one repeatedly.
    fn say_failed(&mut self, what: &'static str, error: &CallError) {
        let text = error.to_string();
        match &mut self.trouble {
            Some((said, _)) if *said == text => debug!(lease = %self.config.lease, %error, "{what}"),
            trouble => {
                warn!(lease = %self.config.lease, %error, "{what}");
                let since = trouble.as_ref().map_or_else(Instant::now, |(_, since)| *since);
                *trouble = Some((text, since));
            }
        }
    }

    /// The Lease could be read or written: logs that if it was not so before.
    fn say_well(&mut self) {
        if let Some((_, since)) = self.trouble.take() {
            let seconds = since.elapsed().as_secs_f64();
            info!(lease = %self.config.lease, "the Lease can be read and written again, after {seconds:.1} s");
        }
    }

    fn withdraw(&self) {
        if let Some(term) = self.term.send_replace(None) {
            term.withdraw();
        }
    }

    /// Reads the Lease once, and writes it if that is appropriate.
    async fn attempt(&mut self) -> Attempt {
        // Usually nobody else has written since, so renew without reading.
        if self.is_leading()
            && let Some(held) = self.held.take()
        {
            let (sent, answer) = self.write(&held, Write::Renew).await;
            match answer {
                Ok(lease) => return self.took(sent, lease),
                Err(error) => {
                    self.config.slow_path.inc();
                    debug!(lease = %self.config.lease, %error, "renewing from the last known state failed")
                }
            }
        }
        let lease = match self.call(self.api.get()).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                // The Lease has been deleted. Its holder does not learn of that: for a standby, the term that it saw is still running,
                // while the holder recreates the Lease at its next renewal. (client-go would have two leaders here.)
                if !self.is_leading()
                    && self.expiry().is_some_and(|expiry| Instant::now() < expiry)
                    && let Some((spec, _)) = &self.observed
                {
                    return Attempt::Theirs { holder: spec.holder_identity.clone().unwrap_or_default() };
                }
                self.observation.send_replace(None);
                let (sent, answer) = self.create().await;
                return answer.map_or_else(Attempt::Failed, |lease| self.took(sent, lease));
            }
            Err(error) => return Attempt::Failed(error),
        };
        self.observe(&lease);
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let ours = holder == self.config.identity;
        if !ours && self.expiry().is_some_and(|expiry| Instant::now() < expiry) {
            return Attempt::Theirs { holder };
        }
        if !ours && self.is_leading() {
            // The new holder's lease may have expired since, but our term ended when the Lease was taken.
            return Attempt::Theirs { holder };
        }
        let (sent, answer) = self.write(&lease, if ours { Write::Renew } else { Write::Acquire }).await;
        answer.map_or_else(Attempt::Failed, |lease| self.took(sent, lease))
    }

    fn is_leading(&self) -> bool {
        self.term.borrow().is_some()
    }

    fn took(&mut self, sent: Instant, lease: Lease) -> Attempt {
        self.observe(&lease);
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        self.held = Some(lease);
        Attempt::Ours { sent, transitions }
    }

    /// Remembers when the record changed, by the local clock.
    fn observe(&mut self, lease: &Lease) {
        let spec = lease.spec.clone().unwrap_or_default();
        if self.observed.as_ref().is_none_or(|(observed, _)| *observed != spec) {
            self.observed = Some((spec, Instant::now()));
        }
        let seen = Observation::of(lease, &self.config.lease, &self.config.identity);
        self.observation.send_if_modified(|observation| {
            if observation.as_ref() == Some(&seen) {
                return false;
            }
            if observation.as_ref().is_none_or(|before| before.holder != seen.holder) && !seen.is_self {
                info!(lease = %seen.lease, holder = seen.holder, "New leader observed");
            }
            *observation = Some(seen);
            true
        });
    }

    async fn create(&mut self) -> (Instant, Result<Lease, CallError>) {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.config.lease.name.clone()),
                namespace: Some(self.config.lease.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        let lease = self.filled(&lease, Write::Create);
        let sent = Instant::now();
        (sent, self.call(self.api.create(&lease)).await)
    }

    /// Overwrites a state that was read: this succeeds only if nothing has been written since.
    async fn write(&mut self, read: &Lease, write: Write) -> (Instant, Result<Lease, CallError>) {
        let lease = self.filled(read, write);
        let sent = Instant::now();
        (sent, self.call(self.api.replace(&lease)).await)
    }

    /// The time of day, but strictly increasing, even if the clock stands still or goes backwards: each renewal must change the record,
    /// since that is all a standby looks for.
    fn next_time(&mut self) -> jiff::Timestamp {
        let now = (self.config.wall_clock)();
        let next = self.last_time.map_or(now, |last| now.max(last + jiff::SignedDuration::from_micros(1)));
        self.last_time = Some(next);
        next
    }

    /// The Lease with this process (or nobody) as its holder, and everything else as it was read.
    fn filled(&mut self, read: &Lease, write: Write) -> Lease {
        let now = MicroTime(self.next_time());
        let mut lease = read.clone();
        let spec = lease.spec.get_or_insert_default();
        let transitions = spec.lease_transitions.unwrap_or(0);
        // Fractions of a second are rounded up: a standby must never wait for less than we promise.
        let seconds = self.config.lease_duration.as_millis().div_ceil(1000);
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.holder_identity = Some(self.config.identity.clone());
        spec.renew_time = Some(now.clone());
        match write {
            Write::Create => {
                spec.acquire_time = Some(now);
                spec.lease_transitions = Some(0);
            }
            Write::Acquire => {
                spec.acquire_time = Some(now);
                spec.lease_transitions = Some(transitions.saturating_add(1));
            }
            Write::Renew => {}
            Write::Release => {
                spec.acquire_time = Some(now);
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
            }
        }
        if write == Write::Release {
            Claim::remove(&mut lease);
        } else {
            let may_not_list = self.config.may_not_list.load(Ordering::Relaxed);
            self.config.claim.write(&mut lease, &self.config.identity, may_not_list);
        }
        lease
    }

    /// Gives the Lease back if it is ours, within the renew deadline. A write that was cut short may take effect between the look and the
    /// release: then both are made again, as client-go does.
    async fn release(&mut self) -> Result<(), CallError> {
        let deadline = Instant::now() + self.config.renew_deadline;
        loop {
            let limit = CallError::Timeout(self.config.renew_deadline);
            match timeout_at(deadline, self.try_release()).await.unwrap_or(Err(limit)) {
                Err(CallError::Conflict(_)) if Instant::now() + RELEASE_PAUSE < deadline => {
                    sleep(RELEASE_PAUSE).await;
                }
                end => return end,
            }
        }
    }

    async fn try_release(&mut self) -> Result<(), CallError> {
        // What we held may be behind: a renewal may have been cut short after it took effect.
        let Some(lease) = self.call(self.api.get()).await? else { return Ok(()) };
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(self.config.identity.as_str()) {
            return Ok(());
        }
        let (_, answer) = self.write(&lease, Write::Release).await;
        let released = answer?;
        self.observe(&released);
        Ok(())
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let limit = self.config.call_timeout();
        timeout(limit, call).await.unwrap_or(Err(CallError::Timeout(limit)))
    }
}

impl<A> Drop for Election<A> {
    fn drop(&mut self) {
        // Also needed if the task is aborted: then nothing is left that could renew.
        if let Some(term) = self.term.send_replace(None) {
            term.withdraw();
        }
    }
}

/// Why the Lease is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Create,
    Acquire,
    Renew,
    Release,
}
