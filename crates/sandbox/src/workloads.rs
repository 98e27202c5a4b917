//! The controllers behind workloads: enough of each for what people apply to run.
//!
//! One task follows the logs of pods, nodes and workloads, and reconciles each workload that has changed.
//! Simulated are the pods that a workload wants, their names, labels and claims, revisions and rollbacks. Not
//! simulated: surge and availability during a rollout (a new template gets all replicas at once and the old ones
//! are removed, except for the order of a StatefulSet), Jobs' deadlines, backoff delays and pod failure policies.

mod cron_jobs;
mod daemon_sets;
mod deployments;
mod follower;
mod jobs;
mod replica_sets;
mod revisions;
mod scale;
mod stateful_sets;
mod validation;

pub(crate) use scale::{orphan_dependents, scale_of};
pub(crate) use validation::{settle, validate};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::api::{Api, DeleteOptions};
use crate::error::ApiError;
use crate::object::Object;
use crate::resource::{
    self, CONTROLLER_REVISIONS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, NODES, POD_NODE_NAME, POD_PHASE,
    PODS, REPLICA_SETS, STATEFUL_SETS, StoreId,
};
use crate::server::until_down;
use crate::time::Clock;
use follower::Follower;

/// Maximum number of pods that one pass creates or deletes for one workload, so that the others do not wait for a large one.
const BURST: usize = 250;
/// How long changes are gathered before they are acted on.
const GATHER: Duration = Duration::from_millis(3);
/// Time between two attempts to create the pods of a workload whose pods are rejected.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The kinds that the task follows: owners before what they own.
const FOLLOWED: [StoreId; 8] =
    [DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, CRON_JOBS, JOBS, CONTROLLER_REVISIONS, PODS];

/// Runs until shutdown.
pub(crate) async fn run(api: Arc<Api>, mut shutdown: watch::Receiver<bool>) {
    let mut changes: Vec<_> =
        FOLLOWED.iter().chain([&NODES]).map(|store| api.store.subscribe(*store)).collect();
    let mut controller = Controller {
        nodes: Follower::new(NODES),
        followers: FOLLOWED.map(Follower::new),
        clock: Clock::default(),
        api,
        retries: HashMap::new(),
    };
    loop {
        if !controller.step() {
            let retry = controller.retries.values().min().copied();
            let change =
                futures::future::select_all(changes.iter_mut().map(|change| Box::pin(change.changed())));
            tokio::select! {
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
                _ = change => {}
                () = until_down(&mut shutdown) => return,
            }
            tokio::time::sleep(GATHER).await;
        } else if *shutdown.borrow() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

struct Controller {
    api: Arc<Api>,
    nodes: Follower,
    followers: [Follower; FOLLOWED.len()],
    /// The setting of the sandbox's clock at the last pass.
    clock: Clock,
    /// Workloads to reconcile again at a certain time even if nothing changes: their pods were rejected, or they
    /// are due by the clock.
    retries: HashMap<Box<str>, Instant>,
}

impl Controller {
    /// One pass; false if nothing had changed.
    fn step(&mut self) -> bool {
        let mut dirty = HashSet::new();
        let mut followed = false;
        for follower in &mut self.followers {
            followed |= follower.follow(&self.api, &mut dirty);
        }
        if self.nodes.follow(&self.api, &mut HashSet::new()) {
            followed = true;
            dirty.extend(self.of(DAEMON_SETS).uids());
        }
        let clock = self.api.store.read(|tx| tx.clock());
        if clock != self.clock {
            // Workloads that wait for a certain time may be due now.
            self.clock = clock;
            followed = true;
            dirty.extend(self.of(CRON_JOBS).uids());
        }
        let now = Instant::now();
        let due: Vec<Box<str>> =
            self.retries.iter().filter(|(_, at)| **at <= now).map(|(uid, _)| uid.clone()).collect();
        if !followed && due.is_empty() {
            return false;
        }
        dirty.extend(due);
        for uid in dirty {
            self.reconcile(&uid);
        }
        true
    }

    fn of(&self, store: StoreId) -> &Follower {
        self.followers.iter().find(|f| f.store() == store).expect("each store that is asked for is followed")
    }

    fn reconcile(&mut self, uid: &str) {
        let found = self.followers.iter().find_map(|f| Some((f.store(), f.get(&self.api, uid)?)));
        match found {
            Some((DEPLOYMENTS, object)) => self.reconcile_deployment(&object),
            Some((REPLICA_SETS, object)) => self.reconcile_replica_set(&object),
            Some((STATEFUL_SETS, object)) => self.reconcile_stateful_set(&object),
            Some((DAEMON_SETS, object)) => self.reconcile_daemon_set(&object),
            Some((JOBS, object)) => self.reconcile_job(&object),
            Some((CRON_JOBS, object)) => self.reconcile_cron_job(&object),
            Some(_) => {}
            None => {
                self.retries.remove(uid);
                self.collect_orphans(uid);
            }
        }
    }

    /// Does what the garbage collector does when an owner is gone.
    fn collect_orphans(&self, uid: &str) {
        for follower in &self.followers {
            for object in follower.owned_by(&self.api, uid).iter().filter(|o| !o.deleting) {
                self.delete(follower.store(), object);
            }
        }
    }

    /// Whether the workload's pods were rejected a moment ago and it has not changed since: the status that says so
    /// is a change too.
    fn rests(&mut self, object: &Object, value: &Value) -> bool {
        let is_observed = value["metadata"]["generation"] == value["status"]["observedGeneration"];
        if is_observed && self.retries.get(&object.uid).is_some_and(|at| *at > Instant::now()) {
            return true;
        }
        self.retries.remove(&object.uid);
        false
    }

    /// The pods of a workload that are not being deleted.
    fn pods_of(&self, uid: &str) -> Vec<Arc<Object>> {
        let mut pods = self.of(PODS).owned_by(&self.api, uid);
        pods.retain(|p| !p.deleting);
        pods
    }

    fn delete(&self, store: StoreId, object: &Object) {
        let options = DeleteOptions { uid: Some(object.uid.to_string()), ..DeleteOptions::default() };
        // Deleted in the meantime, which is what was wanted.
        let _ = self.api.delete(resource::stored_as(store), &object.namespace, &object.name, &options);
    }

    fn create(&self, store: StoreId, namespace: &str, value: Value) -> Result<(), ApiError> {
        let resource = resource::stored_as(store);
        let value = crate::decode::checked(resource, value)?;
        self.api.create(resource, namespace, value, false).map(|_| ())
    }

    /// Creates a pod; if it is rejected, the workload is reconciled again later.
    fn create_pod(&mut self, owner: &Object, pod: Value) -> Result<(), ApiError> {
        let created = self.create(PODS, &owner.namespace, pod);
        if created.is_err() {
            self.retries.insert(owner.uid.clone(), Instant::now() + RETRY_PAUSE);
        }
        created
    }

    /// Writes a status that differs.
    fn write_status(&self, store: StoreId, object: &Object, status: &Value) {
        self.change(store, object, |value| value["status"] = status.clone());
    }

    /// Changes an object without the rules for clients, if it still exists and the change makes a difference.
    fn change(&self, store: StoreId, object: &Object, change: impl FnOnce(&mut Value)) {
        self.api.store.write(|tx| {
            let Some(current) = tx.get(store, &object.namespace, &object.name) else { return };
            if current.uid != object.uid {
                return;
            }
            let old = current.value();
            let mut value = old.clone();
            change(&mut value);
            if value != old {
                tx.put(store, value);
            }
        });
    }
}

/// Running, and so Ready: the simulated kubelets make it both in one write.
fn is_ready(pod: &Object) -> bool {
    !pod.deleting && &*pod.fields[POD_PHASE] == "Running"
}

fn is_over(pod: &Object) -> bool {
    matches!(&*pod.fields[POD_PHASE], "Succeeded" | "Failed")
}

fn label<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.labels.iter().find(|(k, _)| &**k == key).map(|(_, value)| &**value)
}

/// Pods that are not running anywhere come first, as upstream ranks the pods to delete.
fn by_worth(pods: &mut [Arc<Object>]) {
    pods.sort_by_key(|p| !p.fields[POD_NODE_NAME].is_empty());
}

fn owner_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

/// The pod that a template describes, without a name.
fn pod_of(owner: &Value, template: &Value) -> Value {
    let mut meta = json!({ "ownerReferences": [owner_reference(owner)] });
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            meta[field] = template["metadata"][field].clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"] })
}

/// Like [`pod_of`], with a name that begins with the owner's.
fn generated_pod_of(owner: &Value, template: &Value) -> Value {
    let mut pod = pod_of(owner, template);
    let name = owner["metadata"]["name"].as_str().unwrap_or_default();
    pod["metadata"]["generateName"] = Value::from(format!("{name}-"));
    pod
}

/// FNV-1a over the template's JSON, in the alphabet of upstream's hashes.
fn template_hash(template: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in template.to_string().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    (0..9)
        .map(|_| {
            let letter = LETTERS[(hash % LETTERS.len() as u64) as usize];
            hash /= LETTERS.len() as u64;
            char::from(letter)
        })
        .collect()
}
