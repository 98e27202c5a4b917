//! When a call is retried, after how long, and when it is given up.

use crate::call::{Call, CallError, Caller};
use crate::write::Leading;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Maximum pause that an API server can request.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Pause if it says "later" without saying when.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// Bounds on the attempts for one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    /// Maximum number of attempts.
    pub tries_max: u32,
    /// No attempt begins later than this after the first one.
    pub total: Duration,
    /// Pause after the first failed attempt; it grows by `factor`.
    pub pause: Duration,
    /// Growth factor of the pause.
    pub factor: u32,
    /// What is retried besides calls that were certainly not carried out.
    pub repeat: Repeat,
}

/// Which calls that may have been carried out are retried nevertheless; only suitable if doing it twice is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// None.
    Nothing,
    /// Those that the API server answered with 500 or 503. The caller has to be aware that the call may have been carried out.
    ServerErrors,
    /// All: conflicts, every 5xx, lost answers. Only the result of the last attempt counts.
    All,
    /// The same for a deletion, which is carried out only once: the caller has to be aware that an earlier attempt may have done that.
    Deletion,
}

impl Repeat {
    /// Whether it matters that an attempt before the last one may have carried out the call.
    fn leaves_doubt(self) -> bool {
        matches!(self, Self::ServerErrors | Self::Deletion)
    }

    fn allows(self, error: &CallError) -> bool {
        match self {
            Self::Nothing => false,
            Self::ServerErrors => matches!(error, CallError::Answered { code: 500 | 503, .. }),
            Self::All | Self::Deletion => {
                matches!(error, CallError::Answered { code: 409 | 500.., .. } | CallError::Lost(_))
            }
        }
    }
}

impl RetryPolicy {
    /// Writes that must not be made twice: retried only if they were certainly not carried out.
    pub const ONCE: Self = Self {
        tries_max: 10,
        total: Duration::from_secs(60),
        pause: Duration::from_millis(100),
        factor: 2,
        repeat: Repeat::Nothing,
    };

    /// A Binding: four attempts starting with a pause of 10 ms, as upstream (`pkg/scheduler/util/utils.go`, `BindPod`). The API server
    /// binds a pod once and answers 409 after that, whatever became of an earlier attempt. After a lost answer there is no retry: the pod
    /// is read instead.
    pub const BIND: Self = Self {
        tries_max: 4,
        total: Duration::from_secs(60),
        pause: Duration::from_millis(10),
        factor: 5,
        repeat: Repeat::ServerErrors,
    };

    /// The status of a pod: four attempts starting with a pause of 10 ms, as upstream (`pkg/scheduler/util/utils.go`).
    pub const STATUS: Self = Self {
        tries_max: 4,
        total: Duration::from_secs(60),
        pause: Duration::from_millis(10),
        factor: 5,
        repeat: Repeat::All,
    };

    /// The deletion of a victim: as persistent as the write to its status that precedes it.
    pub const DELETION: Self = Self { repeat: Repeat::Deletion, ..Self::STATUS };

    /// Events: patient, since nothing waits for them.
    pub const EVENT: Self = Self {
        tries_max: 12,
        total: Duration::from_secs(120),
        pause: Duration::from_secs(1),
        factor: 2,
        repeat: Repeat::All,
    };
}

/// The result of a call after all attempts.
pub(crate) type Result = std::result::Result<(), Failure>;

/// Why a call was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// This process may not write (any more), and nothing was carried out.
    NotLeading,
    /// The last attempt ended with this error.
    Call(CallError),
}

/// Sends a call until it succeeds or is given up. No try begins after the end of the term, and one that is on its way then is lost: it
/// may be no further than the connection.
pub(crate) async fn send(caller: &Caller, call: &Call, policy: RetryPolicy, leading: &Leading) -> Result {
    send_while(caller, call, policy, leading, || true).await
}

/// The same, but no try begins once the call is not `wanted` any more.
pub(crate) async fn send_while(
    caller: &Caller,
    call: &Call,
    policy: RetryPolicy,
    leading: &Leading,
    wanted: impl Fn() -> bool,
) -> Result {
    let may_write = || leading.may_write() && wanted();
    let began = Instant::now();
    let mut pause = policy.pause;
    let mut tries = 1;
    // The error of an attempt that may have carried out the call.
    let mut in_doubt: Option<CallError> = None;
    loop {
        if !may_write() {
            return Err(in_doubt.map_or(Failure::NotLeading, Failure::Call));
        }
        caller.wait_for_turn(call).await;
        // The term may have ended in the meantime: with a low limit, many writes wait for long.
        if !may_write() {
            return Err(in_doubt.map_or(Failure::NotLeading, Failure::Call));
        }
        let answer = tokio::select! {
            biased;
            () = leading.ended() => {
                let error = CallError::Lost("leadership ended before it came".to_owned());
                return Err(given_up(error, in_doubt, policy.repeat));
            }
            answer = caller.write(call) => answer,
        };
        let error = match answer {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let wait = match &error {
            CallError::Answered { code: 429, retry_after, .. } => {
                retry_after.unwrap_or(RETRY_AFTER_DEFAULT).min(RETRY_AFTER_MAX)
            }
            // With a Retry-After: refused before anything was done.
            CallError::Answered { code: 503, retry_after: Some(after), .. } => (*after).min(RETRY_AFTER_MAX),
            CallError::NotSent(_) => pause,
            repeated if policy.repeat.allows(repeated) => {
                if policy.repeat.leaves_doubt() && may_have_been_done(repeated) {
                    in_doubt.get_or_insert_with(|| error.clone());
                }
                pause
            }
            CallError::Answered { .. } | CallError::Lost(_) => {
                return Err(given_up(error, in_doubt, policy.repeat));
            }
        };
        if tries >= policy.tries_max || began.elapsed() + wait > policy.total {
            return Err(given_up(error, in_doubt, policy.repeat));
        }
        sleep(wait).await;
        caller.tell_retry(call, &error);
        tries += 1;
        pause = (pause * policy.factor).min(RETRY_AFTER_MAX);
    }
}

/// Whether an attempt that ended in this way may have carried out the call.
fn may_have_been_done(error: &CallError) -> bool {
    matches!(error, CallError::Answered { code: 500.., .. } | CallError::Lost(_))
}

/// Why a call is given up: its last error, unless that says that nothing was done while an earlier attempt may have done it.
fn given_up(error: CallError, in_doubt: Option<CallError>, repeat: Repeat) -> Failure {
    // If it has already been done, that may be due to an earlier attempt.
    let says_it_was_done_already = match &error {
        CallError::Answered { code: 409, .. } => true,
        CallError::Answered { code: 404, .. } => repeat == Repeat::Deletion,
        _ => false,
    };
    let says_nothing_was_done = !says_it_was_done_already && !may_have_been_done(&error);
    Failure::Call(match in_doubt {
        Some(in_doubt) if says_nothing_was_done => in_doubt,
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Content;
    use crate::lease::Term;
    use crate::limit::RateLimit;
    use http::{Method, Request, Response};
    use kube_client::Client;
    use kube_client::client::Body;
    use secondmate_telemetry::Metrics;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::watch;

    /// A term that ends when the sender says so.
    fn leading() -> (watch::Sender<Option<Term>>, Leading) {
        let (sender, term) = watch::channel(Some(Term::unlimited()));
        (sender, Leading::new(term))
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_waited_for_its_turn_is_not_sent_by_one_that_leads_no_more() {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Body::empty())))
        });
        let limit = RateLimit::new(0.1, 1).map(Arc::new);
        let metrics = Metrics::new();
        let caller = Caller::new(Client::new(service, "default"), limit, Duration::from_secs(60));
        let caller = caller.telling(&metrics, "api:6443");
        let call = Call::get("/".to_owned());
        let (term, leading) = leading();
        let write = || send(&caller, &call, RetryPolicy::BIND, &leading);
        assert_eq!(write().await, Ok(()));

        // The limit lets the next call through ten seconds later; the term ends before that.
        let (second, ()) = tokio::join!(write(), async {
            sleep(Duration::from_secs(5)).await;
            term.send_replace(None);
        });
        assert_eq!((second, sent.load(Ordering::Relaxed)), (Err(Failure::NotLeading), 1));
        let waited = "rest_client_rate_limiter_duration_seconds_sum{verb=\"GET\",host=\"api:6443\"} 10.0";
        let text = metrics.encode();
        assert!(text.lines().any(|line| line == waited), "missing: {waited}\n{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_whose_connection_comes_after_the_end_of_the_term_is_not_sent() {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let service = tower::service_fn(move |_: Request<Body>| {
            let count = Arc::clone(&count);
            async move {
                // The connection takes so long.
                sleep(Duration::from_secs(9)).await;
                count.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
            }
        });
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(60));
        let call = Call::get("/".to_owned());
        for policy in [RetryPolicy::BIND, RetryPolicy::STATUS] {
            let (term, leading) = leading();
            let began = Instant::now();
            let (result, ()) = tokio::join!(send(&caller, &call, policy, &leading), async {
                sleep(Duration::from_secs(5)).await;
                term.send_replace(None);
            });
            let lost = CallError::Lost("leadership ended before it came".to_owned());
            assert_eq!((result, began.elapsed()), (Err(Failure::Call(lost)), Duration::from_secs(5)));
            sleep(Duration::from_secs(60)).await;
            assert_eq!(sent.load(Ordering::Relaxed), 0);
        }
    }

    /// A caller whose tries are answered by these codes in turn, the last one for ever.
    fn answered(codes: &'static [u16]) -> Caller {
        let tries = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn(move |_: Request<Body>| {
            let at = tries.fetch_add(1, Ordering::Relaxed).min(codes.len() - 1);
            let answer = Response::builder().status(codes[at]).body(Body::empty()).expect("a response");
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        Caller::new(Client::new(service, "default"), None, Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_after_a_try_that_may_have_succeeded_does_not_say_that_nothing_was_done() {
        let call = Call::new(Method::POST, "/".to_owned(), Content::Json, b"{}".to_vec());
        let (_term, leading) = leading();
        for (policy, codes, said) in [
            (RetryPolicy::BIND, &[500, 403][..], 500),
            (RetryPolicy::BIND, &[503, 429], 503),
            (RetryPolicy::BIND, &[429, 403], 403),
            (RetryPolicy::BIND, &[403], 403),
            // It has already been done, whoever did it.
            (RetryPolicy::BIND, &[500, 409], 409),
            (RetryPolicy::BIND, &[500, 404], 500),
            (RetryPolicy::DELETION, &[504, 429], 504),
            (RetryPolicy::DELETION, &[409, 403], 403),
            (RetryPolicy::DELETION, &[500, 404], 404),
            // Doing it once more does no harm, and the last attempt says how it is.
            (RetryPolicy::STATUS, &[500, 403], 403),
        ] {
            let result = send(&answered(codes), &call, policy, &leading).await;
            let Err(Failure::Call(CallError::Answered { code, .. })) = result else {
                panic!("{codes:?}: {result:?}");
            };
            assert_eq!(code, said, "{codes:?}");
        }
        // The term ends between two tries.
        for policy in [RetryPolicy::BIND, RetryPolicy::DELETION] {
            let (term, leading) = self::leading();
            let caller = answered(&[500]);
            let (result, ()) = tokio::join!(send(&caller, &call, policy, &leading), async {
                sleep(policy.pause / 2).await;
                term.send_replace(None);
            });
            assert!(
                matches!(result, Err(Failure::Call(CallError::Answered { code: 500, .. }))),
                "{result:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_again_is_counted_by_what_came_of_it_before() {
        let tries = Arc::new(AtomicUsize::new(0));
        let service = tower::service_fn(move |_: Request<Body>| {
            let code = if tries.fetch_add(1, Ordering::Relaxed) < 2 { 503 } else { 201 };
            let answer = Response::builder().status(code).body(Body::empty()).expect("a response");
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let metrics = Metrics::new();
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(60));
        let caller = caller.telling(&metrics, "api:6443");
        let call = Call::new(Method::POST, "/".to_owned(), Content::Json, b"{}".to_vec());
        let (_term, leading) = leading();
        assert_eq!(send(&caller, &call, RetryPolicy::BIND, &leading).await, Ok(()));
        assert_eq!(metrics.rest_client.retries("503", "POST", "api:6443").get(), 2);
    }
}
