//! Writes requested by plugins: sent in order, before a pod is bound.

use super::Leading;
use crate::call::{Call, Caller, Content};
use crate::inbox::{Inbox, Message};
use crate::retry::{self, Failure, RetryPolicy};
use crate::tasks::Tasks;
use http::Method;
use secondmate_core::port::Input;
use secondmate_framework::{ApiWrite, WriteVerb};
use secondmate_model::Uid;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Maximum concurrent writes of plugins.
const CONCURRENCY: usize = 16;

/// Sends the writes of PreBind plugins.
#[derive(Clone)]
pub(crate) struct PluginWriter {
    caller: Caller,
    leading: Leading,
    inbox: Inbox,
    tasks: Tasks,
    slots: Arc<Semaphore>,
}

impl PluginWriter {
    pub fn new(caller: Caller, leading: Leading, inbox: Inbox, tasks: Tasks) -> Self {
        Self { caller, leading, inbox, tasks, slots: Arc::new(Semaphore::new(CONCURRENCY)) }
    }

    /// Sends the writes one after the other; stops at the first that fails.
    pub fn write(&self, pod: Uid, writes: Vec<ApiWrite>) {
        let this = self.clone();
        let tasks = self.tasks.clone();
        tasks.spawn("writes of a plugin", async move {
            let _slot = this.slots.acquire().await.expect("the semaphore is never closed");
            let mut result = Ok(());
            for write in &writes {
                let call = call(write);
                if let Err(failure) = retry::send(&this.caller, &call, RetryPolicy::ONCE, &this.leading).await
                {
                    result = Err(match failure {
                        Failure::NotLeading => "this scheduler is not the leader any more".to_owned(),
                        Failure::Call(error) => format!("{}: {error}", write.path),
                    });
                    break;
                }
            }
            let _ = this.inbox.send(Message::Answered(Input::WriteFinished(pod, result))).await;
        });
    }
}

pub(super) fn call(write: &ApiWrite) -> Call {
    let (method, content) = match write.verb {
        WriteVerb::Create => (Method::POST, Content::Json),
        WriteVerb::Replace => (Method::PUT, Content::Json),
        WriteVerb::MergePatch => (Method::PATCH, Content::MergePatch),
        WriteVerb::StrategicMergePatch => (Method::PATCH, Content::StrategicMergePatch),
        WriteVerb::Delete => (Method::DELETE, Content::Json),
    };
    Call::new(method, write.path.clone(), content, write.body.to_string().into_bytes())
}
