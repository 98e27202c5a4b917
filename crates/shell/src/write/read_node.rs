//! Reads the current pods of a node before pods are bound there.

use crate::call::{Call, Caller};
use crate::inbox::{Inbox, Message};
use crate::tasks::Tasks;
use crate::watch::compiled::Compiled;
use crate::watch::needs::{Roles, Subject};
use crate::watch::{Originals, Watched};
use kube_client::core::ObjectList;
use secondmate_core::port::Input;
use secondmate_model::{Atom, Pod};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Maximum concurrent reads; others wait in line, within their deadline.
const CONCURRENCY: usize = 32;
/// Maximum time from request to answer: pods that could be bound are waiting for it. An API server answers such a read from its cache,
/// within some milliseconds, or a tenth of a second if the cache first has to catch up with etcd.
const DEADLINE: Duration = Duration::from_secs(1);

/// Reads the pods of nodes. Reading needs no leadership.
#[derive(Clone)]
pub(crate) struct NodeReader {
    caller: Caller,
    inbox: Inbox,
    tasks: Tasks,
    originals: Originals,
    slots: Arc<Semaphore>,
}

impl NodeReader {
    /// `originals` says which pods are kept in full, as in the watches.
    pub fn new(caller: Caller, inbox: Inbox, tasks: Tasks, originals: Originals) -> Self {
        Self { caller, inbox, tasks, originals, slots: Arc::new(Semaphore::new(CONCURRENCY)) }
    }

    pub fn read(&self, node: Atom) {
        let this = self.clone();
        let tasks = self.tasks.clone();
        tasks.spawn("read of a node's pods", async move {
            let pods = match timeout(DEADLINE, this.read_now(&node)).await {
                Ok(pods) => pods,
                Err(_) => Err(format!("no answer within {DEADLINE:?}")),
            };
            if let Err(error) = &pods {
                tracing::debug!(node = node.as_str(), "the node's pods were not read: {error}");
            }
            let _ = this.inbox.send(Message::Answered(Input::NodeRead { node, pods })).await;
        });
    }

    async fn read_now(&self, node: &Atom) -> Result<Vec<Arc<Pod>>, String> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        // Without a resource version, the answer includes everything that was bound before the request.
        let ended = "status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed";
        let call = Call::get(format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}%2C{ended}"));
        let body = self.caller.read(&call).await.map_err(|error| error.to_string())?;
        let list: ObjectList<Watched> = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let compile = |pod: &Watched| {
            match pod.compile(Subject::Pods, &Roles::default(), &self.originals).1 {
                Ok(Compiled::Pod(_, pod)) => Some(pod),
                // What cannot be understood is not counted when it arrives through the watch, either.
                _ => None,
            }
        };
        Ok(list.items.iter().filter_map(compile).collect())
    }
}
