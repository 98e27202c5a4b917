//! Where binds are decided about, one after the other: the books under one lock, and whether they may be trusted now.

use super::review::Asked;
use crate::call::{Call, CallError, Caller};
use crate::clock::Clock;
use crate::watch::Currency;
use crate::write::Leading;
use secondmate_guard::{Bind, Decision, Found, Guard, Look, Settled, Standing, Times, Verdict};
use secondmate_model::objects::Source;
use secondmate_model::{Pod, Timestamp, Uid};
use secondmate_telemetry::Metrics;
use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

/// How long the watches have to show a pod that they do not show yet. Who binds has seen it, so they are about to; a read would not be
/// quicker, and would cost the API server more.
const WATCHES_HAVE: Duration = Duration::from_millis(10);
/// Pause after the books were asked in vain for a pod that the watches do not show yet: many binds may wait, and each piece of news wakes all.
const ASKED_IN_VAIN: Duration = Duration::from_millis(2);
/// Longest wait for the API server to show a pod that the watches do not show, including the wait for other such looks: a webhook has a few
/// seconds for its answer.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);
/// Such looks at once; further ones wait.
const LOOKS_MAX: usize = 32;
/// A turn of the books' task lasts a quarter of a second. Who has not turned for so long was stopped, and has read no watch since; on a
/// busy machine it may be late by a second or two.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// After so long without a turn it will not turn again.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// For so long after a stop, or after a watch was interrupted, nothing is refused: what the watches have to tell meanwhile has arrived by
/// then.
pub(super) const CATCH_UP: Duration = Duration::from_secs(1);

/// The desk. Clones share it.
#[derive(Clone)]
pub(super) struct Desk {
    shared: Arc<Shared>,
}

struct Shared {
    guard: Mutex<Guard>,
    clock: Clock,
    leading: Leading,
    currency: Currency,
    caller: Caller,
    metrics: Metrics,
    looks: Semaphore,
    /// Changes whenever the watches have told something.
    news: watch::Sender<()>,
    /// Known to lag: see [`Guard::lags`].
    lags: AtomicBool,
    /// When the books' task turned last, and until when it catches up after a stop: nanoseconds of the clock.
    turned: AtomicI64,
    catches_up_until: AtomicI64,
    /// How many interruptions of the watches the books have caught up with; `None`: not even with the first lists.
    caught_up: watch::Sender<Option<u64>>,
    /// Why nothing is refused now, as it was last said.
    said: Mutex<Option<String>>,
}

impl Desk {
    pub fn new(leading: Leading, currency: Currency, caller: Caller, metrics: Metrics) -> Self {
        let clock = Clock::start();
        Self {
            shared: Arc::new(Shared {
                guard: Mutex::new(Guard::new(Times::default())),
                turned: AtomicI64::new(clock.now().nanos),
                catches_up_until: AtomicI64::new(i64::MIN),
                caught_up: watch::Sender::new(None),
                clock,
                leading,
                currency,
                caller,
                metrics,
                looks: Semaphore::new(LOOKS_MAX),
                news: watch::Sender::new(()),
                lags: AtomicBool::new(false),
                said: Mutex::new(None),
            }),
        }
    }

    /// The books.
    pub fn guard(&self) -> MutexGuard<'_, Guard> {
        // Nothing panics half-way through a change; and a guard that stops answering protects nobody.
        self.shared.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The right to decide.
    pub fn leading(&self) -> Leading {
        self.shared.leading.clone()
    }

    /// Whether it may refuse now.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, now: Timestamp) -> Result<(), (Standing, String)> {
        let shared = &self.shared;
        if !shared.leading.may_write() {
            return Err((Standing::NotLeading, "another guard holds the Lease, or none does yet".to_owned()));
        }
        let not_in_sync = |why: String| Err((Standing::NotInSync, why));
        if let Err(why) = shared.currency.check() {
            return not_in_sync(why);
        }
        if *shared.caught_up.borrow() != Some(shared.currency.interruptions()) {
            return not_in_sync("what the watches have shown in the meantime is being read".to_owned());
        }
        if shared.lags.load(Ordering::Relaxed) {
            return not_in_sync(
                "the API server has bound or deleted pods, and the watches do not show it yet".to_owned(),
            );
        }
        let turned = Timestamp { nanos: shared.turned.load(Ordering::Relaxed) };
        if now.since(turned) > SILENCE_MAX || now.nanos < shared.catches_up_until.load(Ordering::Relaxed) {
            return not_in_sync("this process was stopped for a while, and catches up".to_owned());
        }
        Ok(())
    }

    /// Whether it decides.
    ///
    /// # Errors
    /// Why it lets everything pass.
    pub fn decides(&self) -> Result<(), String> {
        self.check(self.now()).map_err(|(_, why)| why)
    }

    /// Whether the first lists are in; later trouble with a watch makes it pass binds, and is no reason to lead them elsewhere.
    ///
    /// # Errors
    /// They are not.
    pub fn is_listed(&self) -> Result<(), String> {
        if self.guard().is_listed() {
            Ok(())
        } else {
            Err("waiting for the bind guard's caches to sync".to_owned())
        }
    }

    /// How often the watches have been interrupted, if the books have not caught up with that and can do so now: the first lists are
    /// complete, and the watches are up to date again.
    pub fn to_catch_up_with(&self) -> Option<u64> {
        // Read first: if the next interruption comes right after this, it is not taken for this one.
        let interruptions = self.shared.currency.interruptions();
        let is_behind = *self.shared.caught_up.borrow() != Some(interruptions);
        let can = is_behind && self.is_listed().is_ok() && self.shared.currency.check().is_ok();
        can.then_some(interruptions)
    }

    /// The books contain what the watches had to tell after so many interruptions.
    pub fn caught_up(&self, interruptions: u64) {
        self.shared.caught_up.send_replace(Some(interruptions));
    }

    /// Returns when the books contain the first lists.
    pub async fn first_lists(&self) {
        let mut caught_up = self.shared.caught_up.subscribe();
        // It does not fail: the sender is here.
        let _ = caught_up.wait_for(Option::is_some).await;
    }

    /// Whether the books are kept.
    ///
    /// # Errors
    /// Their task has not turned for too long.
    pub fn turns(&self) -> Result<(), String> {
        let silence = self.now().since(Timestamp { nanos: self.shared.turned.load(Ordering::Relaxed) });
        if silence > STUCK_AFTER {
            return Err(format!("the books of the bind guard have not been kept for {silence:?}"));
        }
        Ok(())
    }

    /// Decides about a bind.
    pub async fn decide(&self, asked: &Asked) -> Verdict {
        let began = Instant::now();
        let pod = self.pod_of(&asked.bind).await;
        let now = self.now();
        let standing = match self.check(now) {
            Ok(()) => Standing::Decides,
            Err((standing, _)) => standing,
        };
        let decision = self.guard().decide(&asked.bind, pod.as_ref(), standing, now);
        self.count(&asked.bind, &decision);
        self.shared.metrics.guard.answer_duration.observe(began.elapsed().as_secs_f64());
        decision.verdict
    }

    fn count(&self, bind: &Bind, Decision { verdict, scheduler }: &Decision) {
        let metrics = &self.shared.metrics.guard;
        let scheduler = scheduler.as_ref().map_or("", |name| name.as_str());
        metrics.binds(scheduler, verdict.word()).inc();
        let Verdict::Refused(refusal) = verdict else { return };
        let first = refusal.first.as_ref().map_or("", |first| first.scheduler.as_str());
        if let Some(shortage) = refusal.shortages.first() {
            metrics.refused(shortage.word(), first).inc();
        }
        info!(pod = %refusal.pod, node = %bind.node, scheduler, dry_run = bind.dry_run, "refused: {refusal}");
    }

    /// A request that is no review of a bind, or whose body could not be read; it is answered so, and what it was about is carried out.
    pub fn malformed(&self, why: &str) {
        self.shared.metrics.guard.binds("", "malformed").inc();
        debug!("not a review of a bind: {why}");
    }

    /// A request that could not be read since too many are being read; what it was about is carried out.
    pub fn overloaded(&self) {
        self.shared.metrics.guard.binds("", "overloaded").inc();
    }

    /// The pod that a bind is about.
    async fn pod_of(&self, bind: &Bind) -> Option<Arc<Pod>> {
        // Before the first look, so that nothing is missed between the two.
        let mut news = self.shared.news.subscribe();
        let known = self.guard().pod_of(bind);
        // The one that decides has to know it, and nobody else.
        if known.is_some() || !self.shared.leading.may_write() {
            return known;
        }
        let mut shown = pin!(async {
            while news.changed().await.is_ok() {
                if let Some(pod) = self.guard().pod_of(bind) {
                    return pod;
                }
                sleep(ASKED_IN_VAIN).await;
            }
            pending().await
        });
        if let Ok(pod) = timeout(WATCHES_HAVE, shown.as_mut()).await {
            return Some(pod);
        }
        tokio::select! {
            pod = shown => Some(pod),
            pod = self.look_up(bind) => pod.or_else(|| self.guard().pod_of(bind)),
        }
    }

    /// Lets those look again who wait for a pod to be shown.
    pub fn has_news(&self) {
        self.shared.news.send_replace(());
    }

    /// A pod that the watches do not show, from the API server.
    async fn look_up(&self, bind: &Bind) -> Option<Arc<Pod>> {
        let call = Call::get(format!("/api/v1/namespaces/{}/pods/{}", bind.namespace, bind.name));
        let read = async {
            let _slot = self.shared.looks.acquire().await.ok()?;
            self.shared.caller.read(&call).await.ok()
        };
        let body = timeout(LOOK_TIMEOUT, read).await.ok()??;
        let pod = Source::try_from(&*body).and_then(Source::pod).ok()?;
        Pod::new(&pod).ok().map(Arc::new)
    }

    /// A turn of the books' task: what is due, and whether the books may be trusted. Returns pods to be looked at, at most so many.
    pub fn turn(&self, looks_at_most: usize) -> Vec<Look> {
        let (shared, now) = (&self.shared, self.now());
        let turned = Timestamp { nanos: shared.turned.swap(now.nanos, Ordering::Relaxed) };
        if now.since(turned) > SILENCE_MAX {
            shared.catches_up_until.store((now + CATCH_UP).nanos, Ordering::Relaxed);
        }
        let (looks, expired) = {
            let mut guard = self.guard();
            let expired = guard.expire(now);
            shared.metrics.guard.unseen.set(i64::try_from(guard.unseen()).unwrap_or(i64::MAX));
            shared.lags.store(guard.lags(now), Ordering::Relaxed);
            (guard.looks(now, looks_at_most), expired)
        };
        if expired > 0 {
            shared.metrics.guard.settled(Settled::Expired.word()).inc_by(expired as u64);
            warn!(expired, "approvals were given back, because nobody could say what became of them");
        }
        self.say(self.check(now));
        looks
    }

    /// One more pod to be looked at, if one is due.
    pub fn next_look(&self) -> Option<Look> {
        self.guard().looks(self.now(), 1).pop()
    }

    /// Says it when it begins or ceases to decide.
    fn say(&self, check: Result<(), (Standing, String)>) {
        self.shared.metrics.guard.deciding.set(i64::from(check.is_ok()));
        let mut said = self.shared.said.lock().unwrap_or_else(PoisonError::into_inner);
        let why = check.err().map(|(_, why)| why);
        if *said == why {
            return;
        }
        match &why {
            Some(why) => warn!("binds pass without a decision: {why}"),
            None => info!("binds are decided about"),
        }
        *said = why;
    }

    /// Looks at a pod whose approval is unseen for too long, or that stands in another's way.
    pub async fn look(&self, look: Look) {
        let path = format!("/api/v1/namespaces/{}/pods/{}", look.namespace, look.name);
        let found = match self.shared.caller.read(&Call::get(path)).await {
            Ok(body) => found(&body, &look.uid),
            Err(CallError::Answered { code: 404, .. }) => Found::Gone,
            Err(error) => {
                debug!(pod = %look.name, "what became of a bind is not known: {error}");
                Found::Unknown
            }
        };
        let settled = {
            let now = self.now();
            let mut guard = self.guard();
            let settled = guard.found(&look, &found, now);
            self.shared.lags.store(guard.lags(now), Ordering::Relaxed);
            settled
        };
        self.settled(settled);
    }

    /// What became of an approval.
    pub fn settled(&self, settled: Option<Settled>) {
        if let Some(settled) = settled {
            self.shared.metrics.guard.settled(settled.word()).inc();
        }
    }

    /// A pod appeared on its node, and the books contain no request for it: the guard was not asked, or could not tell what it was asked
    /// about, or has given the room back since. After a change of leaders it may have been approved by the former one.
    pub fn unasked(&self, pod: &Pod) {
        if self.decides().is_ok() && self.shared.leading.is_settled() {
            self.shared.metrics.guard.bound_unasked.inc();
            debug!(pod = pod.full_name(), "bound, and the guard knows of no request for it");
        }
    }
}

fn found(body: &[u8], uid: &Uid) -> Found {
    match Source::try_from(body).and_then(Source::pod) {
        Ok(pod) if &*pod.metadata.uid != uid.as_str() => Found::Gone,
        Ok(pod) if matches!(&*pod.status.phase, "Succeeded" | "Failed") => Found::Gone,
        Ok(pod) if pod.spec.node_name.is_empty() => Found::Unbound,
        Ok(pod) => Found::On(secondmate_model::Atom::new(&pod.spec.node_name)),
        Err(_) => Found::Unknown,
    }
}

#[cfg(test)]
mod tests;
