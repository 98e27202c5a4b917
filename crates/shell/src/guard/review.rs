//! AdmissionReview v1, as far as binds need it.

use secondmate_guard::{Bind, Verdict};
use secondmate_model::{Atom, Uid};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The status code of a refusal: one after which no client retries by itself, and which leaves no doubt that nothing was done.
const REFUSED: u16 = 403;

#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(borrow, default)]
    object: Option<Binding<'a>>,
}

#[derive(Deserialize)]
struct Binding<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    target: Target<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// A request that was understood: the UID to answer under, and the bind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    uid: String,
    pub bind: Bind,
}

/// Reads a review of a Binding (`create` of `pods/binding`, or of the older `bindings`).
///
/// # Errors
/// It is not one.
pub(crate) fn read(body: &[u8]) -> Result<Asked, String> {
    let review: Review<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("expected an AdmissionReview of admission.k8s.io/v1: {error}"))?;
    let request = review.request;
    let binding = request.object.ok_or("the request has no object: expected a Binding")?;
    if binding.target.name.is_empty() {
        return Err("the object names no node as its target: expected a Binding".to_owned());
    }
    // The path takes precedence; `bindings` has no name in its path.
    let or = |first: Cow<'_, str>, second: Cow<'_, str>| match first.is_empty() {
        true => second.into_owned(),
        false => first.into_owned(),
    };
    let metadata = binding.metadata;
    Ok(Asked {
        uid: request.uid.into_owned(),
        bind: Bind {
            namespace: Atom::new(&or(request.namespace, metadata.namespace)),
            name: or(request.name, metadata.name).into(),
            uid: (!metadata.uid.is_empty()).then(|| Uid::from(&*metadata.uid)),
            node: Atom::new(&binding.target.name),
            dry_run: request.dry_run.unwrap_or(false),
        },
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

/// The answer to a request.
pub(crate) fn answer(asked: &Asked, verdict: &Verdict) -> Vec<u8> {
    let status = match verdict {
        Verdict::Refused(refusal) => {
            Some(Status { code: REFUSED, reason: "Forbidden", message: refusal.to_string() })
        }
        Verdict::Approved | Verdict::Passed(_) => None,
    };
    let response = Response { uid: &asked.uid, allowed: status.is_none(), status };
    let answer = Answer { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response };
    serde_json::to_vec(&answer).expect("texts and numbers can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_guard::{Refusal, Shortage};
    use serde_json::{Value, json};

    fn review(request: Value) -> Vec<u8> {
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_binding_is_read_whichever_resource_it_was_posted_to() {
        let expected = Asked {
            uid: "r-1".to_owned(),
            bind: Bind {
                namespace: Atom::new("team"),
                name: "web".into(),
                uid: Some(Uid::from("u-1")),
                node: Atom::new("n1"),
                dry_run: true,
            },
        };
        let object = json!({
            "kind": "Binding", "apiVersion": "v1",
            "metadata": { "name": "web", "namespace": "team", "uid": "u-1", "annotations": { "a": "\"b\"" } },
            "target": { "kind": "Node", "name": "n1" },
        });
        let posted = json!({
            "uid": "r-1", "name": "web", "namespace": "team", "operation": "CREATE", "dryRun": true,
            "resource": { "group": "", "version": "v1", "resource": "pods" }, "subResource": "binding",
            "object": object, "oldObject": null, "options": { "kind": "CreateOptions" },
        });
        assert_eq!(read(&review(posted.clone())).as_ref(), Ok(&expected));
        let mut older = posted;
        older["name"] = "".into();
        assert_eq!(read(&review(older)), Ok(expected));
    }

    #[test]
    fn what_is_no_binding_is_told_as_such() {
        for (body, expected) in [
            (b"{}".to_vec(), "expected an AdmissionReview"),
            (review(json!({ "uid": "r" })), "no object"),
            (review(json!({ "uid": "r", "object": { "spec": {} } })), "names no node"),
        ] {
            let error = read(&body).expect_err("no binding");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn answers_say_yes_or_why_not() {
        let object = json!({ "target": { "name": "n1" } });
        let asked = read(&review(json!({ "uid": "r-1", "object": object }))).expect("a binding");
        let said =
            |verdict: &Verdict| -> Value { serde_json::from_slice(&answer(&asked, verdict)).expect("JSON") };
        let yes = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": { "uid": "r-1", "allowed": true },
        });
        assert_eq!(said(&Verdict::Approved), yes);
        let refusal = Refusal {
            node: Atom::new("n1"),
            pod: "team/web".into(),
            shortages: vec![Shortage::Pods { bound: 3, allocatable: 3 }],
            first: None,
        };
        assert_eq!(
            said(&Verdict::Refused(Box::new(refusal)))["response"],
            json!({
                "uid": "r-1", "allowed": false,
                "status": {
                    "code": 403, "reason": "Forbidden",
                    "message": "node n1 has no room for team/web: Too many pods (3 of 3 bound)",
                },
            })
        );
    }
}
