//! Who is let in, with an API server that answers as each test says.

use super::authenticate::{Authenticator, User};
use super::authorities::{Authorities, AuthoritySources, Trusted};
use super::authorize::Authorizer;
use super::remembered::{ANSWERS_MAX, Remembered};
use super::{Delegated, RequestHeaders, understood};
use crate::call::Caller;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use kube_client::Client;
use kube_client::client::Body;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::CertificateDer;
use secondmate_telemetry::{Asked, Gate, Metrics};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

#[test]
fn an_answer_with_lists_for_objects_lets_nobody_in() {
    for body in ["[[true]]", "[[true, \"\"]]", r#"{"status": [true]}"#] {
        let [token, access, _] = understood(body.as_bytes()).map(|(_, said)| said);
        assert!(token.is_err() && access.is_err(), "{body}: {token:?} {access:?}");
    }
    let body = r#"{"status": {"authenticated": true, "allowed": true, "user": {"username": "eve"}}}"#;
    let said = understood(body.as_bytes()).map(|(_, said)| said.unwrap_or_default());
    assert!(said[0].contains("eve") && said[1].starts_with("true"), "{said:?}");
}

const TEN_SECONDS: Duration = Duration::from_secs(10);

/// An API server that records what it is asked.
#[derive(Clone)]
struct ApiServer {
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    answer: fn(&str, &Value) -> (u16, Value),
}

impl ApiServer {
    fn new(answer: fn(&str, &Value) -> (u16, Value)) -> Self {
        Self { asked: Arc::default(), answer }
    }

    fn caller(&self) -> Caller {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let this = this.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = (this.answer)(&path, &body);
                this.asked.lock().expect("no panic").push((path, body));
                let answer =
                    Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, kube_client::Error>(answer.expect("a response"))
            }
        });
        Caller::new(Client::new(service, "default"), None, TEN_SECONDS)
    }

    fn count(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

/// `token-NAME` belongs to NAME; the user that may read `/metrics` is called `scraper`.
fn usual(path: &str, body: &Value) -> (u16, Value) {
    if path.ends_with("tokenreviews") {
        let token = body["spec"]["token"].as_str().unwrap_or_default();
        return match token.strip_prefix("token-") {
            Some("broken") => (500, json!({ "message": "down" })),
            Some(name) => {
                let user = json!({ "username": name, "uid": "7", "groups": ["g"], "extra": { "a": ["b"] } });
                (201, json!({ "status": { "authenticated": true, "user": user } }))
            }
            None => (201, json!({ "status": { "authenticated": false, "error": "who?" } })),
        };
    }
    let spec = &body["spec"];
    let allowed = spec["user"] == "scraper" && spec["nonResourceAttributes"]["path"] == "/metrics";
    (201, json!({ "status": { "allowed": allowed, "reason": "RBAC" } }))
}

fn gate(api: &ApiServer) -> Delegated {
    gate_with(api, watch::channel(Arc::default()).1)
}

fn gate_with(api: &ApiServer, trusted: watch::Receiver<Arc<Trusted>>) -> Delegated {
    let metrics = Metrics::new();
    Delegated {
        authenticator: Authenticator::new(trusted, Some(api.caller()), TEN_SECONDS, &metrics),
        authorizer: Authorizer::new(
            Some(api.caller()),
            vec!["/healthz".to_owned(), "/open/*".to_owned()],
            (TEN_SECONDS, TEN_SECONDS / 2),
            &metrics,
        ),
    }
}

/// The status (200 if the request is let through) and the message.
async fn asked(
    gate: &Delegated,
    path: &str,
    headers: &[(&'static str, &str)],
    certificates: &[CertificateDer<'static>],
) -> (u16, String) {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    let asked = Asked { method: &Method::GET, path, headers: &headers, certificates };
    match gate.admit(asked).await {
        Ok(()) => (200, String::new()),
        Err(refusal) => {
            assert_eq!(refusal.body["code"], refusal.status);
            (refusal.status, refusal.body["message"].as_str().unwrap_or_default().to_owned())
        }
    }
}

/// A certificate authority that can sign certificates.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn certificate(
    authority: &CertifiedIssuer<'static, KeyPair>,
    user: &str,
    group: &str,
) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    params.signed_by(&key, authority).expect("a certificate").der().clone()
}

#[tokio::test]
async fn tokens_are_reviewed_and_the_answer_counts_for_a_while() {
    tokio::time::pause();
    let api = ApiServer::new(usual);
    let gate = gate(&api);
    let scraper = [("authorization", "Bearer token-scraper")];
    assert_eq!(asked(&gate, "/metrics", &scraper, &[]).await.0, 200);
    assert_eq!(api.count(), 2);
    let review = api.asked.lock().expect("no panic")[1].1["spec"].clone();
    let expected = json!({
        "user": "scraper", "uid": "7", "groups": ["g", "system:authenticated"], "extra": { "a": ["b"] },
        "nonResourceAttributes": { "path": "/metrics", "verb": "get" },
    });
    assert_eq!(review, expected);
    assert_eq!(asked(&gate, "/metrics", &scraper, &[]).await.0, 200);
    assert_eq!(api.count(), 2, "both answers are remembered");
    tokio::time::advance(TEN_SECONDS).await;
    assert_eq!(asked(&gate, "/metrics", &scraper, &[]).await.0, 200);
    assert_eq!(api.count(), 4);

    let other = [("authorization", "Bearer token-other")];
    let expected = "forbidden: User \"other\" cannot get path \"/metrics\": RBAC".to_owned();
    assert_eq!(asked(&gate, "/metrics", &other, &[]).await, (403, expected.clone()));
    tokio::time::advance(TEN_SECONDS / 2).await;
    assert_eq!(asked(&gate, "/metrics", &other, &[]).await, (403, expected));
    assert_eq!(api.count(), 7, "a no counts half as long here, who it is does not");
}

#[tokio::test]
async fn whoever_says_nothing_is_anonymous_and_whoever_says_what_is_wrong_is_refused() {
    let api = ApiServer::new(usual);
    let gate = gate(&api);
    assert_eq!(asked(&gate, "/healthz", &[], &[]).await.0, 200);
    assert_eq!(asked(&gate, "/open/path", &[], &[]).await.0, 200);
    assert_eq!(api.count(), 0, "nobody is asked about what is open");
    let (status, message) = asked(&gate, "/healthz/ping", &[], &[]).await;
    assert_eq!(status, 403);
    assert!(message.starts_with("forbidden: User \"system:anonymous\" cannot get path"), "{message}");
    assert_eq!(asked(&gate, "/healthz", &[("authorization", "Bearer x")], &[]).await.0, 401);
    assert_eq!(asked(&gate, "/healthz", &[("authorization", "Bearer token-broken")], &[]).await.0, 401);
    let down = ApiServer::new(|path, body| match path.ends_with("tokenreviews") {
        true => usual(path, body),
        false => (503, json!({ "message": "not now" })),
    });
    let (status, message) = asked(&self::gate(&down), "/metrics", &[], &[]).await;
    assert_eq!(status, 500);
    assert!(message.contains("not now"), "{message}");
}

#[tokio::test]
async fn certificates_count_by_their_authority() {
    let (ours, proxies, strangers) = (authority(), authority(), authority());
    let api = ApiServer::new(|path, body| {
        assert!(!path.ends_with("configmaps"), "files say all");
        usual(path, body)
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (clients, front) = (folder.path().join("clients"), folder.path().join("front"));
    std::fs::write(&clients, ours.pem()).expect("written");
    std::fs::write(&front, proxies.pem()).expect("written");
    let headers = RequestHeaders {
        authority: front,
        allowed_names: vec!["front".to_owned()],
        username: vec!["x-remote-user".to_owned()],
        groups: vec!["x-remote-group".to_owned()],
        ..RequestHeaders::default()
    };
    let sources = AuthoritySources {
        client_authority: Some(clients),
        request_headers: Some(headers),
        cluster: Some(api.caller()),
    };
    let (_, trusted) = Authorities::read(sources, false).await.expect("they can be used");
    let gate = gate_with(&api, trusted);
    let by = |certificate: CertificateDer<'static>| vec![certificate];
    assert_eq!(asked(&gate, "/metrics", &[], &by(certificate(&ours, "scraper", "x"))).await.0, 200);
    let master = certificate(&ours, "root", "system:masters");
    assert_eq!(asked(&gate, "/configz", &[], &by(master)).await.0, 200);
    let stranger = certificate(&strangers, "scraper", "system:masters");
    assert_eq!(asked(&gate, "/healthz", &[], &by(stranger.clone())).await.0, 401);
    let with_token = [("authorization", "Bearer token-scraper")];
    assert_eq!(
        asked(&gate, "/metrics", &with_token, &by(stranger.clone())).await.0,
        200,
        "the token is right"
    );
    let told = [("x-remote-user", "scraper"), ("x-remote-group", "a")];
    assert_eq!(asked(&gate, "/metrics", &told, &by(certificate(&proxies, "front", "x"))).await.0, 200);
    for who in [certificate(&proxies, "other", "x"), stranger] {
        assert_eq!(asked(&gate, "/metrics", &told, &by(who)).await.0, 401, "its word does not count");
    }
    assert_eq!(asked(&gate, "/metrics", &told, &[]).await.0, 403, "headers alone are nobody's word");
}

#[tokio::test]
async fn the_config_map_says_what_files_do_not() {
    let api = ApiServer::new(|path, _| match path.ends_with("extension-apiserver-authentication") {
        true => (
            200,
            json!({ "data": { "requestheader-allowed-names": "[\"front\"]", "client-ca-file": "garbage" } }),
        ),
        false => (404, json!({})),
    });
    let sources =
        AuthoritySources { client_authority: None, request_headers: None, cluster: Some(api.caller()) };
    let refused = Authorities::read(sources.clone(), false).await.err().expect("it is no certificate");
    assert!(refused.contains("the authority of client certificates"), "{refused}");
    let (_, trusted) = Authorities::read(sources, true).await.expect("that is tolerated");
    assert!(trusted.borrow().clients.is_none());
}

#[tokio::test]
async fn answers_are_bounded_and_the_one_with_the_least_time_makes_room() {
    tokio::time::pause();
    let metrics = Metrics::new();
    let answers = Remembered::new("test", &metrics);
    for number in 0..ANSWERS_MAX {
        answers.keep(number, User::default(), TEN_SECONDS + Duration::from_millis(number as u64));
    }
    answers.keep(ANSWERS_MAX, User::default(), TEN_SECONDS * 2);
    assert_eq!(answers.get(&0), None);
    assert!(answers.get(&1).is_some() && answers.get(&ANSWERS_MAX).is_some());
    assert_eq!(metrics.bounded_queue("test", ANSWERS_MAX).full.get(), 1);
    tokio::time::advance(TEN_SECONDS * 3 / 2).await;
    assert_eq!(answers.get(&1), None);
    answers.keep(0, User::default(), Duration::ZERO);
    assert_eq!(answers.get(&0), None);
}
