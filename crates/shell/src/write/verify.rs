//! Reads a pod of which it is not known whether it is bound.

use super::PodRef;
use crate::call::{Call, CallError, Caller};
use crate::inbox::{Inbox, Message};
use crate::tasks::Tasks;
use secondmate_core::port::{Input, Verified};
use secondmate_model::objects::Source;
use secondmate_model::{Pod, Uid};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Maximum concurrent reads.
const CONCURRENCY: usize = 16;

/// Reads pods. Reading needs no leadership.
#[derive(Clone)]
pub(crate) struct Verifier {
    caller: Caller,
    inbox: Inbox,
    tasks: Tasks,
    slots: Arc<Semaphore>,
}

impl Verifier {
    pub fn new(caller: Caller, inbox: Inbox, tasks: Tasks) -> Self {
        Self { caller, inbox, tasks, slots: Arc::new(Semaphore::new(CONCURRENCY)) }
    }

    pub fn verify(&self, pod: &Pod) {
        let this = self.clone();
        let pod = PodRef::from(pod);
        let tasks = self.tasks.clone();
        tasks.spawn("look at a pod", async move {
            let _slot = this.slots.acquire().await.expect("the semaphore is never closed");
            let answer = this.caller.read(&Call::get(pod.path())).await;
            let verified = match answer {
                Ok(body) => found(&body, &pod.uid),
                Err(CallError::Answered { code: 404, .. }) => Verified::Gone,
                Err(error) => Verified::Failed(error.to_string()),
            };
            let _ = this.inbox.send(Message::Answered(Input::Verified(pod.uid, verified))).await;
        });
    }
}

/// What the API server's answer says about the pod with this UID.
pub(super) fn found(body: &[u8], uid: &Uid) -> Verified {
    let pod = match Source::try_from(body).and_then(Source::pod) {
        Ok(pod) if &*pod.metadata.uid != uid.as_str() => return Verified::Gone,
        Ok(pod) => Pod::new(&pod).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match pod {
        Ok(pod) => Verified::Found(Arc::new(pod)),
        Err(error) => Verified::Failed(error),
    }
}
