//! What the sandbox saw: every accepted binding, and how many requests of each class it answered.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Instant;

use crate::request::RequestClass;

/// One accepted binding.
#[derive(Debug, Clone)]
pub struct BindRecord {
    /// When the write took effect.
    pub at: Instant,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The node to which it was bound.
    pub node: String,
    /// The resourceVersion after the binding.
    pub version: u64,
}

/// The outcomes of the requests of one class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// By HTTP code; 0 counts connections that were closed without a response.
    pub by_code: BTreeMap<u16, u64>,
}

impl Outcomes {
    /// All requests of the class.
    pub fn total(&self) -> u64 {
        self.by_code.values().sum()
    }
}

/// The record of a sandbox's life. Its counts cover all of it, its bindings only the most recent.
#[derive(Debug)]
pub struct History {
    binds_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    binds: VecDeque<BindRecord>,
    binds_accepted: u64,
    requests: HashMap<RequestClass, Outcomes>,
}

impl History {
    pub(crate) fn new(binds_max: usize) -> History {
        History { binds_max, state: Mutex::default() }
    }

    pub(crate) fn bind_records(&self) -> usize {
        self.lock().binds.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the history")
    }

    pub(crate) fn record_bind(&self, record: BindRecord) {
        let mut state = self.lock();
        state.binds_accepted += 1;
        state.binds.push_back(record);
        while state.binds.len() > self.binds_max {
            state.binds.pop_front();
        }
    }

    pub(crate) fn record_request(&self, class: RequestClass, code: u16) {
        let mut state = self.lock();
        *state.requests.entry(class).or_default().by_code.entry(code).or_default() += 1;
    }

    /// The number of accepted bindings.
    pub fn binds_accepted(&self) -> u64 {
        self.lock().binds_accepted
    }

    /// The remembered bindings, in the order in which they took effect.
    pub fn binds(&self) -> Vec<BindRecord> {
        self.lock().binds.iter().cloned().collect()
    }

    /// The accepted bindings of one pod, by UID. More than one is a broken invariant.
    pub fn binds_of(&self, uid: &str) -> Vec<BindRecord> {
        self.lock().binds.iter().filter(|b| b.uid == uid).cloned().collect()
    }

    /// The UIDs of pods that were bound more than once; must be empty.
    pub fn bound_twice(&self) -> Vec<String> {
        let state = self.lock();
        let mut count: BTreeMap<&str, usize> = BTreeMap::new();
        for bind in &state.binds {
            *count.entry(&bind.uid).or_default() += 1;
        }
        count.into_iter().filter(|(_, n)| *n > 1).map(|(uid, _)| uid.to_owned()).collect()
    }

    /// The requests so far, by class.
    pub fn requests(&self) -> BTreeMap<RequestClass, Outcomes> {
        self.lock().requests.iter().map(|(class, outcomes)| (class.clone(), outcomes.clone())).collect()
    }

    /// The requests of the class with this text (`create pods/binding`).
    pub fn count(&self, class: &str) -> u64 {
        self.lock().requests.iter().filter(|(c, _)| c.to_string() == class).map(|(_, o)| o.total()).sum()
    }
}
