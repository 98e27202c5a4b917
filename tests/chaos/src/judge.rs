//! What must be true at the end of a scene, from the API server's pods and its audit log alone.

use std::collections::{BTreeMap, BTreeSet};

use secondmate_suite::{Bindings, condition, node_of};
use serde_json::Value;

/// Examples of a finding that are named.
const EXAMPLES_MAX: usize = 3;

/// What a scene promises.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    /// The pods that must be there and be bound.
    pub fit: BTreeSet<String>,
    /// The pods that must be there and have no node: none has room for them.
    pub unfit: BTreeSet<String>,
    /// Pods that were deleted, whether they were bound or not.
    pub deleted: BTreeSet<String>,
    /// How many bound pods may be bound once more, in vain: an answer was lost, or a scheduler died or froze before it came.
    pub in_vain_max: usize,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Pods that were created.
    pub pods: usize,
    /// Pods that have a node, or were deleted after they had one.
    pub bound: usize,
    /// Bindings in the audit log that were carried out.
    pub done: usize,
    /// Bindings in the audit log that were refused.
    pub refused: usize,
    /// Bindings in the audit log of which the API server did not say how they ended.
    pub unanswered: usize,
    /// Pods that were bound more than once.
    pub twice: usize,
}

/// What is wrong, in words; empty where nothing is.
pub(crate) fn judge(
    pods: &[Value],
    audit: &BTreeMap<String, Bindings>,
    promise: &Promise,
) -> (Count, Vec<String>) {
    let nodes: BTreeMap<&str, Option<&str>> =
        pods.iter().filter_map(|pod| Some((pod["metadata"]["name"].as_str()?, node_of(pod)))).collect();
    let bound = |pod: &str| nodes.get(pod).copied().flatten();
    let count = Count {
        pods: promise.fit.len() + promise.unfit.len() + promise.deleted.len(),
        bound: nodes.values().flatten().count()
            + promise.deleted.iter().filter(|pod| audit.get(*pod).is_some_and(|b| b.done > 0)).count(),
        done: audit.values().map(|bindings| bindings.done).sum(),
        refused: audit.values().map(|bindings| bindings.refused).sum(),
        unanswered: audit.values().map(|bindings| bindings.unanswered).sum(),
        twice: audit.values().filter(|bindings| bindings.done > 1).count(),
    };
    let mut wrong = Findings::default();
    for pod in &promise.fit {
        let bindings = audit.get(pod).cloned().unwrap_or_default();
        match (nodes.get(pod.as_str()), bound(pod)) {
            (None, _) => wrong.add("gone", pod.clone()),
            (Some(_), None) => {
                let object = pods.iter().find(|object| object["metadata"]["name"] == pod.as_str());
                let [_, _, message] = object.map(condition).unwrap_or_default();
                wrong.add("lost (they fit and are not bound)", format!("{pod} {bindings:?} {message}"));
            }
            (Some(_), Some(node)) => match bindings.nodes.as_slice() {
                [asked] if asked == node => {}
                // Killed before it could write how the request ended.
                [] if bindings.unanswered > 0 => {}
                [] => wrong.add("bound without a binding in the audit log", pod.clone()),
                [_] => wrong
                    .add("on another node than the binding named", format!("{pod} on {node}, {bindings:?}")),
                _ => {}
            },
        }
    }
    let mut in_vain = Vec::new();
    for (pod, bindings) in audit {
        if bindings.done > 1 {
            wrong.add("bound twice", format!("{pod} {bindings:?}"));
        }
        if promise.unfit.contains(pod) {
            wrong.add("given bindings although they fit nowhere", format!("{pod} {bindings:?}"));
        } else if !promise.fit.contains(pod) && !promise.deleted.contains(pod) {
            wrong.add("given bindings although nobody created them", pod.clone());
        }
        // A pod that is deleted may go while its binding is on the way.
        let again = bindings.refused > 0 || bindings.unanswered > 0;
        if again && !promise.deleted.contains(pod) {
            in_vain.push(format!("{pod} {bindings:?}"));
        }
    }
    if in_vain.len() > promise.in_vain_max {
        in_vain.into_iter().for_each(|pod| wrong.add("bound once more in vain", pod));
    }
    for pod in &promise.unfit {
        if bound(pod).is_some() {
            wrong.add("on a node although they fit nowhere", pod.clone());
        }
    }
    (count, wrong.texts())
}

/// Pods by what is wrong with them.
#[derive(Default)]
struct Findings(BTreeMap<&'static str, Vec<String>>);

impl Findings {
    fn add(&mut self, what: &'static str, pod: String) {
        self.0.entry(what).or_default().push(pod);
    }

    fn texts(self) -> Vec<String> {
        let text = |(what, pods): (&str, Vec<String>)| {
            let examples: Vec<&str> = pods.iter().take(EXAMPLES_MAX).map(String::as_str).collect();
            format!("{} pods {what}: {}", pods.len(), examples.join("; "))
        };
        self.0.into_iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: Option<&str>) -> Value {
        json!({ "metadata": { "name": name }, "spec": { "nodeName": node } })
    }

    fn bindings(nodes: &[&str], refused: usize, unanswered: usize) -> Bindings {
        let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        Bindings { done: nodes.len(), nodes, refused, unanswered }
    }

    /// Pods `a` and `b` fit, `giant` does not.
    fn judged(pods: &[Value], audit: &[(&str, Bindings)], asks_again: bool) -> (Count, Vec<String>) {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let in_vain_max = usize::from(asks_again);
        let promise =
            Promise { fit: set(&["a", "b"]), unfit: set(&["giant"]), deleted: set(&["d"]), in_vain_max };
        let audit = audit.iter().map(|(name, bindings)| ((*name).to_owned(), bindings.clone())).collect();
        judge(pods, &audit, &promise)
    }

    fn good() -> (Vec<Value>, Vec<(&'static str, Bindings)>) {
        (
            vec![pod("a", Some("n1")), pod("b", Some("n2")), pod("giant", None)],
            vec![
                ("a", bindings(&["n1"], 0, 0)),
                ("b", bindings(&["n2"], 0, 0)),
                ("d", bindings(&["n1"], 1, 0)),
            ],
        )
    }

    #[test]
    fn what_is_as_it_should_be_is_counted() {
        let (pods, audit) = good();
        let count = Count { pods: 4, bound: 3, done: 3, refused: 1, unanswered: 0, twice: 0 };
        assert_eq!(judged(&pods, &audit, false), (count, vec![]));
    }

    /// What is found when one pod or its record differs from what is good.
    fn found(
        change: impl FnOnce(&mut Vec<Value>, &mut Vec<(&'static str, Bindings)>),
        asks_again: bool,
    ) -> String {
        let (mut pods, mut audit) = good();
        change(&mut pods, &mut audit);
        judged(&pods, &audit, asks_again).1.join(" | ")
    }

    #[test]
    fn each_wrong_is_found() {
        let not_bound = |pods: &mut Vec<Value>, audit: &mut Vec<(&'static str, Bindings)>| {
            pods[0] = pod("a", None);
            audit.remove(0);
        };
        let lost = found(not_bound, true);
        assert!(lost.starts_with("1 pods lost (they fit and are not bound): a "), "{lost}");
        assert_eq!(found(|pods, _| drop(pods.remove(0)), true), "1 pods gone: a");
        let twice = found(|_, audit| audit[0].1 = bindings(&["n1", "n1"], 0, 0), true);
        assert!(twice.starts_with("1 pods bound twice: a "), "{twice}");
        let moved = found(|pods, _| pods[0] = pod("a", Some("n9")), true);
        assert!(moved.starts_with("1 pods on another node than the binding named: a on n9"), "{moved}");
        let silent = found(|_, audit| drop(audit.remove(0)), true);
        assert_eq!(silent, "1 pods bound without a binding in the audit log: a");
        let nobody = found(|_, audit| audit.push(("x", bindings(&["n1"], 0, 0))), true);
        assert_eq!(nobody, "1 pods given bindings although nobody created them: x");
        let giant = found(|pods, _| pods[2] = pod("giant", Some("n1")), true);
        assert_eq!(giant, "1 pods on a node although they fit nowhere: giant");
        let giant = found(|_, audit| audit.push(("giant", bindings(&[], 1, 0))), true);
        assert!(giant.starts_with("1 pods given bindings although they fit nowhere: giant"), "{giant}");
    }

    #[test]
    fn a_binding_in_vain_is_wrong_only_where_no_answer_can_have_been_lost() {
        let change = |_: &mut Vec<Value>, audit: &mut Vec<(&'static str, Bindings)>| {
            audit[0].1 = bindings(&["n1"], 1, 0);
        };
        let again = found(change, false);
        assert!(again.starts_with("1 pods bound once more in vain: a "), "{again}");
        assert_eq!(found(change, true), "");
    }

    #[test]
    fn a_binding_whose_end_was_never_written_counts_for_one() {
        assert_eq!(found(|_, audit| audit[0].1 = bindings(&[], 0, 1), true), "");
    }
}
