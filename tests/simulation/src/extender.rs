//! An extender that binds some pods, and does nothing else.

use secondmate_framework::{
    AwaitScores, CallExtender, Extender, ExtenderError, ExtenderVerbs, ExtenderVerdict, ExtenderVictims,
    Extenders, PreemptionCandidate,
};
use secondmate_model::{Atom, NodeInfo, Pod};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct Silent;

impl CallExtender for Silent {
    fn filter(&self, _: &Arc<Pod>, _: &[Arc<NodeInfo>]) -> Result<ExtenderVerdict, ExtenderError> {
        unreachable!("it does not filter")
    }

    fn prioritize<'a>(&'a self, _: &'a Arc<Pod>, _: &'a [Arc<NodeInfo>]) -> AwaitScores<'a> {
        unreachable!("it does not prioritize")
    }

    fn preempt(
        &self,
        _: &Arc<Pod>,
        _: &[PreemptionCandidate],
    ) -> Result<BTreeMap<String, ExtenderVictims>, ExtenderError> {
        unreachable!("it has no say in preemption")
    }
}

/// It binds the pods that request a GPU.
pub fn binder() -> Extenders {
    Extenders::new(vec![Extender {
        name: "http://binder".into(),
        ignorable: false,
        weight: 0,
        managed_resources: BTreeSet::from([Atom::new("example.com/gpu")]),
        verbs: ExtenderVerbs { bind: true, ..ExtenderVerbs::default() },
        wants_objects: false,
        calls: Arc::new(Silent),
    }])
}
