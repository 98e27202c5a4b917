//! What a client may do: read the paths that are open to all, do everything as a member of `system:masters`, and do what the API server
//! allows.

use super::authenticate::{REVIEWS_MAX, User};
use super::remembered::Remembered;
use super::{refusal, review};
use crate::call::Caller;
use http::Method;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use secondmate_telemetry::metrics::ReviewMetrics;
use secondmate_telemetry::{Metrics, Refusal};
use serde_json::json;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::warn;

const PATH: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
/// The group that may do everything, on any API server.
const MASTERS: &str = "system:masters";
/// Maximum length of a path whose answer is remembered; longer paths do not exist here.
const PATH_BYTES_MAX: usize = 1024;

#[derive(Clone, Default)]
struct Verdict {
    allowed: bool,
    reason: String,
}

impl From<SubjectAccessReview> for Verdict {
    fn from(review: SubjectAccessReview) -> Self {
        let status = review.status.unwrap_or_default();
        Self { allowed: status.allowed, reason: status.reason.unwrap_or_default() }
    }
}

/// What the client may do, according to the answer to a review.
///
/// # Errors
/// It is not such an answer.
pub(super) fn understood(body: &[u8]) -> Result<String, String> {
    let Verdict { allowed, reason } = super::answer::<SubjectAccessReview>(body)?.into();
    Ok(format!("{allowed} {reason:?}"))
}

/// User, verb and path.
type Question = (User, String, String);

/// Authorizes clients.
pub(super) struct Authorizer {
    caller: Option<Caller>,
    always: Vec<String>,
    /// How long positive and negative answers are valid.
    remember: (Duration, Duration),
    answers: Remembered<Question, Verdict>,
    turns: Semaphore,
    reviews: ReviewMetrics,
}

impl Authorizer {
    pub fn new(
        caller: Option<Caller>,
        always: Vec<String>,
        remember: (Duration, Duration),
        metrics: &Metrics,
    ) -> Self {
        let answers = Remembered::new("access-reviews", metrics);
        let turns = Semaphore::new(REVIEWS_MAX);
        Self { caller, always, remember, answers, turns, reviews: metrics.access_reviews.clone() }
    }

    /// Checks whether this user may do this.
    ///
    /// # Errors
    /// The user may not, or this cannot be determined.
    pub async fn may(&self, user: &User, method: &Method, path: &str) -> Result<(), Refusal> {
        if self.is_open(path) || user.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        let verb = method.as_str().to_ascii_lowercase();
        let answer = match &self.caller {
            Some(caller) if path.len() <= PATH_BYTES_MAX => self.review(caller, user, &verb, path).await?,
            _ => Verdict::default(),
        };
        if answer.allowed {
            return Ok(());
        }
        let mut message = format!("forbidden: User \"{}\" cannot {verb} path \"{path}\"", user.username);
        if !answer.reason.is_empty() {
            message.push_str(&format!(": {}", answer.reason));
        }
        Err(refusal(403, "Forbidden", message))
    }

    fn is_open(&self, path: &str) -> bool {
        self.always.iter().any(|open| match open.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == open,
        })
    }

    async fn review(&self, caller: &Caller, user: &User, verb: &str, path: &str) -> Result<Verdict, Refusal> {
        let question = (user.clone(), verb.to_owned(), path.to_owned());
        if let Some(answer) = self.answers.get(&question) {
            return Ok(answer);
        }
        let _turn = self.turns.acquire().await.expect("the semaphore is never closed");
        let mut spec = json!({
            "user": user.username,
            "groups": user.groups,
            "extra": user.extra,
            "nonResourceAttributes": { "path": path, "verb": verb },
        });
        if !user.uid.is_empty() {
            spec["uid"] = user.uid.as_str().into();
        }
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec,
        });
        match review::<SubjectAccessReview>(caller, PATH, &body, &self.reviews).await {
            Ok(answer) => {
                let verdict = Verdict::from(answer);
                let time = if verdict.allowed { self.remember.0 } else { self.remember.1 };
                self.answers.keep(question, verdict.clone(), time);
                Ok(verdict)
            }
            Err(why) => {
                warn!(path, "a request could not be reviewed, and is refused: {why}");
                let message = format!("the API server could not be asked whether you may: {why}");
                Err(refusal(500, "InternalError", message))
            }
        }
    }
}
