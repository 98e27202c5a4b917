//! The parsers of client input, one function each, for fuzzing: not part of the crate's interface.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Uri};
use serde_json::Value;
use tokio::sync::watch;

use crate::access::Access;
use crate::api::{self, Api};
use crate::error::ApiError;
use crate::faults::{Faults, Plan};
use crate::handlers;
use crate::history::History;
use crate::list::Pagings;
use crate::objects::Objects;
use crate::patch::{self, PatchKind};
use crate::reply::{Body, refusal};
use crate::request::{self, Route};
use crate::resource::{PODS, stored_as};
use crate::selectors::{FieldSelector, LabelSelector};
use crate::server::Server;
use crate::store::{Retention, Store};
use crate::webhooks::Webhooks;
use crate::{discovery, kubelet, sandbox, wire};

/// Whether labels (sorted by key) match a label selector, as written in a query.
///
/// # Errors
/// It is not a valid selector.
pub fn label_selector(text: &str, labels: &[(Box<str>, Box<str>)]) -> Result<bool, ApiError> {
    LabelSelector::parse(text).map(|selector| selector.matches(labels))
}

/// Whether a pod with these values matches a field selector, as written in a query.
///
/// # Errors
/// It is not a valid selector.
pub fn field_selector(text: &str, values: &[Box<str>]) -> Result<bool, ApiError> {
    let selector = FieldSelector::parse(text, stored_as(PODS).fields)?;
    Ok(selector.matches("default", "a", values))
}

/// Applies a patch in the format that a media type names.
///
/// # Errors
/// It is not a valid patch in this format, or does not apply.
pub fn apply_patch(media_type: &str, target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    patch::apply(PatchKind::of_content_type(media_type)?, target, patch)
}

/// The JSON of a body in Kubernetes' protobuf.
///
/// # Errors
/// It is not a valid body.
pub fn protobuf(body: &[u8]) -> Result<Value, ApiError> {
    wire::to_json(body)
}

/// An API server without a network.
#[derive(Debug)]
pub struct Front {
    server: Arc<Server>,
}

impl Default for Front {
    fn default() -> Self {
        Self::new()
    }
}

impl Front {
    /// A server with the objects that every sandbox starts with.
    pub fn new() -> Front {
        let options = sandbox::Options::default();
        let retention = Retention { age_max: options.event_ttl, count_max: options.stored_events_max };
        let store = Arc::new(Store::new(options.window, retention, options.seed));
        api::bootstrap(&store);
        let history = Arc::new(History::new(options.bind_records_max));
        let server = Server {
            api: Arc::new(Api { store, history: Arc::clone(&history) }),
            faults: Arc::new(Faults::new(options.seed)),
            history,
            access: Arc::new(Access::default()),
            pagings: Pagings::default(),
            webhooks: Webhooks::default(),
            version: crate::VERSION.to_owned(),
            bookmark_interval: Duration::from_secs(60),
            shutdown: watch::Sender::new(false),
        };
        Front { server: Arc::new(server) }
    }

    /// Its objects.
    pub fn objects(&self) -> Objects {
        Objects::new(Arc::clone(&self.server.api))
    }

    /// Answers a request; a response that is sent in pieces (a watch, a long list) is started but not read.
    pub fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        content_type: &str,
        accept: &str,
        body: &[u8],
    ) -> (u16, Bytes) {
        let mut headers = HeaderMap::new();
        for (name, value) in [(CONTENT_TYPE, content_type), (ACCEPT, accept)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        let reply = match request::route(method, uri) {
            Route::Path(path) => match discovery::answer(&path, &self.server.version) {
                Ok(_) => return (200, Bytes::new()),
                Err(error) => refusal(&error),
            },
            Route::Container { namespace, pod, what } => {
                refusal(&kubelet::of_container(&self.server.api, &namespace, &pod, &what))
            }
            Route::NoVerb => refusal(&ApiError::no_such_method()),
            Route::Api(request) => {
                let body = Bytes::copy_from_slice(body);
                handlers::answer(&self.server, &request, &headers, &body, &Plan::default())
                    .unwrap_or_else(|error| refusal(&error))
            }
        };
        let status = reply.status().as_u16();
        match reply.into_body() {
            Body::Full(bytes) => (status, bytes.unwrap_or_default()),
            Body::Stream(_) => (status, Bytes::new()),
        }
    }
}
