//! Who the client is: according to a front proxy, the client's certificate, or the API server's review of the token; otherwise anonymous.

use super::authorities::{RequestHeaders, Trusted};
use super::remembered::Remembered;
use super::review;
use crate::call::Caller;
use http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::{TokenReview, UserInfo};
use rustls::pki_types::CertificateDer;
use secondmate_telemetry::metrics::ReviewMetrics;
use secondmate_telemetry::{Asked, Metrics};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tracing::warn;
use x509_parser::prelude::{FromDer, X509Certificate};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// Maximum concurrent reviews.
pub(super) const REVIEWS_MAX: usize = 16;
/// Maximum length of a token that is considered: what an API server accepts in its headers.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// The identity of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    fn anonymous() -> Self {
        Self {
            username: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// Every authenticated user belongs to this group.
    fn known(mut self) -> Self {
        const AUTHENTICATED: &str = "system:authenticated";
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }
}

/// The user in the answer to a review, if the token is valid.
fn user(review: TokenReview) -> Option<User> {
    let status = review.status.filter(|status| status.authenticated == Some(true))?;
    let UserInfo { username, uid, groups, extra } = status.user.unwrap_or_default();
    Some(User {
        username: username.unwrap_or_default(),
        uid: uid.unwrap_or_default(),
        groups: groups.unwrap_or_default(),
        extra: extra.unwrap_or_default(),
    })
}

/// Whose token it is, according to the answer to a review.
///
/// # Errors
/// It is not such an answer.
pub(super) fn understood(body: &[u8]) -> Result<String, String> {
    let user = user(super::answer(body)?);
    Ok(format!("{:?}", user.map(User::known)))
}

/// Authenticates clients.
pub(super) struct Authenticator {
    trusted: watch::Receiver<Arc<Trusted>>,
    caller: Option<Caller>,
    remember: Duration,
    /// By the hash of the token; `None`: it is not valid.
    tokens: Remembered<[u8; 32], Option<User>>,
    turns: Semaphore,
    reviews: ReviewMetrics,
}

impl Authenticator {
    pub fn new(
        trusted: watch::Receiver<Arc<Trusted>>,
        caller: Option<Caller>,
        remember: Duration,
        metrics: &Metrics,
    ) -> Self {
        Self {
            trusted,
            caller,
            remember,
            tokens: Remembered::new("token-reviews", metrics),
            turns: Semaphore::new(REVIEWS_MAX),
            reviews: metrics.token_reviews.clone(),
        }
    }

    /// Who the client is; `None` if it presents credentials that are not valid.
    pub async fn who(&self, asked: Asked<'_>) -> Option<User> {
        let trusted = Arc::clone(&self.trusted.borrow());
        if let Some((authority, headers)) = &trusted.proxy
            && let Some(user) = told(headers, asked.headers)
            && is_allowed(headers, asked.certificates)
            && authority.vouches_for(asked.certificates)
        {
            return Some(user.known());
        }
        let mut refused = false;
        if let (Some(authority), [own, ..]) = (&trusted.clients, asked.certificates) {
            match named(own).filter(|_| authority.vouches_for(asked.certificates)) {
                Some(user) => return Some(user.known()),
                None => refused = true,
            }
        }
        if let (Some(caller), Some(token)) = (&self.caller, token(asked.headers)) {
            match self.review(caller, token).await {
                Some(user) => return Some(user.known()),
                None => refused = true,
            }
        }
        (!refused).then(User::anonymous)
    }

    async fn review(&self, caller: &Caller, token: &str) -> Option<User> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(answer) = self.tokens.get(&key) {
            return answer;
        }
        let _turn = self.turns.acquire().await.ok()?;
        // Another request with the same token may have been reviewed first.
        if let Some(answer) = self.tokens.get(&key) {
            return answer;
        }
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token },
        });
        match review(caller, PATH, &body, &self.reviews).await {
            Ok(answer) => {
                let user = user(answer);
                self.tokens.keep(key, user.clone(), self.remember);
                user
            }
            Err(why) => {
                warn!("a token could not be reviewed, and is refused: {why}");
                None
            }
        }
    }
}

/// The bearer token of a request.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (kind, token) = value.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| kind.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// The user named in a certificate: its common name, with its organisations as groups.
fn named(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let username = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|group| Some(group.as_str().ok()?.to_owned()));
    Some(User { username, groups: groups.collect(), ..User::default() })
        .filter(|user| !user.username.is_empty())
}

fn is_allowed(headers: &RequestHeaders, chain: &[CertificateDer<'_>]) -> bool {
    let name = || chain.first().and_then(named).map(|user| user.username);
    headers.allowed_names.is_empty() || name().is_some_and(|name| headers.allowed_names.contains(&name))
}

/// The user named in the headers, whoever wrote them.
fn told(headers: &RequestHeaders, given: &HeaderMap) -> Option<User> {
    let values = |name: &String| -> Vec<String> {
        given.get_all(name).iter().filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect()
    };
    let first = |names: &[String]| names.iter().flat_map(values).find(|value| !value.is_empty());
    let username = first(&headers.username)?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for prefix in headers.extra_prefixes.iter().map(|prefix| prefix.to_ascii_lowercase()) {
        for name in given.keys() {
            if let Some(key) = name.as_str().strip_prefix(&prefix) {
                extra.entry(unescaped(key)).or_default().extend(values(&name.as_str().to_owned()));
            }
        }
    }
    Some(User {
        username,
        uid: first(&headers.uid).unwrap_or_default(),
        groups: headers.groups.iter().flat_map(values).collect(),
        extra,
    })
}

/// A key as it was before it became part of a header name: percent-decoded, if that is possible.
fn unescaped(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let hex = |byte: &u8| (*byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match tail {
            [high, low, after @ ..] if *byte == b'%' => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high * 16 + low);
                    rest = after;
                }
                _ => return key.to_owned(),
            },
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn tokens_are_bearers() {
        let of = |value: &str| token(&headers(&[("authorization", value)])).map(str::to_owned);
        assert_eq!(of("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(of("bearer  abc "), Some("abc".to_owned()));
        for none in ["Basic abc", "Bearer", "Bearer ", "abc"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_proxy_tells_who_its_client_is() {
        let how = RequestHeaders {
            username: vec!["X-Remote-User".to_owned()],
            uid: vec!["X-Remote-Uid".to_owned()],
            groups: vec!["X-Remote-Group".to_owned()],
            extra_prefixes: vec!["X-Remote-Extra-".to_owned()],
            ..RequestHeaders::default()
        };
        let mut given = headers(&[
            ("x-remote-user", "anne"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a"),
            ("x-remote-extra-acme.com%2fproject", "p"),
        ]);
        given.append("x-remote-group", "b".parse().expect("a value"));
        let user = told(&how, &given).expect("a user");
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("anne", "7"));
        assert_eq!(user.groups, ["a", "b"]);
        assert_eq!(user.extra, BTreeMap::from([("acme.com/project".to_owned(), vec!["p".to_owned()])]));
        assert_eq!(told(&how, &headers(&[("x-remote-group", "a")])), None);
    }
}
