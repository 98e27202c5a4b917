//! The pods that are on no node yet, no matter which scheduler they wait for.

use rustc_hash::FxHashMap;
use secondmate_model::{Atom, Pod, Uid};
use std::sync::Arc;

/// Pods by name: a Binding names its pod and need not contain the UID.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    pods: FxHashMap<Atom, FxHashMap<Box<str>, Arc<Pod>>>,
    names: FxHashMap<Uid, (Atom, Box<str>)>,
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn find(&self, namespace: &Atom, name: &str) -> Option<&Arc<Pod>> {
        self.pods.get(namespace)?.get(name)
    }

    /// Adds or replaces a pod. A later pod with the same name replaces the earlier one, whose end may be reported only after
    /// that.
    pub fn set(&mut self, pod: Arc<Pod>) {
        let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
        self.names.insert(pod.uid.clone(), (namespace.clone(), name.clone()));
        self.pods.entry(namespace).or_default().insert(name, pod);
    }

    pub fn remove(&mut self, uid: &Uid) {
        let Some((namespace, name)) = self.names.remove(uid) else { return };
        let Some(pods) = self.pods.get_mut(&namespace) else { return };
        if pods.get(&name).is_some_and(|pod| pod.uid == *uid) {
            pods.remove(&name);
        }
        if pods.is_empty() {
            self.pods.remove(&namespace);
        }
    }
}
