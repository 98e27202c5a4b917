//! Lists: selection, versions, pages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};

use crate::error::{ApiError, FieldError};
use crate::object::Object;
use crate::request::ApiRequest;
use crate::resource::{ResourceType, StoreId};
use crate::selectors::{FieldSelector, LabelSelector};
use crate::store::{Snapshot, Store};
use crate::view::View;

/// Maximum number of paged lists that are remembered between pages; beyond it the oldest is forgotten, and its client gets a 410.
const OPEN_PAGINGS_MAX: usize = 64;
/// Bytes of one chunk of a long list.
const CHUNK_BYTES: usize = 256 * 1024;

/// The objects of a resource that a list or watch selects.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(crate) fn parse(request: &ApiRequest) -> Result<Selection, ApiError> {
        let query = &request.query;
        Ok(Selection {
            namespace: (!request.namespace.is_empty()).then(|| request.namespace.clone()),
            labels: LabelSelector::parse(query.get("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::parse(
                query.get("fieldSelector").unwrap_or_default(),
                request.resource.fields,
            )?,
        })
    }

    /// All namespaces, by fields only.
    pub(crate) fn of_fields(resource: &ResourceType, fields: &str) -> Result<Selection, ApiError> {
        Ok(Selection {
            namespace: None,
            labels: LabelSelector::default(),
            fields: FieldSelector::parse(fields, resource.fields)?,
        })
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|n| n == &*object.namespace)
            && self.fields.matches(&object.namespace, &object.name, &object.fields)
            && self.labels.matches(&object.labels)
    }

    fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub objects: Vec<Arc<Object>>,
    pub metadata: Value,
}

/// Lists that are being read page by page: each is one snapshot, so that its pages agree.
#[derive(Debug, Default)]
pub(crate) struct Pagings {
    open: Mutex<(u64, VecDeque<Paging>)>,
}

#[derive(Debug)]
struct Paging {
    token: u64,
    store: StoreId,
    version: u64,
    rest: VecDeque<Arc<Object>>,
    count_rest: bool,
}

impl Pagings {
    /// Answers a list request.
    pub(crate) fn list(
        &self,
        store: &Store,
        request: &ApiRequest,
        selection: &Selection,
        stale_events_back: usize,
    ) -> Result<Page, ApiError> {
        let query = &request.query;
        let limit = match query.filled("limit") {
            Some(text) => text
                .parse::<usize>()
                .map_err(|_| ApiError::bad_request(format!("limit is not a number: \"{text}\"")))?,
            None => 0,
        };
        if let Some(token) = query.filled("continue") {
            return self.next_page(request.resource.store, token, limit);
        }
        let snapshot = snapshot(store, request, selection, stale_events_back)?;
        if limit == 0 || snapshot.objects.len() <= limit {
            return Ok(Page {
                objects: snapshot.objects,
                metadata: json!({ "resourceVersion": snapshot.version.to_string() }),
            });
        }
        let paging = Paging {
            token: 0,
            store: request.resource.store,
            version: snapshot.version,
            rest: snapshot.objects.into(),
            count_rest: selection.is_everything(),
        };
        Ok(self.page(paging, limit))
    }

    fn next_page(&self, store: StoreId, token: &str, limit: usize) -> Result<Page, ApiError> {
        let number: u64 = token.strip_prefix("page-").and_then(|t| t.parse().ok()).ok_or_else(|| {
            ApiError::bad_request("continue key is not valid: it is not a token of this server")
        })?;
        let paging = {
            let (_, open) = &mut *self.lock();
            let at = open.iter().position(|p| p.token == number && p.store == store);
            at.and_then(|at| open.remove(at))
        };
        let paging = paging.ok_or_else(|| {
            ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a \
                 new list without the continue parameter.",
            )
        })?;
        Ok(self.page(paging, limit))
    }

    fn page(&self, mut paging: Paging, limit: usize) -> Page {
        let take = if limit == 0 { paging.rest.len() } else { limit.min(paging.rest.len()) };
        let objects: Vec<Arc<Object>> = paging.rest.drain(..take).collect();
        let mut metadata = json!({ "resourceVersion": paging.version.to_string() });
        if !paging.rest.is_empty() {
            if paging.count_rest {
                metadata["remainingItemCount"] = Value::from(paging.rest.len());
            }
            let (last_token, open) = &mut *self.lock();
            *last_token += 1;
            paging.token = *last_token;
            metadata["continue"] = Value::from(format!("page-{}", paging.token));
            open.push_back(paging);
            if open.len() > OPEN_PAGINGS_MAX {
                open.pop_front();
            }
        }
        Page { objects, metadata }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, VecDeque<Paging>)> {
        self.open.lock().expect("nothing panics while it holds the pages")
    }
}

/// A resourceVersion of a query.
pub(crate) fn parse_version(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| {
        let error = FieldError::invalid("resourceVersion", Value::from(text), "must be a number");
        ApiError::bad_request(format!("invalid resource version: {error}"))
    })
}

fn snapshot(
    store: &Store,
    request: &ApiRequest,
    selection: &Selection,
    stale_events_back: usize,
) -> Result<Snapshot, ApiError> {
    let query = &request.query;
    let id = request.resource.store;
    let asked = match query.filled("resourceVersion") {
        None => None,
        Some(text) => Some(parse_version(text)?),
    };
    let exact = match query.filled("resourceVersionMatch") {
        None | Some("NotOlderThan") => false,
        Some("Exact") => true,
        Some(other) => {
            let known = ["Exact", "NotOlderThan", ""];
            let error = FieldError::not_supported("resourceVersionMatch", other, &known);
            return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &[error]));
        }
    };
    if asked.is_none() && query.filled("resourceVersionMatch").is_some() {
        let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        let error = FieldError::forbidden("resourceVersionMatch", why);
        return Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &[error]));
    }
    store.read(|tx| {
        let now = tx.version();
        if asked.is_some_and(|asked| asked > now) {
            return Err(ApiError::too_large_version(asked.unwrap_or_default(), now));
        }
        let version = match asked {
            Some(version) if exact => version,
            // Only a list that allows an older state may get one.
            Some(at_least) if stale_events_back > 0 => {
                tx.version_before(id, stale_events_back).max(at_least).min(now)
            }
            _ => now,
        };
        if version == now {
            return Ok(tx.snapshot(id, selection.namespace(), |o| selection.matches(o)));
        }
        tx.snapshot_at(id, version, selection.namespace(), |o| selection.matches(o)).map_err(|too_old| {
            ApiError::expired(format!(
                "The resourceVersion for the provided list is too old: {}",
                too_old.asked
            ))
        })
    })
}

/// The body of a list as chunks.
pub(crate) fn body(page: Page, view: View) -> impl Iterator<Item = Bytes> + Send {
    let mut head = Some(view.list_head(&page.metadata));
    let mut objects = page.objects.into_iter().peekable();
    let mut first = true;
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut out = head.take().map(String::into_bytes).unwrap_or_default();
        for object in objects.by_ref() {
            if !first {
                out.push(b',');
            }
            first = false;
            view.list_item(&object, &mut out);
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        if objects.peek().is_none() {
            out.extend_from_slice(b"]}");
            done = true;
        }
        Some(Bytes::from(out))
    })
}

/// The same as a stream for an HTTP body.
pub(crate) fn stream(
    chunks: impl Iterator<Item = Bytes> + Send,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    futures::stream::iter(chunks.map(Ok))
}
