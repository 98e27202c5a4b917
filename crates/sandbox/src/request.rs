//! A parsed request: verb, resource, name, subresource and query.

use std::collections::BTreeMap;

use http::{Method, Uri};

use crate::resource::{self, PODS, ResourceType};

/// Subresources of pods that their containers answer, through the kubelet.
const OF_CONTAINERS: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

/// The API verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// GET of one object.
    Get,
    /// GET of a collection.
    List,
    /// GET of a collection with `watch=true`.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
}

impl Verb {
    /// As RBAC writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }
}

/// A class of requests, which are counted, failed and authorised in the same way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestClass {
    /// The verb.
    pub verb: Verb,
    /// The API group; empty for core.
    pub group: String,
    /// The plural name of the resource.
    pub resource: String,
    /// The subresource; empty for none.
    pub subresource: String,
}

impl std::fmt::Display for RequestClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb.as_str(), self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        Ok(())
    }
}

/// The query parameters, decoded. Of a repeated key, the first value is kept; only for `dryRun` could that make a difference.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(text: &str) -> Query {
        let mut map = BTreeMap::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            map.entry(percent_decode(key, true)).or_insert_with(|| percent_decode(value, true));
        }
        Query(map)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A parameter that is present and not empty.
    pub(crate) fn filled(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|v| !v.is_empty())
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some("true" | "1"))
    }
}

fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let encoded = bytes.contains(&b'%') || (plus_is_space && bytes.contains(&b'+'));
    if !encoded {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |b: u8| (b as char).to_digit(16);
        match bytes[at] {
            b'%' if at + 2 < bytes.len() => match (hex(bytes[at + 1]), hex(bytes[at + 2])) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    at += 3;
                    continue;
                }
                _ => out.push(b'%'),
            },
            b'+' if plus_is_space => out.push(b' '),
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A request for a served resource.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub verb: Verb,
    pub resource: &'static ResourceType,
    /// Empty: all namespaces, or cluster-scoped.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    pub subresource: String,
    pub query: Query,
}

impl ApiRequest {
    pub(crate) fn class(&self) -> RequestClass {
        RequestClass {
            verb: self.verb,
            group: self.resource.group.to_owned(),
            resource: self.resource.plural.to_owned(),
            subresource: self.subresource.clone(),
        }
    }
}

/// The route of a request.
#[derive(Debug)]
pub(crate) enum Route {
    Api(ApiRequest),
    /// Everything else: discovery, health, version, and unknown paths.
    Path(String),
    /// A served resource, but no verb for this method.
    NoVerb,
    /// Something that only a running container could answer.
    Container {
        namespace: String,
        pod: String,
        /// `log`, `exec`, …
        what: String,
    },
}

/// Finds the route of a request.
pub(crate) fn route(method: &Method, uri: &Uri) -> Route {
    let path = uri.path();
    let elsewhere = || Route::Path(path.to_owned());
    let segments: Vec<String> =
        path.split('/').filter(|s| !s.is_empty()).map(|s| percent_decode(s, false)).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return elsewhere(),
    };
    let (namespace, rest): (&str, &[&str]) = match rest {
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] if group.is_empty() => ("", rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (namespace, rest),
        _ => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return elsewhere(),
    };
    let Some(resource) = resource::find(group, version, plural) else { return elsewhere() };
    let in_namespace = !namespace.is_empty();
    // A namespaced object without its namespace, and the reverse, is a path that does not exist.
    if in_namespace != resource.namespaced && (in_namespace || !name.is_empty()) {
        return elsewhere();
    }
    if resource.store == PODS && in_namespace && OF_CONTAINERS.contains(&subresource) {
        return Route::Container {
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            what: subresource.to_owned(),
        };
    }
    if !subresource.is_empty() && !resource.subresources.contains(&subresource) {
        return elsewhere();
    }
    let query = Query::parse(uri.query().unwrap_or_default());
    let verb = match (method, name.is_empty()) {
        (&Method::GET | &Method::HEAD, true) if query.flag("watch") => Verb::Watch,
        (&Method::GET | &Method::HEAD, true) => Verb::List,
        (&Method::GET | &Method::HEAD, false) => Verb::Get,
        (&Method::POST, true) => Verb::Create,
        (&Method::POST, false) if !subresource.is_empty() => Verb::Create,
        (&Method::PUT, false) => Verb::Update,
        (&Method::PATCH, false) => Verb::Patch,
        (&Method::DELETE, false) => Verb::Delete,
        (&Method::DELETE, true) => Verb::DeleteCollection,
        _ => return Route::NoVerb,
    };
    Route::Api(ApiRequest {
        verb,
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
        query,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, uri: &str) -> String {
        match route(&method, &uri.parse().unwrap()) {
            Route::Api(r) => format!("{} ns={} name={}", r.class(), r.namespace, r.name),
            Route::Path(path) => format!("path {path}"),
            Route::NoVerb => "no verb".to_owned(),
            Route::Container { namespace, pod, what } => format!("{what} of {namespace}/{pod}"),
        }
    }

    #[test]
    fn paths_lead_to_verbs_and_resources() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/pods?watch=1", "watch pods ns= name="),
            (Method::GET, "/api/v1/namespaces/a/pods", "list pods ns=a name="),
            (Method::GET, "/api/v1/namespaces/a", "get namespaces ns= name=a"),
            (Method::PUT, "/api/v1/namespaces/a/finalize", "update namespaces/finalize ns= name=a"),
            (Method::POST, "/api/v1/namespaces/a/pods/p/binding", "create pods/binding ns=a name=p"),
            (Method::POST, "/api/v1/namespaces/a/bindings", "create bindings ns=a name="),
            (Method::PATCH, "/api/v1/nodes/n/status", "patch nodes/status ns= name=n"),
            (Method::DELETE, "/api/v1/namespaces/a/pods", "deletecollection pods ns=a name="),
            (
                Method::GET,
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/x%2Dy",
                "get leases.coordination.k8s.io ns=a name=x-y",
            ),
            (Method::GET, "/apis/batch/v1/tasks", "path /apis/batch/v1/tasks"),
            (Method::GET, "/api/v1/pods/p", "path /api/v1/pods/p"),
            (Method::GET, "/api/v1/namespaces/a/nodes", "path /api/v1/namespaces/a/nodes"),
            (Method::GET, "/api/v1/namespaces/a/pods/p/log", "log of a/p"),
            (Method::PUT, "/api/v1/nodes", "no verb"),
            (Method::GET, "/version", "path /version"),
        ] {
            assert_eq!(check(method, uri), expected, "{uri}");
        }
    }

    #[test]
    fn query_values_are_decoded() {
        let query = Query::parse("fieldSelector=spec.nodeName%21%3D&labelSelector=a+in+(b%2Cc)&watch");
        assert_eq!(query.get("fieldSelector"), Some("spec.nodeName!="));
        assert_eq!(query.get("labelSelector"), Some("a in (b,c)"));
        assert_eq!(query.get("watch"), Some(""));
        assert_eq!(query.get("limit"), None);
    }
}
