//! Module `k8s.io/scheduler`, except for the results.

use super::{Done, Host, memory};
use secondmate_framework::{Handle, PluginEvent};
use secondmate_model::{Atom, Pod, Uid};
use serde::Deserialize;
use std::sync::{Arc, PoisonError};
use tracing::warn;
use wasmtime::{Caller, Linker, Result};

const MODULE: &str = "k8s.io/scheduler";
/// Upstream's message for a pod that a guest rejects while it is waiting.
const REJECTED: &str = "removed";
/// Maximum length of an event's reason and action, as in the API.
const WORD_BYTES_MAX: usize = 128;
/// Maximum length of an event's text, as in the API.
const NOTE_BYTES_MAX: usize = 1024;

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(MODULE, "get_config", config)?;
    linker.func_wrap(MODULE, "currentPod", current_pod)?;
    linker.func_wrap(MODULE, "targetPod", target_pod)?;
    linker.func_wrap(MODULE, "currentNodeName", node_name)?;
    linker.func_wrap(MODULE, "filteredNodeList", feasible)?;
    linker.func_wrap(MODULE, "nodeToStatusMap", statuses)?;
    linker.func_wrap(MODULE, "nodeScoreList", scores)?;
    linker.func_wrap(MODULE, "nodeImageStates", images)?;
    linker.func_wrap(MODULE, "handle.eventrecorder.eventf", event)?;
    linker.func_wrap(MODULE, "handle.reject_waiting_pod", reject)?;
    linker.func_wrap(MODULE, "handle.get_waiting_pod", waiting)?;
    Ok(())
}

fn config(mut caller: Caller<'_, Host>, buffer: u32, limit: u32) -> Result<u32> {
    memory::hand_over_own(&mut caller, buffer, limit, |host| host.shared.config.as_bytes())
}

fn current_pod(mut caller: Caller<'_, Host>, buffer: u32, limit: u32) -> Result<u32> {
    let host = caller.data_mut();
    let bytes = host.encoded(host.asked.pod.clone());
    memory::hand_over(&mut caller, buffer, limit, &bytes)
}

fn target_pod(mut caller: Caller<'_, Host>, buffer: u32, limit: u32) -> Result<u32> {
    let host = caller.data_mut();
    let bytes = host.encoded(host.asked.target.clone());
    memory::hand_over(&mut caller, buffer, limit, &bytes)
}

fn node_name(mut caller: Caller<'_, Host>, buffer: u32, limit: u32) -> Result<u32> {
    memory::hand_over_own(&mut caller, buffer, limit, |host| host.asked.node.as_bytes())
}

fn feasible(mut caller: Caller<'_, Host>, buffer: u32, limit: u32) -> Result<u32> {
    memory::hand_over_own(&mut caller, buffer, limit, |host| {
        host.asked.feasible.as_deref().unwrap_or("[]").as_bytes()
    })
}

/// The object, if there is one.
fn object(text: &str) -> &[u8] {
    if text.is_empty() { b"{}" } else { text.as_bytes() }
}

fn statuses(mut caller: Caller<'_, Host>, buffer: u32, limit: u32) -> Result<u32> {
    memory::hand_over_own(&mut caller, buffer, limit, |host| object(&host.asked.statuses))
}

fn scores(mut caller: Caller<'_, Host>, buffer: u32, limit: u32) -> Result<u32> {
    memory::hand_over_own(&mut caller, buffer, limit, |host| object(&host.asked.scores))
}

fn images(mut caller: Caller<'_, Host>, name: u32, length: u32, buffer: u32, limit: u32) -> Result<u32> {
    let name = memory::read_text(&mut caller, name, length)?;
    let shared = &caller.data().shared;
    let text = shared.mirror.lock().unwrap_or_else(PoisonError::into_inner).images(&name);
    memory::hand_over(&mut caller, buffer, limit, text.as_bytes())
}

/// An event as written by a guest; the related object is not read, since no guest can specify one.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Event {
    regarding_reference: Reference,
    eventtype: String,
    reason: String,
    action: String,
    note: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Reference {
    name: String,
    namespace: String,
    #[serde(rename = "UID")]
    uid: String,
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

fn event(mut caller: Caller<'_, Host>, pointer: u32, length: u32) -> Result<()> {
    let event: Event = memory::read_json(&mut caller, pointer, length, "the event is not as it should be")?;
    let Host { shared, asked, .. } = caller.data();
    let regards = |pod: &&Arc<Pod>| {
        let of = &event.regarding_reference;
        pod.uid.as_str() == of.uid || *pod.name == *of.name && pod.namespace.as_str() == of.namespace
    };
    let Some(pod) = [&asked.pod, &asked.target].into_iter().flatten().find(regards) else {
        let Reference { name, namespace, .. } = &event.regarding_reference;
        warn!(guest = %shared.name, "an event about {namespace}/{name}, which is not the pod of the call, is dropped");
        return Ok(());
    };
    let event = PluginEvent {
        pod: Arc::clone(pod),
        warning: event.eventtype == "Warning",
        reason: cut(event.reason, WORD_BYTES_MAX),
        action: cut(event.action, WORD_BYTES_MAX),
        note: cut(event.note, NOTE_BYTES_MAX),
    };
    if shared.handle.event(event.clone()) {
        let PluginEvent { pod, warning, reason, action, note } = event;
        caller.data_mut().done.push(Done::Event { uid: pod.uid.to_string(), warning, reason, action, note });
    }
    Ok(())
}

/// Repeats what a guest did in a call of the same plugin. Events are about one of the given pods.
pub(crate) fn repeat(done: Done, handle: &Handle, plugin: &Atom, pods: &[&Arc<Pod>]) {
    match done {
        Done::Event { uid, warning, reason, action, note } => {
            if let Some(pod) = pods.iter().find(|pod| pod.uid.as_str() == uid) {
                handle.event(PluginEvent { pod: Arc::clone(pod), warning, reason, action, note });
            }
        }
        Done::Reject(uid) => {
            handle.reject(&Uid::from(&*uid), plugin.as_str(), REJECTED);
        }
    }
}

fn reject(mut caller: Caller<'_, Host>, uid: u32, length: u32, out: u32, _limit: u32) -> Result<()> {
    let uid = Uid::from(&*memory::read_text(&mut caller, uid, length)?);
    let shared = &caller.data().shared;
    let rejected = shared.handle.waiting_pod(&uid).is_some()
        && shared.handle.reject(&uid, shared.name.as_str(), REJECTED);
    if rejected {
        caller.data_mut().done.push(Done::Reject(uid.to_string()));
    }
    memory::write(&mut caller, out, &u64::from(rejected).to_le_bytes())
}

/// Upstream's protocol: a waiting pod is written if it fits, without its length; eight zero bytes mean that the pod is not waiting.
fn waiting(mut caller: Caller<'_, Host>, uid: u32, length: u32, out: u32, limit: u32) -> Result<()> {
    let uid = Uid::from(&*memory::read_text(&mut caller, uid, length)?);
    match caller.data().shared.handle.waiting_pod(&uid) {
        Some(pod) => {
            let bytes = crate::protobuf::pod(&pod);
            memory::hand_over(&mut caller, out, limit, &bytes)?;
            Ok(())
        }
        None => memory::write(&mut caller, out, &0_u64.to_le_bytes()),
    }
}
