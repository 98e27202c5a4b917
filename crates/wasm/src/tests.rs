//! Guests in text form, for every branch of the host.

mod built;
mod calls;
mod conformance;
mod imports;
mod limits;
mod loading;
mod sdk;
mod state;

use crate::Guests;
use secondmate_framework::{Context, CycleState, Handle, Parity, Plugin, PluginError, Snapshot, Status};
use secondmate_model::objects::Objects;
use secondmate_model::{Atom, Node, NodeInfo, Pod, Timestamp, wire};
use serde_json::{Value, json};
use std::sync::Arc;

/// The time of all cycles in these tests.
const NOW: Timestamp = Timestamp::from_secs(1_000);

/// Loads a guest given as text, with these arguments in addition to its URL.
fn load(text: &str, more: Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    load_bytes(&bytes, more, handle)
}

fn load_bytes(bytes: &[u8], more: Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("guest.wasm");
    std::fs::write(&file, bytes).expect("ours");
    let mut args = json!({"guestURL": format!("file://{}", file.display())});
    let more = more.as_object().cloned().unwrap_or_default();
    args.as_object_mut().expect("an object").extend(more);
    Guests::new(None).expect("this machine runs guests").plugin("Guest", &args, handle)
}

fn guest(text: &str) -> Arc<dyn Plugin> {
    load(text, json!({}), &Handle::default()).expect("a guest")
}

fn refusal(text: &str, more: Value) -> String {
    load(text, more, &Handle::default()).err().expect("refused").to_string()
}

fn handle() -> Handle {
    Handle::new(Atom::new("mate"), Parity::Strict)
}

fn pod(name: &str) -> Arc<Pod> {
    let text = format!(r#"{{"metadata":{{"name":"{name}","namespace":"n","uid":"uid-{name}"}}}}"#);
    let wire: wire::Pod = serde_json::from_str(&text).expect("a pod");
    Arc::new(Pod::new(&wire).expect("it compiles").with_json(&text))
}

fn node(name: &str) -> Arc<NodeInfo> {
    let text = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
    let wire: wire::Node = serde_json::from_str(&text).expect("a node");
    Arc::new(NodeInfo::new(Arc::new(Node::new(&wire).expect("it compiles").with_json(&text))))
}

fn snapshot(names: &[&str]) -> Snapshot {
    Snapshot::new(names.iter().map(|name| node(name)).collect(), Objects::default())
}

fn context(snapshot: &Snapshot) -> Context<'_> {
    Context { snapshot, now: NOW, nominations: &() }
}

/// The guest's verdict on the pod `p` on the node `a`, without any preceding calls.
fn filter(plugin: &Arc<dyn Plugin>) -> Status {
    let snapshot = snapshot(&["a", "b"]);
    let filter = Arc::clone(plugin).as_filter().expect("it filters");
    filter.filter(&context(&snapshot), &CycleState::new(), &pod("p"), snapshot.nodes()[0].as_ref())
}

/// A module with one page of memory and the import for reasons.
fn module(body: &str) -> String {
    format!(
        r#"(module
            (import "k8s.io/scheduler" "result.status_reason" (func $reason (param i32 i32)))
            {body}
            (memory (export "memory") 1))"#
    )
}
