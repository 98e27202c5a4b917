//! One request: carried out or not, and answered or not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use kube_client::client::Body;
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use super::fault::{BodyFault, Fault, Kind, Reply};
use super::{OldAnswer, Shared, Weather, watch};

/// Largest request and largest answer, but for watches.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Answers to lists that are remembered: more than a scheduler has watches.
const OLD_LISTS_MAX: usize = 64;
/// Pieces of an answer that drips, and the pause before each, and before an answer breaks off.
const DRIPS: usize = 5;
const DRIP_PAUSE: Duration = Duration::from_millis(200);
/// Neither JSON nor UTF-8.
pub(super) const GARBAGE: &[u8] = b"\xff\xfe{]\x00 nothing that was asked for";

/// Why a connection is closed. hyper closes it without an answer.
#[derive(Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for Cut {}

pub(super) type AnswerBody = UnsyncBoxBody<Bytes, Cut>;
type Answer = Result<Response<AnswerBody>, Cut>;

pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    // From before the rules are asked: what changes after that is seen.
    let weather = shared.weather();
    let kind = Kind::of(request.method(), request.uri());
    let key = request.uri().to_string();
    let request = read(request).await?;
    let fault = shared.fault(kind);
    match fault {
        None => forward(&shared, weather, kind, &key, request).await,
        Some(Fault::Refused(reply)) => Ok(of_proxy(reply)),
        Some(Fault::Denied(reply)) => {
            carry_out(&shared, request).await?;
            Ok(of_proxy(reply))
        }
        Some(Fault::Closed(after)) => {
            sleep(after).await;
            Err(Cut)
        }
        Some(Fault::Lost(after)) => {
            carry_out(&shared, request).await?;
            sleep(after).await;
            Err(Cut)
        }
        Some(Fault::Overtaken(within)) => {
            let after = between(&shared, Duration::ZERO, within);
            tokio::spawn(async move {
                sleep(after).await;
                // Nobody waits for how it ended.
                drop(carry_out(&shared, request).await);
            });
            Err(Cut)
        }
        Some(Fault::Slow(least, most)) => {
            let answer = forward(&shared, weather, kind, &key, request).await;
            sleep(between(&shared, least, most)).await;
            answer
        }
        Some(Fault::Body(fault)) if kind != Kind::Watch => {
            let (head, body) = carry_out(&shared, request).await?;
            Ok(broken(&head, body, fault))
        }
        // A watch has no body that one could wait for.
        Some(Fault::Body(_)) => Err(Cut),
        Some(Fault::OldList) => match remembered(&shared, &key) {
            Some(old) => Ok(whole(StatusCode::OK, Some(&old.content_type), old.body)),
            None => forward(&shared, weather, kind, &key, request).await,
        },
        Some(Fault::Events(fault)) => {
            let answer = send(&shared, request).await?;
            Ok(watch::relay(&shared, weather, answer, Some(fault)))
        }
    }
}

fn between(shared: &Shared, least: Duration, most: Duration) -> Duration {
    least + (most - least).mul_f64(shared.chance().f64())
}

async fn read(request: Request<Incoming>) -> Result<Request<Body>, Cut> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| Cut)?.to_bytes();
    let mut request = Request::builder().method(head.method).uri(head.uri);
    for name in [header::ACCEPT, header::CONTENT_TYPE, header::USER_AGENT] {
        if let Some(value) = head.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    request.body(Body::from(body)).map_err(|_| Cut)
}

/// An API server that does not answer leads to a closed connection.
async fn send(shared: &Shared, request: Request<Body>) -> Result<Response<Body>, Cut> {
    shared.upstream.send(request).await.map_err(|_| Cut)
}

async fn carry_out(shared: &Shared, request: Request<Body>) -> Result<(http::response::Parts, Bytes), Cut> {
    let (head, body) = send(shared, request).await?.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| Cut)?.to_bytes();
    Ok((head, body))
}

async fn forward(
    shared: &Arc<Shared>,
    weather: Receiver<Weather>,
    kind: Kind,
    key: &str,
    request: Request<Body>,
) -> Answer {
    if kind == Kind::Watch {
        let answer = send(shared, request).await?;
        return Ok(watch::relay(shared, weather, answer, None));
    }
    let (head, body) = carry_out(shared, request).await?;
    if kind == Kind::List && head.status.is_success() {
        remember(shared, key, &head, &body);
    }
    let mut answer = whole(head.status, head.headers.get(header::CONTENT_TYPE), body);
    if let Some(after) = head.headers.get(header::RETRY_AFTER) {
        answer.headers_mut().insert(header::RETRY_AFTER, after.clone());
    }
    Ok(answer)
}

fn remember(shared: &Shared, key: &str, head: &http::response::Parts, body: &Bytes) {
    let mut lists = shared.old_lists.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if lists.len() < OLD_LISTS_MAX && !lists.contains_key(key) {
        let json = HeaderValue::from_static("application/json");
        let content_type = head.headers.get(header::CONTENT_TYPE).cloned().unwrap_or(json);
        lists.insert(key.to_owned(), OldAnswer { content_type, body: body.clone() });
    }
}

fn remembered(shared: &Shared, key: &str) -> Option<OldAnswer> {
    shared.old_lists.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(key).cloned()
}

/// An answer whose whole body is there.
pub(super) fn whole(
    status: StatusCode,
    content_type: Option<&HeaderValue>,
    body: impl Into<Bytes>,
) -> Response<AnswerBody> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    with(status, content_type, body)
}

/// An answer with any body.
pub(super) fn with(
    status: StatusCode,
    content_type: Option<&HeaderValue>,
    body: AnswerBody,
) -> Response<AnswerBody> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    answer
}

/// The text of a `Status`.
pub(super) fn status_object(code: u16) -> serde_json::Value {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{code} on purpose"), "reason": reason, "code": code,
    })
}

fn of_proxy(reply: Reply) -> Response<AnswerBody> {
    match reply {
        Reply::Status(code, later) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let json = HeaderValue::from_static("application/json");
            let mut answer = whole(status, Some(&json), status_object(code).to_string());
            if later {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            answer
        }
        Reply::Page => {
            let html = HeaderValue::from_static("text/html");
            let page =
                "<html><head><title>502 Bad Gateway</title></head><body>nobody is at home</body></html>\n";
            whole(StatusCode::BAD_GATEWAY, Some(&html), page)
        }
    }
}

fn broken(head: &http::response::Parts, body: Bytes, fault: BodyFault) -> Response<AnswerBody> {
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let half = body.slice(..body.len() / 2);
    match fault {
        BodyFault::Truncated => {
            let broken_off = async {
                // hyper drops what it has not sent yet when a body fails.
                sleep(DRIP_PAUSE).await;
                Err(Cut)
            };
            let frames =
                futures::stream::iter([Ok(Frame::data(half))]).chain(futures::stream::once(broken_off));
            let mut answer = with(head.status, content_type, StreamBody::new(frames).boxed_unsync());
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            answer
        }
        BodyFault::Half => whole(head.status, content_type, half),
        BodyFault::Garbage => whole(head.status, content_type, GARBAGE),
        BodyFault::Empty => whole(head.status, content_type, Bytes::new()),
        BodyFault::Drip => {
            let piece = body.len().div_ceil(DRIPS).max(1);
            let pieces: Vec<Bytes> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
            let frames = futures::stream::iter(pieces).then(|piece| async move {
                sleep(DRIP_PAUSE).await;
                Ok(Frame::data(piece))
            });
            with(head.status, content_type, StreamBody::new(frames).boxed_unsync())
        }
    }
}
