//! One handler for each verb.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::api::{DeleteOptions, Deleted, PatchOptions};
use crate::decode;
use crate::error::ApiError;
use crate::eviction;
use crate::faults::Plan;
use crate::list::{self, Selection};
use crate::metrics;
use crate::object::Object;
use crate::patch::PatchKind;
use crate::pods::binding::Binding;
use crate::reply::{self, Reply};
use crate::request::{ApiRequest, Verb};
use crate::resource::Access;
use crate::server::Server;
use crate::view::View;
use crate::watch::{Watch, WatchContext};
use crate::wire;
use crate::workloads;

/// Lists of up to this many objects are sent in one piece, with a content length.
const SMALL_LIST: usize = 200;

pub(crate) fn answer(
    server: &Arc<Server>,
    request: &ApiRequest,
    headers: &HeaderMap,
    body: &Bytes,
    plan: &Plan,
) -> Result<Reply, ApiError> {
    let resource = request.resource;
    let reading = matches!(request.verb, Verb::Get | Verb::List | Verb::Watch);
    let allowed = match resource.access {
        Access::Full => true,
        Access::ReadOnly => reading,
        Access::CreateOnly => request.verb == Verb::Create,
        Access::Derived => matches!(request.verb, Verb::Get | Verb::List),
    };
    if !allowed {
        return Err(ApiError::method_not_allowed(resource.group, resource.plural, request.verb.as_str()));
    }
    if resource.access == Access::Derived {
        return metrics::answer(&server.api.store, request);
    }
    let content_type = reply::content_type(headers);
    let from_protobuf;
    let body = if !body.is_empty() && content_type.starts_with("application/vnd.kubernetes.protobuf") {
        from_protobuf = Bytes::from(wire::to_json(body)?.to_string());
        &from_protobuf
    } else {
        body
    };
    let clock = server.api.store.read(|tx| tx.clock());
    let view = View::negotiate(resource, reply::accept(headers), request.query.get("includeObject"), clock);
    match request.verb {
        Verb::Get => get(server, request, view),
        Verb::List => list(server, request, view, plan),
        Verb::Watch => watch(server, request, view, plan),
        Verb::Create => create(server, request, view, body),
        Verb::Update => update(server, request, view, body),
        Verb::Patch => patch(server, request, view, content_type, body),
        Verb::Delete => delete(server, request, view, body),
        Verb::DeleteCollection => delete_collection(server, request, body),
    }
}

fn show(code: StatusCode, view: View, object: &Object) -> Reply {
    reply::json_bytes(code, view.object(&object.bytes, true))
}

fn get(server: &Server, request: &ApiRequest, view: View) -> Result<Reply, ApiError> {
    let resource = request.resource;
    let object =
        server.api.store.read(|tx| tx.get(resource.store, &request.namespace, &request.name).cloned());
    let object = object.ok_or_else(|| ApiError::not_found(resource.group, resource.plural, &request.name))?;
    match request.subresource.as_str() {
        "" | "status" => Ok(show(StatusCode::OK, view, &object)),
        "scale" => Ok(reply::json(StatusCode::OK, &workloads::scale_of(&object.value()))),
        other => {
            Err(ApiError::method_not_allowed(resource.group, &format!("{}/{other}", resource.plural), "get"))
        }
    }
}

fn list(server: &Server, request: &ApiRequest, view: View, plan: &Plan) -> Result<Reply, ApiError> {
    let selection = Selection::parse(request)?;
    let page = server.pagings.list(&server.api.store, request, &selection, plan.stale_events_back)?;
    let small = page.objects.len() <= SMALL_LIST;
    let chunks = list::body(page, view);
    if small {
        let mut bytes = Vec::new();
        for chunk in chunks {
            bytes.extend_from_slice(&chunk);
        }
        return Ok(reply::json_bytes(StatusCode::OK, Bytes::from(bytes)));
    }
    Ok(reply::streamed(list::stream(chunks)))
}

fn watch(server: &Arc<Server>, request: &ApiRequest, view: View, plan: &Plan) -> Result<Reply, ApiError> {
    let selection = Selection::parse(request)?;
    let context = WatchContext {
        store: &server.api.store,
        faults: &server.faults,
        shutdown: server.shutdown.subscribe(),
        bookmark_interval: server.bookmark_interval,
    };
    let watch = Watch::open(context, request.resource, &request.query, selection, view, plan.watch.clone())?;
    Ok(reply::streamed(watch.into_stream()))
}

fn is_dry_run(request: &ApiRequest) -> bool {
    request.query.filled("dryRun").is_some()
}

fn is_strict(request: &ApiRequest) -> bool {
    request.query.get("fieldValidation") == Some("Strict")
}

/// The object of a create or update.
fn decode_object(request: &ApiRequest, body: &Bytes) -> Result<Value, ApiError> {
    if is_strict(request) {
        decode::strictly(request.resource, &decode::json(body)?)?;
    }
    decode::object(request.resource, body)
}

fn create(server: &Server, request: &ApiRequest, view: View, body: &Bytes) -> Result<Reply, ApiError> {
    let resource = request.resource;
    let dry_run = is_dry_run(request);
    match (resource.kind, request.subresource.as_str()) {
        ("Binding", _) | ("Pod", "binding") => {
            let binding = Binding::parse(&decode::json(body)?, &request.name)?;
            server.api.bind(&request.namespace, &binding, dry_run)?;
            let success = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            });
            Ok(reply::json(StatusCode::CREATED, &success))
        }
        ("Pod", "eviction") => {
            eviction::evict(server, &request.namespace, &request.name, &decode::json(body)?, dry_run)?;
            let success = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            });
            Ok(reply::json(StatusCode::CREATED, &success))
        }
        ("SelfSubjectAccessReview", _) => {
            let review = decode::object(resource, body)?;
            Ok(reply::json(StatusCode::CREATED, &server.access.review(review)))
        }
        (_, "") => {
            let value = decode_object(request, body)?;
            let object = server.api.create(resource, &request.namespace, value, dry_run)?;
            Ok(show(StatusCode::CREATED, view, &object))
        }
        (_, other) => Err(ApiError::method_not_allowed(
            resource.group,
            &format!("{}/{other}", resource.plural),
            "create",
        )),
    }
}

fn update(server: &Server, request: &ApiRequest, view: View, body: &Bytes) -> Result<Reply, ApiError> {
    let resource = request.resource;
    if request.subresource == "scale" {
        let scale = decode::json(body)?;
        let spec = json!({ "spec": { "replicas": scale["spec"]["replicas"] } });
        return scale_to(server, request, PatchKind::Merge, &spec);
    }
    let value = decode_object(request, body)?;
    let (object, created) = server.api.update(
        resource,
        &request.namespace,
        &request.name,
        &request.subresource,
        value,
        is_dry_run(request),
    )?;
    let code = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(show(code, view, &object))
}

fn patch(
    server: &Server,
    request: &ApiRequest,
    view: View,
    content_type: &str,
    body: &Bytes,
) -> Result<Reply, ApiError> {
    let kind = PatchKind::of_content_type(content_type)?;
    let patch_body = decode::json(body)?;
    if request.subresource == "scale" {
        return scale_to(server, request, kind, &patch_body);
    }
    let options = PatchOptions { kind, strict: is_strict(request), dry_run: is_dry_run(request) };
    let object = server.api.patch(
        request.resource,
        &request.namespace,
        &request.name,
        &request.subresource,
        &patch_body,
        options,
    )?;
    Ok(show(StatusCode::OK, view, &object))
}

/// A Scale's `spec.replicas` is that of the object behind it, so a patch of the one is a patch of the other.
fn scale_to(
    server: &Server,
    request: &ApiRequest,
    kind: PatchKind,
    patch_body: &Value,
) -> Result<Reply, ApiError> {
    let resource = request.resource;
    let options = PatchOptions { kind, strict: false, dry_run: is_dry_run(request) };
    let object = server.api.patch(resource, &request.namespace, &request.name, "", patch_body, options)?;
    Ok(reply::json(StatusCode::OK, &workloads::scale_of(&object.value())))
}

fn delete(server: &Server, request: &ApiRequest, view: View, body: &Bytes) -> Result<Reply, ApiError> {
    let resource = request.resource;
    if !request.subresource.is_empty() {
        return Err(ApiError::method_not_allowed(
            resource.group,
            &format!("{}/{}", resource.plural, request.subresource),
            "delete",
        ));
    }
    let options = DeleteOptions::parse(body, &request.query)?;
    match server.api.delete(resource, &request.namespace, &request.name, &options)? {
        Deleted::Marked(object) => Ok(show(StatusCode::OK, view, &object)),
        Deleted::Gone(object) if resource.kind == "Pod" => Ok(show(StatusCode::OK, view, &object)),
        Deleted::Gone(object) => {
            let mut details = json!({ "name": &*object.name, "kind": resource.plural, "uid": &*object.uid });
            if !resource.group.is_empty() {
                details["group"] = json!(resource.group);
            }
            let success = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details });
            Ok(reply::json(StatusCode::OK, &success))
        }
    }
}

fn delete_collection(server: &Server, request: &ApiRequest, body: &Bytes) -> Result<Reply, ApiError> {
    let resource = request.resource;
    let selection = Selection::parse(request)?;
    let options = DeleteOptions::parse(body, &request.query)?;
    let snapshot = server
        .api
        .store
        .read(|tx| tx.snapshot(resource.store, selection.namespace(), |o| selection.matches(o)));
    let mut items = Vec::new();
    for object in snapshot.objects {
        match server.api.delete(resource, &object.namespace, &object.name, &options) {
            Ok(Deleted::Gone(object) | Deleted::Marked(object)) => items.push(object.value()),
            // Deleted in the meantime, which is what was wanted.
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(reply::json(
        StatusCode::OK,
        &json!({
            "kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(),
            "metadata": { "resourceVersion": snapshot.version.to_string() }, "items": items,
        }),
    ))
}
