//! ReplicaSets and Deployments: as much of their controllers as makes `kubectl apply` of a Deployment useful.
//!
//! One task keeps the number of a ReplicaSet's pods and one ReplicaSet per template of a Deployment. There is no
//! surge control: a new template gets all replicas at once and the old ones go.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::api::{Api, DeleteOptions, PatchOptions};
use crate::error::{ApiError, FieldError};
use crate::object::Object;
use crate::pods;
use crate::resource::{self, DEPLOYMENTS, POD_NODE_NAME, POD_PHASE, PODS, REPLICA_SETS, StoreId};
use crate::selectors::LabelSelector;
use crate::server::until_down;
use crate::store::{Change, Event};

/// Pods that one pass creates or deletes for one ReplicaSet, so that no one waits for a large one.
const BURST: usize = 250;
/// Events taken from a log at once.
const BATCH_EVENTS: usize = 1024;
/// Changes are gathered for so long before they are acted on.
const GATHER: Duration = Duration::from_millis(3);
/// Between two tries to create the pods of a ReplicaSet whose pods are refused.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The label that tells the pods of one template from those of another.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The field errors of a ReplicaSet or Deployment.
pub(crate) fn validate(value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &value["spec"];
    let replicas = spec["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        errors.push(FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0"));
    }
    if !spec["selector"].is_object() {
        errors.push(FieldError::required("spec.selector", ""));
        return errors;
    }
    pods::check_selector("spec.selector", &spec["selector"], &mut errors);
    let mut labels: Vec<(Box<str>, Box<str>)> = spec["template"]["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into()))
        .collect();
    labels.sort_unstable();
    let selector = LabelSelector::from_object(&spec["selector"]);
    if selector.is_empty() {
        errors.push(FieldError::invalid(
            "spec.selector",
            spec["selector"].clone(),
            "empty selector is invalid for deployment",
        ));
    } else if !selector.matches(&labels) {
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            spec["template"]["metadata"]["labels"].clone(),
            "`selector` does not match template `labels`",
        ));
    }
    if spec["template"]["spec"]["containers"].as_array().is_none_or(Vec::is_empty) {
        errors.push(FieldError::required("spec.template.spec.containers", ""));
    }
    errors
}

/// The Scale of a ReplicaSet or Deployment.
pub(crate) fn scale_of(object: &Value) -> Value {
    let meta = &object["metadata"];
    let selector: Vec<String> = object["spec"]["selector"]["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": { "replicas": object["spec"]["replicas"] },
        "status": { "replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector.join(",") },
    })
}

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// One kind of object that the task follows.
struct Follower {
    store: StoreId,
    cursor: u64,
    /// Owner's UID to the keys of what it owns.
    owned: HashMap<Box<str>, BTreeSet<Key>>,
    /// UID to key, of what exists.
    known: HashMap<Box<str>, Key>,
}

impl Follower {
    fn new(store: StoreId) -> Follower {
        Follower { store, cursor: 0, owned: HashMap::new(), known: HashMap::new() }
    }

    /// Follows the log; gives the UIDs of what changed and of the owners of what changed.
    fn follow(&mut self, api: &Api, dirty: &mut HashSet<Box<str>>) -> bool {
        let cursor = self.cursor;
        match api.store.read(|tx| tx.events_after(self.store, cursor, BATCH_EVENTS, None)) {
            Ok((events, next)) => {
                self.cursor = next;
                for Event { change, object, .. } in &events {
                    self.take(object, *change == Change::Deleted, dirty);
                }
                !events.is_empty()
            }
            Err(_) => {
                let snapshot = api.store.read(|tx| tx.snapshot(self.store, None, |_| true));
                dirty.extend(self.known.keys().cloned());
                dirty.extend(self.owned.keys().cloned());
                self.owned.clear();
                self.known.clear();
                self.cursor = snapshot.version;
                for object in &snapshot.objects {
                    self.take(object, false, dirty);
                }
                true
            }
        }
    }

    fn take(&mut self, object: &Arc<Object>, deleted: bool, dirty: &mut HashSet<Box<str>>) {
        let key = (object.namespace.clone(), object.name.clone());
        if deleted {
            self.known.remove(&object.uid);
        } else {
            self.known.insert(object.uid.clone(), key.clone());
        }
        dirty.insert(object.uid.clone());
        if object.owner.is_empty() {
            return;
        }
        dirty.insert(object.owner.clone());
        let owned = self.owned.entry(object.owner.clone()).or_default();
        if deleted {
            owned.remove(&key);
            if owned.is_empty() {
                self.owned.remove(&object.owner);
            }
        } else {
            owned.insert(key);
        }
    }

    fn owned_by(&self, api: &Api, uid: &str) -> Vec<Arc<Object>> {
        let Some(keys) = self.owned.get(uid) else { return Vec::new() };
        api.store.read(|tx| {
            let found = keys.iter().filter_map(|(namespace, name)| tx.get(self.store, namespace, name));
            found.filter(|o| &*o.owner == uid).cloned().collect()
        })
    }

    fn get(&self, api: &Api, uid: &str) -> Option<Arc<Object>> {
        let (namespace, name) = self.known.get(uid)?;
        api.store.read(|tx| tx.get(self.store, namespace, name).cloned())
    }
}

/// Runs until shutdown.
pub(crate) async fn run(api: Arc<Api>, mut shutdown: watch::Receiver<bool>) {
    let mut changes = [PODS, REPLICA_SETS, DEPLOYMENTS].map(|store| api.store.subscribe(store));
    let mut controller = Controller {
        api,
        pods: Follower::new(PODS),
        sets: Follower::new(REPLICA_SETS),
        deployments: Follower::new(DEPLOYMENTS),
        refused: HashMap::new(),
    };
    loop {
        if !controller.step() {
            let [pods, sets, deployments] = &mut changes;
            let retry = controller.refused.values().min().copied();
            tokio::select! {
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
                _ = pods.changed() => {}
                _ = sets.changed() => {}
                _ = deployments.changed() => {}
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
    pods: Follower,
    sets: Follower,
    deployments: Follower,
    /// ReplicaSets whose pods were refused, and when that is tried again: the status that says so is a change too.
    refused: HashMap<Box<str>, Instant>,
}

impl Controller {
    /// One pass; false when nothing had changed.
    fn step(&mut self) -> bool {
        let mut dirty = HashSet::new();
        let followed = [
            self.pods.follow(&self.api, &mut dirty),
            self.sets.follow(&self.api, &mut dirty),
            self.deployments.follow(&self.api, &mut dirty),
        ];
        let now = Instant::now();
        dirty.extend(self.refused.iter().filter(|(_, at)| **at <= now).map(|(uid, _)| uid.clone()));
        if dirty.is_empty() && !followed.contains(&true) {
            return false;
        }
        for uid in dirty {
            if let Some(deployment) = self.deployments.get(&self.api, &uid) {
                self.reconcile_deployment(&deployment);
            } else if let Some(set) = self.sets.get(&self.api, &uid) {
                self.reconcile_set(&set);
            } else {
                self.refused.remove(&uid);
                self.collect_orphans(&uid);
            }
        }
        true
    }

    /// What the garbage collector does when an owner is gone.
    fn collect_orphans(&self, uid: &str) {
        for set in self.sets.owned_by(&self.api, uid) {
            self.delete(REPLICA_SETS, &set);
        }
        for pod in self.pods.owned_by(&self.api, uid).iter().filter(|p| !p.deleting) {
            self.delete(PODS, pod);
        }
    }

    fn delete(&self, store: StoreId, object: &Object) {
        let options = DeleteOptions { uid: Some(object.uid.to_string()), ..DeleteOptions::default() };
        // Gone meanwhile: what was wanted.
        let _ = self.api.delete(resource::stored_as(store), &object.namespace, &object.name, &options);
    }

    fn reconcile_set(&mut self, object: &Object) {
        let set = object.value();
        let is_observed = set["metadata"]["generation"] == set["status"]["observedGeneration"];
        if is_observed && self.refused.get(&object.uid).is_some_and(|at| *at > Instant::now()) {
            return;
        }
        self.refused.remove(&object.uid);
        let mut pods = self.pods.owned_by(&self.api, &object.uid);
        pods.retain(|p| !p.deleting && !matches!(&*p.fields[POD_PHASE], "Succeeded" | "Failed"));
        let wanted = usize::try_from(set["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
        let ready = pods.iter().filter(|p| &*p.fields[POD_PHASE] == "Running").count();
        let mut failure = None;
        if pods.len() < wanted {
            for _ in 0..(wanted - pods.len()).min(BURST) {
                if let Err(error) = self.create_pod(&set) {
                    failure = Some(error);
                    break;
                }
            }
        } else if pods.len() > wanted {
            // Those that run nowhere go first, as upstream ranks them.
            pods.sort_by_key(|p| !p.fields[POD_NODE_NAME].is_empty());
            for pod in pods.iter().take((pods.len() - wanted).min(BURST)) {
                self.delete(PODS, pod);
            }
        }
        let mut status = json!({
            "replicas": pods.len(), "fullyLabeledReplicas": pods.len(), "readyReplicas": ready,
            "availableReplicas": ready, "observedGeneration": set["metadata"]["generation"],
        });
        if let Some(error) = failure {
            self.refused.insert(object.uid.clone(), Instant::now() + RETRY_PAUSE);
            status["conditions"] = json!([{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": error.message }]);
        }
        self.write_status(REPLICA_SETS, object, &status);
    }

    fn create_pod(&self, set: &Value) -> Result<(), ApiError> {
        let template = &set["spec"]["template"];
        let name = set["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = set["metadata"]["namespace"].as_str().unwrap_or_default();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": format!("{name}-"),
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"]["annotations"],
                "ownerReferences": [owner_reference("ReplicaSet", set)],
            },
            "spec": template["spec"],
        });
        let resource = resource::stored_as(PODS);
        let pod = crate::decode::checked(resource, pod)?;
        self.api.create(resource, namespace, pod, false).map(|_| ())
    }

    fn reconcile_deployment(&self, object: &Object) {
        let deployment = object.value();
        let sets = self.sets.owned_by(&self.api, &object.uid);
        let hash = template_hash(&deployment["spec"]["template"]);
        let name = format!("{}-{hash}", object.name);
        let wanted = if deployment["spec"]["paused"] == true {
            Value::Null
        } else {
            deployment["spec"]["replicas"].clone()
        };
        let current = sets.iter().find(|s| *s.name == *name);
        if current.is_none() && !wanted.is_null() {
            self.create_set(&deployment, &name, &hash);
        }
        let mut totals = [0, 0, 0];
        for set in &sets {
            let is_current = *set.name == *name;
            let value = set.value();
            let replicas = if is_current { wanted.clone() } else { Value::from(0) };
            if !wanted.is_null() && value["spec"]["replicas"] != replicas {
                let scale = json!({ "spec": { "replicas": replicas } });
                let _ = self.api.patch(
                    resource::stored_as(REPLICA_SETS),
                    &set.namespace,
                    &set.name,
                    "",
                    &scale,
                    PatchOptions::MERGE,
                );
            }
            let count = |field: &str| value["status"][field].as_i64().unwrap_or(0);
            totals[0] += count("replicas");
            totals[1] += count("readyReplicas");
            totals[2] += if is_current { count("replicas") } else { 0 };
        }
        let desired = deployment["spec"]["replicas"].as_i64().unwrap_or(0);
        let available = if totals[1] >= desired { "True" } else { "False" };
        self.write_status(
            DEPLOYMENTS,
            object,
            &json!({
                "replicas": totals[0], "readyReplicas": totals[1], "availableReplicas": totals[1],
                "updatedReplicas": totals[2], "unavailableReplicas": (desired - totals[1]).max(0),
                "observedGeneration": deployment["metadata"]["generation"],
                "conditions": [{ "type": "Available", "status": available }],
            }),
        );
    }

    fn create_set(&self, deployment: &Value, name: &str, hash: &str) {
        let spec = &deployment["spec"];
        let mut template = spec["template"].clone();
        template["metadata"]["labels"][TEMPLATE_HASH] = Value::from(hash);
        let mut selector = spec["selector"].clone();
        selector["matchLabels"][TEMPLATE_HASH] = Value::from(hash);
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner_reference("Deployment", deployment)],
            },
            "spec": { "replicas": spec["replicas"], "selector": selector, "template": template },
        });
        let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default();
        let resource = resource::stored_as(REPLICA_SETS);
        let created = crate::decode::checked(resource, set)
            .and_then(|set| self.api.create(resource, namespace, set, false));
        if let Err(error) = created {
            tracing::warn!(%error, deployment = %deployment["metadata"]["name"], "cannot create a ReplicaSet");
        }
    }

    /// Writes a status that differs; conditions keep their times if nothing else changes.
    fn write_status(&self, store: StoreId, object: &Object, status: &Value) {
        self.api.store.write(|tx| {
            let Some(current) = tx.get(store, &object.namespace, &object.name) else { return };
            if current.uid != object.uid {
                return;
            }
            let mut value = current.value();
            if value["status"] != *status {
                value["status"] = status.clone();
                tx.put(store, value);
            }
        });
    }
}

fn owner_reference(kind: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

/// FNV-1a over the template's JSON, in the letters that upstream's hashes have.
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

/// Releases the dependents of an object that is deleted with the policy `Orphan`.
pub(crate) fn orphan_dependents(tx: &mut crate::store::Transaction, owner: &Object) {
    for store in [PODS, REPLICA_SETS] {
        let owned: Vec<Arc<Object>> =
            tx.iter(store, Some(&owner.namespace)).filter(|o| o.owner == owner.uid).cloned().collect();
        for object in owned {
            let mut value = object.value();
            if let Some(references) = value["metadata"]["ownerReferences"].as_array_mut() {
                references.retain(|r| r["uid"].as_str() != Some(&owner.uid));
            }
            tx.put(store, value);
        }
    }
}
