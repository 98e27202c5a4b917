//! HTTP responses, and the request headers that determine their form.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::Frame;
use serde_json::Value;

use crate::error::ApiError;

/// The body of a response: all at once, or streamed.
pub(crate) enum Body {
    Full(Option<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, io::Error>> + Send>>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Stream(stream) => {
                stream.as_mut().poll_next(context).map(|item| item.map(|bytes| bytes.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Full(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Body::Stream(_) => http_body::SizeHint::default(),
        }
    }
}

/// A response.
pub(crate) type Reply = Response<Body>;

/// A header as text; empty if it is absent or not text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// The `Accept` header.
pub(crate) fn accept(headers: &HeaderMap) -> &str {
    header(headers, &ACCEPT)
}

/// The `Content-Type` header.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    header(headers, &CONTENT_TYPE)
}

/// A response with these bytes.
pub(crate) fn full(code: StatusCode, content_type: &'static str, bytes: Bytes) -> Reply {
    reply(code, content_type, Body::Full(Some(bytes)))
}

/// A response with JSON bytes.
pub(crate) fn json_bytes(code: StatusCode, bytes: Bytes) -> Reply {
    full(code, "application/json", bytes)
}

/// A response with a JSON value.
pub(crate) fn json(code: StatusCode, value: &Value) -> Reply {
    json_bytes(code, Bytes::from(value.to_string()))
}

/// A response that is produced while it is sent.
pub(crate) fn streamed(stream: impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static) -> Reply {
    reply(StatusCode::OK, "application/json", Body::Stream(Box::pin(stream)))
}

/// An error response.
pub(crate) fn refusal(error: &ApiError) -> Reply {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = json(code, &error.status());
    if let Some(seconds) = error.retry_after_s {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

fn reply(code: StatusCode, content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = code;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
