//! Claims and volumes: a simulated binder, and a provisioner for every storage class that names one.
//!
//! A claim is bound to the volume that it names or that names it, else to the smallest that fits, else to one provisioned for
//! it: at once, or, if its class waits for the first consumer, when the scheduler has chosen a node. A provisioned volume is
//! reachable from the zone of that node, like most cloud disks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use secondmate_admission::Quantity;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::Api;
use crate::resource::{CLAIMS, NODES, STORAGE_CLASSES, StoreId, VOLUMES};
use crate::selectors::LabelSelector;
use crate::server::until_down;
use crate::store::{Change, Transaction};

/// How long changes are gathered before they are acted on.
const GATHER: Duration = Duration::from_millis(2);
/// Maximum number of events taken from a log at once.
const BATCH_EVENTS: usize = 1024;
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const ZONE: &str = "topology.kubernetes.io/zone";
/// The provisioner of classes whose volumes an administrator creates.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// Runs until shutdown.
pub(crate) async fn run(api: Arc<Api>, mut shutdown: watch::Receiver<bool>) {
    let mut changes = [CLAIMS, VOLUMES, STORAGE_CLASSES].map(|store| api.store.subscribe(store));
    let mut binder = Binder { cursors: BTreeMap::new(), waiting: BTreeSet::new(), free: BTreeMap::new() };
    loop {
        while api.store.write(|tx| binder.step(tx)) {
            tokio::task::yield_now().await;
        }
        let [claims, volumes, classes] = &mut changes;
        tokio::select! {
            _ = claims.changed() => {}
            _ = volumes.changed() => {}
            _ = classes.changed() => {}
            () = until_down(&mut shutdown) => return,
        }
        tokio::time::sleep(GATHER).await;
    }
}

struct Binder {
    cursors: BTreeMap<StoreId, u64>,
    /// Claims that are not bound.
    waiting: BTreeSet<Key>,
    /// Volumes that are not bound.
    free: BTreeMap<Box<str>, Value>,
}

impl Binder {
    /// One pass; false if nothing had changed.
    fn step(&mut self, tx: &mut Transaction) -> bool {
        let claims = self.follow(tx, CLAIMS);
        let volumes = self.follow(tx, VOLUMES);
        let classes = self.follow(tx, STORAGE_CLASSES);
        let mut changed: BTreeSet<Key> = BTreeSet::new();
        for (key, claim) in &claims {
            match claim {
                Some(claim) if claim["status"]["phase"] != "Bound" => {
                    self.waiting.insert(key.clone());
                    changed.insert(key.clone());
                }
                Some(_) => {
                    self.waiting.remove(key);
                }
                None => {
                    self.waiting.remove(key);
                    release(tx, key);
                }
            }
        }
        for ((_, name), volume) in &volumes {
            match volume {
                Some(volume) if !matches!(volume["status"]["phase"].as_str(), Some("Bound" | "Released")) => {
                    let mut volume = volume.clone();
                    if volume["status"]["phase"] != "Available" {
                        volume["status"]["phase"] = Value::from("Available");
                        tx.put(VOLUMES, volume.clone());
                    }
                    self.free.insert(name.clone(), volume);
                }
                _ => {
                    self.free.remove(name);
                }
            }
        }
        if !volumes.is_empty() || !classes.is_empty() {
            changed.extend(self.waiting.iter().cloned());
        }
        for key in changed {
            self.bind(tx, &key);
        }
        !(claims.is_empty() && volumes.is_empty() && classes.is_empty())
    }

    /// What has changed in a store since the last time, in its latest state.
    fn follow(&mut self, tx: &Transaction, store: StoreId) -> BTreeMap<Key, Option<Value>> {
        let cursor = self.cursors.entry(store).or_default();
        match tx.events_after(store, *cursor, BATCH_EVENTS, None) {
            Ok((events, next)) => {
                *cursor = next;
                let last = |event: &crate::store::Event| {
                    let key = (event.object.namespace.clone(), event.object.name.clone());
                    (key, (event.change != Change::Deleted).then(|| event.object.value()))
                };
                events.iter().map(last).collect()
            }
            Err(_) => {
                // The log has moved on: start from the current state.
                *cursor = tx.version();
                if store == CLAIMS {
                    self.waiting.clear();
                } else if store == VOLUMES {
                    self.free.clear();
                }
                let all = tx.iter(store, None);
                all.map(|o| ((o.namespace.clone(), o.name.clone()), Some(o.value()))).collect()
            }
        }
    }

    fn bind(&mut self, tx: &mut Transaction, (namespace, name): &Key) {
        let Some(claim) = tx.get(CLAIMS, namespace, name).filter(|c| !c.deleting).map(|c| c.value()) else {
            return;
        };
        let chosen = match claim["spec"]["volumeName"].as_str() {
            Some(wanted) => self.free.get(wanted).filter(|v| is_for(v, &claim) != Some(false)).cloned(),
            None => self.free.values().find(|v| is_for(v, &claim) == Some(true)).cloned(),
        };
        if let Some(volume) = chosen {
            self.tie(tx, claim, volume);
            return;
        }
        if claim["spec"]["volumeName"].is_string() {
            return;
        }
        let class = claim["spec"]["storageClassName"].as_str().unwrap_or_default();
        let class = tx.get(STORAGE_CLASSES, "", class).map(|class| class.value()).unwrap_or_default();
        let node = claim["metadata"]["annotations"][SELECTED_NODE].as_str().map(str::to_owned);
        if class["volumeBindingMode"] == "WaitForFirstConsumer" && node.is_none() {
            return;
        }
        // If the scheduler has chosen a node, it has found no volume for the claim.
        let fitting = if node.is_none() { self.smallest(&claim) } else { None };
        let provisioner = class["provisioner"].as_str().filter(|p| *p != NO_PROVISIONER);
        if let Some(volume) = fitting {
            self.tie(tx, claim, volume);
        } else if provisioner.is_some() {
            let zone = node
                .and_then(|node| Some(tx.get(NODES, "", &node)?.value()["metadata"]["labels"][ZONE].clone()));
            let mut volume = provisioned(&claim, &class, &zone.unwrap_or_default());
            tx.stamp(&mut volume);
            self.tie(tx, claim, volume);
        }
    }

    /// The smallest free volume that satisfies the claim.
    fn smallest(&self, claim: &Value) -> Option<Value> {
        let wanted = &claim["spec"];
        let size = |capacity: &Value| Quantity::of(&capacity["storage"]).unwrap_or_default();
        let modes =
            |spec: &Value| -> Vec<Value> { spec["accessModes"].as_array().cloned().unwrap_or_default() };
        let class = |spec: &Value| spec["storageClassName"].as_str().unwrap_or_default().to_owned();
        let selector = LabelSelector::from_object(&wanted["selector"]);
        let fits = |volume: &&Value| {
            let spec = &volume["spec"];
            let mut labels: Vec<(Box<str>, Box<str>)> = volume["metadata"]["labels"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or_default().into()))
                .collect();
            labels.sort_unstable();
            spec["claimRef"].is_null()
                && class(spec) == class(wanted)
                && spec["volumeMode"] == wanted["volumeMode"]
                && modes(wanted).iter().all(|mode| modes(spec).contains(mode))
                && size(&spec["capacity"]) >= size(&wanted["resources"]["requests"])
                && selector.matches(&labels)
        };
        self.free.values().filter(fits).min_by_key(|volume| size(&volume["spec"]["capacity"])).cloned()
    }

    /// Binds a claim and a volume to each other.
    fn tie(&mut self, tx: &mut Transaction, mut claim: Value, mut volume: Value) {
        let name = volume["metadata"]["name"].clone();
        volume["spec"]["claimRef"] = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim["metadata"]["namespace"],
            "name": claim["metadata"]["name"], "uid": claim["metadata"]["uid"],
        });
        volume["status"] = json!({ "phase": "Bound" });
        for annotation in ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"] {
            claim["metadata"]["annotations"][annotation] = Value::from("yes");
        }
        claim["spec"]["volumeName"] = name.clone();
        claim["status"] = json!({
            "phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"],
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().into();
        self.free.remove(name.as_str().unwrap_or_default());
        self.waiting.remove(&(text(&claim["metadata"]["namespace"]), text(&claim["metadata"]["name"])));
        tx.put(VOLUMES, volume);
        tx.put(CLAIMS, claim);
    }
}

/// Whether a volume is meant for this claim, or for another one; `None` if for no claim.
fn is_for(volume: &Value, claim: &Value) -> Option<bool> {
    let reference = volume["spec"].get("claimRef").filter(|reference| !reference.is_null())?;
    let meta = &claim["metadata"];
    let same_uid = reference["uid"].as_str().is_none_or(|uid| uid.is_empty() || *uid == meta["uid"]);
    Some(reference["namespace"] == meta["namespace"] && reference["name"] == meta["name"] && same_uid)
}

/// A volume provisioned for a claim, reachable from a zone if one is given.
fn provisioned(claim: &Value, class: &Value, zone: &Value) -> Value {
    let uid = claim["metadata"]["uid"].as_str().unwrap_or_default();
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": format!("pvc-{uid}"),
            "annotations": { "pv.kubernetes.io/provisioned-by": class["provisioner"] },
        },
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "volumeMode": claim["spec"]["volumeMode"],
            "storageClassName": claim["spec"]["storageClassName"],
            "persistentVolumeReclaimPolicy": class["reclaimPolicy"],
            "csi": { "driver": class["provisioner"], "volumeHandle": uid },
        },
    });
    if zone.is_string() {
        volume["spec"]["nodeAffinity"] = json!({ "required": { "nodeSelectorTerms": [{
            "matchExpressions": [{ "key": ZONE, "operator": "In", "values": [zone] }] }] } });
    }
    volume
}

/// Handles the volume of a claim that is gone, according to its reclaim policy.
fn release(tx: &mut Transaction, (namespace, name): &Key) {
    let bound: Vec<Value> = tx
        .iter(VOLUMES, None)
        .map(|volume| volume.value())
        .filter(|volume| {
            let reference = &volume["spec"]["claimRef"];
            volume["status"]["phase"] == "Bound"
                && reference["namespace"] == **namespace
                && reference["name"] == **name
                // A claim with the same name may have been created in the meantime.
                && tx.get(CLAIMS, namespace, name).is_none_or(|claim| *claim.uid != *reference["uid"].as_str().unwrap_or_default())
        })
        .collect();
    for mut volume in bound {
        let volume_name = volume["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete" {
            tx.remove(VOLUMES, "", &volume_name);
        } else {
            volume["status"]["phase"] = Value::from("Released");
            tx.put(VOLUMES, volume);
        }
    }
}
