//! PodDisruptionBudgets: which evictions they forbid.

use super::importance::Victim;
use secondmate_model::Atom;
use secondmate_model::objects::{DisruptionBudget, Objects};

/// The budgets that can select a pod, with their namespaces.
pub(super) struct Budgets<'a>(Vec<(&'a Atom, &'a DisruptionBudget)>);

impl<'a> Budgets<'a> {
    pub(super) fn of(objects: &'a Objects) -> Self {
        let budgets = objects.disruption_budgets.iter().filter(|(_, budget)| budget.protects_pods());
        Self(budgets.map(|(name, budget)| (&name.namespace, budget)).collect())
    }

    /// Splits the victims into those whose eviction would overdraw a budget if all pods before them were evicted, and the others; each part
    /// keeps its order.
    pub(super) fn split(&self, victims: &[Victim]) -> (Vec<Victim>, Vec<Victim>) {
        if self.0.is_empty() {
            return (Vec::new(), victims.to_vec());
        }
        let mut left: Vec<i32> = self.0.iter().map(|(_, budget)| budget.disruptions_allowed).collect();
        victims.iter().cloned().partition(|Victim { pod, .. }| {
            for ((namespace, budget), left) in self.0.iter().zip(&mut left) {
                if budget.is_charged_for(namespace, pod) {
                    *left = left.wrapping_sub(1);
                    if *left < 0 {
                        // The budgets after it are not charged: one budget that forbids the eviction is enough.
                        return true;
                    }
                }
            }
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use serde_json::{Value, json};

    fn budget(name: &str, namespace: &str, selector: Value, allowed: i32, disrupted: Value) -> Value {
        json!({"kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": selector},
            "status": {"disruptionsAllowed": allowed, "disruptedPods": disrupted}})
    }

    fn violating(budgets: Vec<Value>) -> Vec<String> {
        let snapshot = fixture::snapshot(budgets);
        let victims: Vec<Victim> = [
            ("a", json!({"app": "x"})),
            ("b", json!({"app": "x"})),
            ("c", json!({})),
            ("d", json!({"app": "y"})),
        ]
        .map(|(name, labels)| {
            let pod = fixture::pod(json!({"metadata": {"name": name, "labels": labels},
                "spec": {"containers": []}}));
            Victim { pod, place: 0 }
        })
        .into();
        let (violating, others) = Budgets::of(snapshot.objects()).split(&victims);
        assert_eq!(violating.len() + others.len(), victims.len());
        violating.iter().map(|victim| victim.pod.name.to_string()).collect()
    }

    #[test]
    fn budgets_are_used_up_in_the_order_of_the_row() {
        let app = |app: &str| json!({"matchLabels": {"app": app}});
        let none = || json!({});
        let broken = json!({"matchExpressions": [{"key": "k", "operator": "Near"}]});
        let not_z = || json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["z"]}]});
        for (budgets, expected) in [
            (vec![], vec![]),
            (vec![budget("p", "default", app("x"), 0, none())], vec!["a", "b"]),
            (vec![budget("p", "default", app("x"), 1, none())], vec!["b"]),
            (vec![budget("p", "default", app("x"), 1, json!({"a": "2026-01-01T00:00:00Z"}))], vec![]),
            (vec![budget("p", "other", app("x"), 0, none())], vec![]),
            (vec![budget("p", "default", json!({}), 0, none())], vec![]),
            (vec![budget("p", "default", Value::Null, 0, none())], vec![]),
            (vec![budget("p", "default", broken, 0, none())], vec![]),
            // A pod without labels is selected by none.
            (vec![budget("p", "default", not_z(), 0, none())], vec!["a", "b", "d"]),
            // Budgets are charged up to the first that is overdrawn: `q` still allows the eviction of `d` after those of `a` and `b`, which
            // `p` forbids; if `q` came first, it would be used up.
            (
                vec![budget("p", "default", app("x"), 0, none()), budget("q", "default", not_z(), 1, none())],
                vec!["a", "b"],
            ),
            (
                vec![budget("o", "default", not_z(), 1, none()), budget("p", "default", app("x"), 0, none())],
                vec!["a", "b", "d"],
            ),
        ] {
            assert_eq!(violating(budgets.clone()), expected, "{budgets:?}");
        }
    }
}
