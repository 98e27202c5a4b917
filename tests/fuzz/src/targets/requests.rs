//! Requests: to the port for probes and the one for debugging, and to the sandbox.

use std::cell::{OnceCell, RefCell};

use bytes::Bytes;
use http::{Method, Uri};
use secondmate_sandbox::fuzzing::{
    Front, apply_patch, field_selector, label_selector, protobuf as read_protobuf,
};
use secondmate_telemetry::admin::DebugResponse;
use secondmate_telemetry::health::Probe;
use secondmate_telemetry::{Admin, Metrics};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{ensure, ensure_told, text};
use crate::mutate::body;

/// What a pipe between client and server holds; more than any answer here.
const PIPE_BYTES: usize = 256 << 10;

/// Turns of the server from a request to its answer, with some to spare.
const TURNS: usize = 16;

pub(super) fn query_selector(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let mut labels: Vec<(Box<str>, Box<str>)> =
        [("app", "web"), ("tier", "front"), ("example.com/size", "7")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
    labels.sort();
    let values: Vec<Box<str>> = ["a", "Pending"].map(Into::into).into();
    let answers = [label_selector(input, &labels), field_selector(input, &values)];
    for answer in &answers {
        if let Err(error) = answer {
            ensure(error.code == 400, "a bad selector is a bad request", || format!("{error:?}"))?;
            ensure_told(&error.message)?;
        }
    }
    Ok(answers.iter().any(Result::is_ok))
}

struct Ports {
    admin: Admin,
    runtime: tokio::runtime::Runtime,
}

thread_local! {
    static PORTS: OnceCell<Ports> = const { OnceCell::new() };
}

fn ports() -> Ports {
    let admin = Admin::new(Metrics::default());
    admin.health.register("watches", Probe::Live, || Ok(()));
    admin.health.register("leaderElection", Probe::Ready, || Err("not yet".to_owned()));
    admin.set_configuration(json!({ "parallelism": 16 }));
    admin.mount("queue", "what waits", async |request| DebugResponse::text(format!("{request:?}")));
    admin.mount("cache/compare", "what differs", async |_| DebugResponse::json(&json!({})));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    Ports { admin, runtime }
}

pub(super) fn probe(input: &[u8]) -> Result<bool, String> {
    PORTS.with(|made| {
        let Ports { admin, runtime } = made.get_or_init(ports);
        let mut taken = false;
        for debugging in [false, true] {
            let answer = runtime.block_on(ask(admin.clone(), debugging, input));
            // A client that sends nothing, or half a head and goes, is owed nothing.
            let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
            ensure(answer.is_empty() || status.len() == 3, "an answer begins with its status", || {
                String::from_utf8_lossy(&answer).into_owned()
            })?;
            let failed_check = status == b"500" && !debugging;
            ensure(
                status.first() != Some(&b'5') || failed_check,
                "no request makes the server fail",
                || String::from_utf8_lossy(&answer).into_owned(),
            )?;
            taken |= status == b"200";
        }
        Ok(taken)
    })
}

/// Sends bytes over a connection, as a client that then sends no more, and reads all that comes.
async fn ask(admin: Admin, debugging: bool, request: &[u8]) -> Vec<u8> {
    let (mut client, server) = duplex(PIPE_BYTES);
    let served = admin.serve_connection(debugging, server);
    let asked = async move {
        // The server may have closed before it has read all.
        let _ = client.write_all(request).await;
        // The end of what a client sends is taken for its going, so the server has its turns before it.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    tokio::join!(served, asked).1
}

/// The objects that requests are about.
fn front() -> Front {
    let front = Front::new();
    let objects = [
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" }, "status": { "allocatable": { "cpu": "4", "pods": "9" } } }),
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "labels": { "app": "web" } },
            "spec": { "schedulerName": "my-scheduler", "containers": [{ "name": "c", "image": "i" }] } }),
    ];
    for object in objects {
        front.objects().create(object).expect("a valid object");
    }
    front
}

/// What the objects are read by.
const READ: [&str; 4] =
    ["/api/v1/nodes/n", "/api/v1/namespaces/default/pods/p", "/api/v1/pods", "/api/v1/nodes"];

fn read(front: &Front, path: &'static str) -> (u16, Bytes) {
    front.answer(&Method::GET, &Uri::from_static(path), "", "", &[])
}

/// A front, and what is read of it as long as nobody has written anything.
struct Fresh {
    front: Front,
    answers: [(u16, Bytes); READ.len()],
}

thread_local! {
    /// Kept from input to input while it is as it was made: making one takes longer than all else.
    static FRESH: RefCell<Option<Fresh>> = const { RefCell::new(None) };
}

fn fresh() -> Fresh {
    FRESH.take().unwrap_or_else(|| {
        let front = front();
        let answers = READ.map(|path| read(&front, path));
        Fresh { front, answers }
    })
}

pub(super) fn sandbox(input: &[u8]) -> Result<bool, String> {
    let (head, body) = body(input);
    let Some(head) = text(head) else { return Ok(false) };
    let mut lines = head.split('\n');
    let (method, uri) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method.as_bytes()), uri.parse::<Uri>()) else {
        return Ok(false);
    };
    let (content_type, accept) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let fresh = fresh();
    let (status, answer) = fresh.front.answer(&method, &uri, content_type, accept, body);
    // To a Binding that is not valid kube-apiserver answers 500, and so does the sandbox.
    let unfit_binding = status == 500 && head.contains("binding");
    // Nor has it a state that is yet to come: 504.
    let from_the_future =
        status == 504 && String::from_utf8_lossy(&answer).contains("ResourceVersionTooLarge");
    let is_answer = (200..500).contains(&status) || unfit_binding || from_the_future;
    ensure(is_answer, "no request makes the server fail", || {
        format!("{status} {}", String::from_utf8_lossy(&answer))
    })?;
    if status >= 400 {
        let refusal: Value = serde_json::from_slice(&answer).unwrap_or_default();
        ensure(refusal["kind"] == "Status" && refusal["code"] == status, "a refusal is a Status", || {
            String::from_utf8_lossy(&answer).into_owned()
        })?;
        ensure_told(refusal["message"].as_str().unwrap_or_default())?;
    }
    let answers = READ.map(|path| read(&fresh.front, path));
    if answers == fresh.answers {
        FRESH.set(Some(fresh));
        return Ok(status < 400);
    }
    ensure(status < 400, "what is refused changes nothing", || format!("{status} {}", answered(&answers)))?;
    // Whatever was done, both objects can still be read, or are gone.
    for ((status, answer), path) in answers.iter().zip(READ) {
        ensure(matches!(status, 200 | 404), "what is stored can be read", || format!("{status} of {path}"))?;
        let object = serde_json::from_slice::<Value>(answer);
        ensure(object.is_ok(), "what is stored is JSON", || String::from_utf8_lossy(answer).into_owned())?;
    }
    Ok(status < 400)
}

fn answered(answers: &[(u16, Bytes)]) -> String {
    let texts =
        answers.iter().map(|(status, answer)| format!("{status} {}", String::from_utf8_lossy(answer)));
    texts.collect::<Vec<_>>().join("\n")
}

pub(super) fn patch(input: &[u8]) -> Result<bool, String> {
    let Ok(given) = serde_json::from_slice::<Value>(input) else { return Ok(false) };
    let media_type = given["type"].as_str().unwrap_or("application/json-patch+json");
    let (target, patch) = (&given["target"], &given["patch"]);
    let mut patched = target.clone();
    match apply_patch(media_type, &mut patched, patch) {
        Ok(()) => {
            let mut again = target.clone();
            apply_patch(media_type, &mut again, patch)
                .map_err(|error| format!("the same patch applies: {error:?}"))?;
            ensure(again == patched, "the same patch gives the same", || format!("{patched}\n{again}"))?;
            if media_type == "application/merge-patch+json" {
                // RFC 7386: what is merged already changes nothing.
                let mut twice = patched.clone();
                apply_patch(media_type, &mut twice, patch)
                    .map_err(|error| format!("the same patch applies: {error:?}"))?;
                ensure(twice == patched, "a merge patch applied twice changes nothing", || {
                    format!("{patched}\n{twice}")
                })?;
            }
            Ok(true)
        }
        Err(error) => {
            ensure_told(&error.message)?;
            ensure((400..500).contains(&error.code), "a bad patch is a bad request", || {
                format!("{error:?}")
            })?;
            if media_type == "application/json-patch+json" {
                ensure(patched == *target, "a JSON patch applies as a whole or not at all", || {
                    patched.to_string()
                })?;
            }
            Ok(false)
        }
    }
}

pub(super) fn protobuf(input: &[u8]) -> Result<bool, String> {
    match read_protobuf(input) {
        Ok(value) => {
            ensure(read_protobuf(input).as_ref().ok() == Some(&value), "read again it is the same", || {
                value.to_string()
            })?;
            Ok(true)
        }
        Err(error) => {
            ensure(matches!(error.code, 400 | 415), "a bad body is a bad request", || format!("{error:?}"))?;
            ensure_told(&error.message).map(|()| false)
        }
    }
}
