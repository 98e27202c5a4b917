//! Everything that scheduling reads, listed once: what `secondmate dump` writes, and what `explain` reads from a live cluster.
//!
//! It only reads, page by page, and holds the objects of one kind at a time.

use crate::call::{Call, CallError, Caller};
use crate::connect::{ConnectError, check, client};
use crate::poll::{Asker, Failure};
use crate::watch::{kinds, polls};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kube_client::Config;
use secondmate_cycle::Profile;
use secondmate_model::objects::{ApiResource, ObjectKind};
use secondmate_telemetry::Metrics;
use serde::Deserialize;
use serde_json::Value;
use std::fmt::{self, Write};
use std::time::Duration;

/// Objects per page of a list.
pub(crate) const PAGE_OBJECTS: u32 = 500;
/// Maximum wait for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum attempts for a page or another answer, and for a list whose pages have expired.
const TRIES_MAX: u32 = 5;
/// Pause after the first failed attempt; it doubles each time.
const PAUSE: Duration = Duration::from_millis(200);
/// Maximum pause that an API server can request.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The scheduler's watch asks for the same: pods that have terminated take no room.
const LIVING_PODS: &str = "&fieldSelector=status.phase!%3DSucceeded,status.phase!%3DFailed";

/// Why a cluster cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The user is not allowed to list a kind.
    #[error("{message}; whoever dumps needs `list` on {resource}")]
    Forbidden {
        /// Plural, with the group.
        resource: String,
        /// The API server's message.
        message: String,
    },
    /// A list failed.
    #[error("cannot list {resource}: {message}")]
    List {
        /// Plural, with the group.
        resource: String,
        /// What happened.
        message: String,
    },
    /// The objects could not be passed on.
    #[error("cannot write the objects")]
    Write(#[source] std::io::Error),
}

/// What these profiles' plugins read: nodes and pods first, then the kinds that they declare, each once. What they poll is not a kind of
/// the API.
pub fn kinds_to_dump(profiles: &[Profile]) -> Vec<ApiResource> {
    let mut all = vec![ApiResource::NODES, ApiResource::PODS];
    for api in kinds(profiles).into_iter().map(ObjectKind::api).filter(|api| !api.is_polled()) {
        if !all.contains(&api) {
            all.push(api);
        }
    }
    all
}

/// Lists all objects of the kinds that these profiles' plugins read, and polls once what they poll. `each` gets the complete objects of one
/// kind, with `apiVersion` and `kind`. Returns what is missing: kinds that the API server does not serve, and polls that failed.
///
/// # Errors
/// The API server cannot be reached, a list fails or is forbidden, or `each` fails.
pub fn dump<'a>(
    cluster: &'a Config,
    profiles: &'a [Profile],
    each: &'a mut Each<'_>,
) -> LocalBoxFuture<'a, Result<Vec<String>, DumpError>> {
    dump_to(cluster, profiles, each).boxed_local()
}

/// What is done with the objects of a kind.
pub type Each<'a> = dyn FnMut(ApiResource, Vec<Value>) -> std::io::Result<()> + 'a;

async fn dump_to(
    cluster: &Config,
    profiles: &[Profile],
    each: &mut Each<'_>,
) -> Result<Vec<String>, DumpError> {
    // Metrics are counted but never exposed: the command ends with the dump.
    let metrics = Metrics::new();
    let client = client(cluster, &metrics, None).await?;
    let caller = Caller::new(client.clone(), None, PAGE_TIMEOUT);
    check(&caller, &cluster.cluster_url.to_string()).await?;
    let mut absent = Vec::new();
    for kind in kinds_to_dump(profiles) {
        match list(&caller, kind).await? {
            Some(objects) => each(kind, objects).map_err(DumpError::Write)?,
            None => absent.push(format!("{kind} ({})", kind.api_version())),
        }
    }
    for poll in polls(profiles) {
        let answer = Asker::new(poll.endpoint.clone(), client.clone(), poll.timeout).ask().await;
        let answer = answer.map_err(|failure| match failure {
            Failure::TimedOut => format!("no answer within {:?}", poll.timeout),
            Failure::Error(reason) => reason,
        });
        match answer.and_then(|json| serde_json::from_str(&json).map_err(|error| error.to_string())) {
            Ok(value) => {
                let at = jiff::Timestamp::now().to_string();
                let object = poll.kind.envelope(&poll.name, &value, &at);
                each(poll.kind.api(), vec![object]).map_err(DumpError::Write)?;
            }
            Err(reason) => absent.push(format!("{} from {} ({reason})", poll.kind.api(), poll.endpoint)),
        }
    }
    Ok(absent)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    items: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    continue_at: String,
}

/// Pods that have not terminated, for [`listed`].
pub(crate) const PODS: ApiResource = ApiResource::PODS;

/// All objects of a kind; `None` if it is not served.
async fn list(caller: &Caller, kind: ApiResource) -> Result<Option<Vec<Value>>, DumpError> {
    listed(caller, kind, |object| with_type(object, kind)).await
}

/// What `make` returns for each object of a kind, page by page; `None` if the kind is not served.
pub(crate) async fn listed<T>(
    caller: &Caller,
    kind: ApiResource,
    make: impl Fn(Value) -> T,
) -> Result<Option<Vec<T>>, DumpError> {
    let resource = match kind.group {
        "" => kind.plural.to_owned(),
        group => format!("{}.{group}", kind.plural),
    };
    let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
    let mut base = format!("{root}/{}/{}?limit={PAGE_OBJECTS}", kind.version, kind.plural);
    if kind == ApiResource::PODS {
        base += LIVING_PODS;
    }
    match paged(caller, &base, AtMost::ALL, |object| Some(make(object))).await {
        Ok(list) => Ok(Some(list.kept)),
        Err(CallError::Answered { code: 404, .. }) if !kind.group.is_empty() => Ok(None),
        Err(CallError::Answered { code: 403, message, .. }) => {
            Err(DumpError::Forbidden { resource, message })
        }
        Err(error) => Err(DumpError::List { resource, message: error.to_string() }),
    }
}

/// How much of a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtMost {
    /// The number of results that are kept. Items that are left out do not count.
    pub kept: usize,
    /// The number of pages, whatever they contain.
    pub pages: usize,
}

impl AtMost {
    pub const ALL: Self = Self { kept: usize::MAX, pages: usize::MAX };

    /// Keeps this many results, provided that no more than nine out of ten items are left out.
    pub const fn keep(kept: usize) -> Self {
        Self { kept, pages: 10 * kept.div_ceil(PAGE_OBJECTS as usize) }
    }
}

impl fmt::Display for AtMost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the limit is {}, in {} pages of {PAGE_OBJECTS}", self.kept, self.pages)
    }
}

/// The results for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept<T> {
    pub kept: Vec<T>,
    /// There may be more, which was not read.
    pub cut: bool,
}

/// What `make` returns for each item of a list, page by page, within the given limits; `make` may leave items out. `base` is the path, with
/// a query that sets the page size.
pub(crate) async fn paged<T>(
    caller: &Caller,
    base: &str,
    at_most: AtMost,
    make: impl Fn(Value) -> Option<T>,
) -> Result<Kept<T>, CallError> {
    let mut restarts = 0;
    let mut kept: Vec<T> = Vec::new();
    let mut pages = 0;
    let mut continue_at = String::new();
    loop {
        let mut path = base.to_owned();
        if !continue_at.is_empty() {
            let _ = write!(path, "&continue={}", percent_encoded(&continue_at));
        }
        let page = match page(caller, &path).await {
            Ok(page) => page,
            // The list is too old to be continued: start again.
            Err(CallError::Answered { code: 410, .. }) if restarts < TRIES_MAX => {
                restarts += 1;
                kept.clear();
                pages = 0;
                continue_at.clear();
                continue;
            }
            Err(error) => return Err(error),
        };
        kept.extend(page.items.into_iter().flatten().filter_map(&make));
        pages += 1;
        continue_at = page.metadata.continue_at;
        let is_last = continue_at.is_empty();
        if is_last || kept.len() >= at_most.kept || pages >= at_most.pages {
            let cut = !is_last || kept.len() > at_most.kept;
            kept.truncate(at_most.kept);
            return Ok(Kept { kept, cut });
        }
    }
}

/// Reads one page.
async fn page(caller: &Caller, path: &str) -> Result<Page, CallError> {
    let body = read_patiently(caller, path).await?;
    serde_json::from_slice(&body).map_err(|error| CallError::Answered {
        code: 200,
        message: format!("the answer is no list: {error}"),
        retry_after: None,
    })
}

/// Reads something, retrying errors that may go away.
pub(crate) async fn read_patiently(caller: &Caller, path: &str) -> Result<Bytes, CallError> {
    let call = Call::get(path.to_owned());
    let mut pause = PAUSE;
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match caller.read(&call).await {
            Ok(body) => return Ok(body),
            Err(error) => error,
        };
        let asked = match &error {
            CallError::Answered { code: 429 | 500..=599, retry_after, .. } => *retry_after,
            CallError::Answered { .. } => return Err(error),
            CallError::NotSent(_) | CallError::Lost(_) => None,
        };
        if tries == TRIES_MAX {
            return Err(error);
        }
        tokio::time::sleep(asked.unwrap_or(pause).min(PAUSE_MAX)).await;
        pause *= 2;
    }
}

/// The items of a list do not carry their `apiVersion` and `kind`.
fn with_type(mut object: Value, kind: ApiResource) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.insert("apiVersion".to_owned(), kind.api_version().into());
        fields.insert("kind".to_owned(), kind.kind.into());
    }
    object
}

/// A value as it is written in a field selector, in which commas, equals signs and backslashes have a meaning. The API server accepts any
/// text for `spec.schedulerName`.
pub(crate) fn selector_value(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube_client::client::Body;
    use std::convert::Infallible;

    /// An API server that lists the numbers up to this one, three per page.
    fn counting_to(last: u64) -> Caller {
        let service = tower::service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default();
            let start = query.rsplit_once("&continue=").map_or(1, |(_, at)| at.parse().expect("a number"));
            let items: Vec<u64> = (start..=last.min(start + 2)).collect();
            let more = if start + 3 <= last { (start + 3).to_string() } else { String::new() };
            let body = serde_json::json!({ "metadata": { "continue": more }, "items": items });
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::from(body.to_string().into_bytes()))))
        });
        Caller::new(kube_client::Client::new(service, "default"), None, PAGE_TIMEOUT)
    }

    #[tokio::test]
    async fn a_list_that_is_not_read_to_its_end_is_known_to_be_cut() {
        let read = async |last: u64, kept: usize, pages: usize, but_for: u64| {
            let make = |item: Value| item.as_u64().filter(|number| *number > but_for);
            let list =
                paged(&counting_to(last), "/api/v1/numbers?limit=3", AtMost { kept, pages }, make).await;
            let Kept { kept, cut } = list.expect("it answers");
            (kept.len(), cut)
        };
        assert_eq!(read(7, usize::MAX, usize::MAX, 0).await, (7, false));
        assert_eq!(read(7, 7, 3, 0).await, (7, false), "just as many");
        assert_eq!(read(7, 6, 9, 0).await, (6, true), "at the end of a page");
        assert_eq!(read(7, 4, 9, 0).await, (4, true));
        assert_eq!(read(2, 1, 9, 0).await, (1, true), "within the last page");
        assert_eq!(read(7, 2, 9, 5).await, (2, false), "what is left out does not count");
        assert_eq!(read(9, 5, 2, 8).await, (0, true), "but its pages do");
        assert_eq!(read(0, 1, 1, 0).await, (0, false));
    }

    #[test]
    fn values_of_field_selectors_are_escaped() {
        for (name, expected) in [("my-scheduler", "my-scheduler"), (r"a,b=c\", r"a\,b\=c\\"), ("", "")] {
            assert_eq!(selector_value(name), expected);
        }
    }
}
