use crate::abi;
use crate::export::json::quoted;
use crate::objects::Pod;
use alloc::format;

/// Whether an event tells of something that is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the type of its name")]
pub enum EventType {
    Normal,
    Warning,
}

/// Tells an event about the pod that is scheduled, or the one that is added or removed: the host drops those about other pods. `action` is
/// what was done and `reason` why, each a word; `note` is for people.
pub fn event(pod: &Pod, kind: EventType, reason: &str, action: &str, note: &str) {
    let [name, namespace, uid] = [pod.name(), pod.namespace(), pod.uid()].map(quoted);
    let [reason, action, note] = [reason, action, note].map(quoted);
    let event = format!(
        r#"{{"RegardingReference":{{"Kind":"Pod","APIVersion":"v1","Name":{name},"Namespace":{namespace},"UID":{uid}}},"#
    ) + &format!(r#""Eventtype":"{kind:?}","Reason":{reason},"Action":{action},"Note":{note}}}"#);
    abi::tell_event(event.as_bytes());
}

/// Rejects a pod that waits after [`Permit`](crate::Permit), by its uid. Returns whether it did wait.
pub fn reject_waiting_pod(uid: &str) -> bool {
    abi::reject_waiting_pod(uid)
}
