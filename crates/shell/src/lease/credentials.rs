//! Whether the API server accepts this process's credentials, as far as the Lease tells.
//!
//! Certificates, keys and authorities of a kubeconfig are read once. When they have expired or been replaced, a standby goes on asking for the Lease
//! and can never take it: only a restart, which reads them again, helps.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secondmate_model::duration;
use tokio::time::Instant;

use crate::call::chain;

/// Longest time in which everything is refused. Two refusals with a longer pause between them do not belong together: meanwhile nobody answered.
const REFUSED_MAX: Duration = Duration::from_secs(180);

/// What became of the credentials. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials(Arc<Mutex<Option<Refusals>>>);

/// Refusals without any other answer between them.
#[derive(Debug)]
struct Refusals {
    first: Instant,
    last: Instant,
    reason: String,
}

/// Whether the certificates, keys and tokens of this configuration are read at the start and never again. Those that a pod finds in its
/// service account are read again from time to time.
pub(crate) fn are_read_once(cluster: &kube::Config) -> bool {
    cluster.root_cert_file.is_none() && cluster.auth_info.token_file.is_none()
}

impl Credentials {
    /// The API server has answered, or could not be asked.
    pub fn heard<T>(&self, answer: &Result<T, kube::Error>) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reason) = answer.as_ref().err().and_then(refusal) else {
            *refusals = None;
            return;
        };
        let last = Instant::now();
        let before = refusals.take().filter(|before| last.duration_since(before.last) <= REFUSED_MAX);
        let first = before.map_or(last, |before| before.first);
        *refusals = Some(Refusals { first, last, reason });
    }

    /// Nothing, unless they have been refused for too long.
    ///
    /// # Errors
    /// For how long, why, and what helps.
    pub fn check(&self) -> Result<(), String> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Refusals { first, last, reason }) = refusals.as_ref() else { return Ok(()) };
        let refused = last.duration_since(*first);
        if refused < REFUSED_MAX {
            return Ok(());
        }
        let refused = duration::format(Duration::from_secs(refused.as_secs()));
        Err(format!(
            "the API server has not accepted this process's credentials for {refused} ({reason}); a restart reads them again"
        ))
    }
}

/// Why the credentials are refused, if they are: by the API server, or by either side when they connect.
fn refusal(error: &kube::Error) -> Option<String> {
    if let kube::Error::Api(status) = error {
        // The text of any other answer may be about somebody else's certificate.
        return (status.code == 401).then(|| format!("401 {}", status.message));
    }
    let reason = chain(error);
    reason.to_ascii_lowercase().contains("certificate").then_some(reason)
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::sleep;
    use tower::BoxError;

    use super::super::{KubeLease, LeaseApi, LeaseName};
    use super::*;

    /// What the API server does: an answer's code and message, or why there is no connection.
    type Behaviour = Result<(u16, &'static str), &'static str>;

    /// A Lease behind an API server that does as it is told, and what is known of the credentials.
    struct Asked {
        lease: KubeLease,
        behaviour: Arc<Mutex<Behaviour>>,
        credentials: Credentials,
    }

    impl Asked {
        fn new() -> Self {
            let behaviour: Arc<Mutex<Behaviour>> = Arc::new(Mutex::new(Ok((404, "not found"))));
            let told = Arc::clone(&behaviour);
            let service = tower::service_fn(move |_: Request<Body>| {
                let behaviour: Behaviour = *told.lock().unwrap();
                async move {
                    let (code, message) =
                        behaviour.map_err(|error| BoxError::from(std::io::Error::other(error)))?;
                    let status = serde_json::json!({
                        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                        "reason": "", "message": message,
                    });
                    let body = Body::from(status.to_string().into_bytes());
                    Ok::<_, BoxError>(Response::builder().status(code).body(body)?)
                }
            });
            let name = LeaseName { namespace: "ns".to_owned(), name: "a".to_owned() };
            let credentials = Credentials::default();
            let client = kube::Client::new(service, "default");
            let lease = KubeLease::new(client, &name).telling(credentials.clone());
            Self { lease, behaviour, credentials }
        }

        /// Looks at the Lease every two seconds for so long.
        async fn look(&self, behaviour: Behaviour, time: Duration) -> Result<(), String> {
            *self.behaviour.lock().unwrap() = behaviour;
            let end = Instant::now() + time;
            while Instant::now() < end {
                let _ = self.lease.get().await;
                sleep(Duration::from_secs(2)).await;
            }
            self.credentials.check()
        }
    }

    const UNAUTHORIZED: Behaviour = Ok((401, "Unauthorized"));

    #[tokio::test(start_paused = true)]
    async fn credentials_that_are_refused_for_three_minutes_fail_the_check_until_they_are_accepted() {
        let asked = Asked::new();
        let secs = Duration::from_secs;
        assert_eq!(asked.look(Ok((404, "not found")), secs(200)).await, Ok(()));
        assert_eq!(asked.look(UNAUTHORIZED, secs(170)).await, Ok(()));
        assert_eq!(
            asked.look(UNAUTHORIZED, secs(20)).await,
            Err("the API server has not accepted this process's credentials for 3m8s (401 Unauthorized); a restart reads them again".to_owned())
        );
        assert_eq!(asked.look(Ok((403, "not for you")), secs(2)).await, Ok(()), "they are accepted");
        let refused = asked.look(Err("received fatal alert: CertificateExpired"), secs(190)).await;
        let reason = refused.expect_err("no connection is made with such a certificate");
        assert!(reason.contains("CertificateExpired"), "{reason}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_says_nothing_of_the_credentials() {
        let secs = Duration::from_secs;
        for outage in [
            Err("Connection refused (os error 111)"),
            Ok((503, "not now")),
            // A webhook's.
            Ok((500, "failed calling webhook: certificate has expired")),
        ] {
            let asked = Asked::new();
            assert_eq!(asked.look(UNAUTHORIZED, secs(100)).await, Ok(()));
            assert_eq!(asked.look(outage, secs(200)).await, Ok(()), "{outage:?}");
            assert_eq!(asked.look(UNAUTHORIZED, secs(100)).await, Ok(()), "{outage:?}");
        }
        // Nothing is answered at all, and so nothing is heard.
        let asked = Asked::new();
        assert_eq!(asked.look(UNAUTHORIZED, secs(100)).await, Ok(()));
        sleep(secs(200)).await;
        assert_eq!(asked.look(UNAUTHORIZED, secs(100)).await, Ok(()));
    }
}
