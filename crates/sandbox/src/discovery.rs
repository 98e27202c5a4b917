//! What clients request before they request objects: groups, resources, version.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::openapi;
use crate::resource::{self, RESOURCES, ResourceType};

/// Answers a path that is not a resource; `git_version` is the version that the server reports. `Err` if nothing is served.
pub(crate) fn answer(path: &str, git_version: &str) -> Result<Answer, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        [] => Ok(Answer::Json(json!({
            "paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"],
        }))),
        ["healthz" | "livez" | "readyz", ..] => Ok(Answer::Text("ok")),
        ["version"] => Ok(Answer::Json(version(git_version))),
        ["api"] => Ok(Answer::Json(json!({
            "kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        }))),
        ["apis"] => Ok(Answer::Json(json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups().into_iter().map(|(group, version)| group_entry(group, version)).collect::<Value>(),
        }))),
        ["apis", group] => match groups().into_iter().find(|(g, _)| g == group) {
            Some((group, version)) => {
                let mut entry = group_entry(group, version);
                entry["kind"] = json!("APIGroup");
                entry["apiVersion"] = json!("v1");
                Ok(Answer::Json(entry))
            }
            None => Err(ApiError::no_such_path()),
        },
        ["api", version] => resources("", version),
        ["apis", group, version] => resources(group, version),
        // An empty document, in the protobuf format that kubectl requests: it looks here for kinds that are not in v3,
        // does not find them here either, and then reports that there is no such kind.
        ["openapi", "v2"] => Ok(Answer::Protobuf(b"")),
        ["openapi", "v3"] => Ok(Answer::Json(openapi::index())),
        ["openapi", "v3", "api", version] => Ok(Answer::Json(openapi::document("", version)?)),
        ["openapi", "v3", "apis", group, version] => Ok(Answer::Json(openapi::document(group, version)?)),
        ["api", _, ..] => Err(not_served("", &segments[1..])),
        ["apis", group, _, ..] => Err(not_served(group, &segments[2..])),
        _ => Err(ApiError::no_such_path()),
    }
}

/// The error for something that is not simulated, which names it. `path` begins with the version.
fn not_served(group: &str, path: &[&str]) -> ApiError {
    let mut error = ApiError::no_such_path();
    let (version, rest) = match path {
        [version, "namespaces", _, rest @ ..] if !rest.is_empty() => (version, rest),
        [version, rest @ ..] => (version, rest),
        [] => return error,
    };
    let known = |kind: &str| resource::find(group, version, kind).is_some();
    let what = match rest {
        [kind] | [kind, _] if !known(kind) => (*kind).to_owned(),
        [kind, _, subresource] => format!("{kind}/{subresource}"),
        _ => return error,
    };
    let of_group = if group.is_empty() { String::new() } else { format!(" in {group}/{version}") };
    error.message = format!(
        "{}: {what}{of_group} are not simulated; `kubectl api-resources` lists what is",
        error.message
    );
    error
}

/// The body of a response.
#[derive(Debug)]
pub(crate) enum Answer {
    Json(Value),
    Text(&'static str),
    Protobuf(&'static [u8]),
}

fn version(git_version: &str) -> Value {
    let mut parts = git_version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    json!({
        "major": major, "minor": minor, "gitVersion": git_version, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "sandbox/memory",
    })
}

fn groups() -> Vec<(&'static str, &'static str)> {
    resource::group_versions().into_iter().filter(|(group, _)| !group.is_empty()).collect()
}

fn group_entry(group: &str, version: &str) -> Value {
    let entry = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    json!({ "name": group, "versions": [entry], "preferredVersion": entry })
}

fn served(group: &str, version: &str) -> impl Iterator<Item = &'static ResourceType> {
    RESOURCES.iter().filter(move |r| r.group == group && r.version == version)
}

fn resources(group: &str, version: &str) -> Result<Answer, ApiError> {
    let mut list = Vec::new();
    for resource in served(group, version) {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": resource.verbs(),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        list.push(entry);
        list.extend(resource.subresources.iter().map(|subresource| subresource_entry(resource, subresource)));
    }
    if list.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(Answer::Json(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    })))
}

fn subresource_entry(resource: &ResourceType, subresource: &str) -> Value {
    let (kind, verbs, group, version): (&str, &[&str], &str, &str) = match subresource {
        "binding" => ("Binding", &["create"], "", ""),
        "eviction" => ("Eviction", &["create"], "policy", "v1"),
        "finalize" => (resource.kind, &["update"], "", ""),
        "scale" => ("Scale", &["get", "patch", "update"], "autoscaling", "v1"),
        _ => (resource.kind, &["get", "patch", "update"], "", ""),
    };
    let mut entry = json!({
        "name": format!("{}/{subresource}", resource.plural),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": verbs,
    });
    if !group.is_empty() {
        entry["group"] = json!(group);
        entry["version"] = json!(version);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_simulated_is_named() {
        let said = |path: &str| answer(path, crate::VERSION).unwrap_err().message;
        let general = ApiError::no_such_path().message;
        for (path, named) in [
            (
                "/apis/autoscaling/v2/namespaces/a/horizontalpodautoscalers",
                Some("horizontalpodautoscalers in autoscaling/v2"),
            ),
            ("/api/v1/namespaces/a/resourcequotas/q", Some("resourcequotas")),
            ("/api/v1/namespaces/a/pods/p/ephemeralcontainers", Some("pods/ephemeralcontainers")),
            (
                "/apis/certificates.k8s.io/v1/certificatesigningrequests",
                Some("certificatesigningrequests in certificates.k8s.io/v1"),
            ),
            // Nodes exist, but not in a namespace.
            ("/api/v1/namespaces/a/nodes", None),
            ("/apis/batch/v2", None),
            ("/metrics", None),
        ] {
            let expected = named.map_or_else(String::new, |named| {
                format!(": {named} are not simulated; `kubectl api-resources` lists what is")
            });
            assert_eq!(said(path), format!("{general}{expected}"), "{path}");
        }
    }
}
