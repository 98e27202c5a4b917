//! The status of disruption budgets, as maintained by the disruption controller.
//!
//! A budget in percent, or with maxUnavailable, is relative to the pods that it matches now: the scale of their
//! owners is not looked up.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::Api;
use crate::object::Object;
use crate::resource::{DISRUPTION_BUDGETS, POD_PHASE, PODS};
use crate::selectors::LabelSelector;
use crate::server::until_down;
use crate::store::Transaction;

/// How long changes are gathered: a pass visits every pod of a namespace with budgets.
const GATHER: Duration = Duration::from_millis(20);

/// Runs until shutdown. Without budgets a pass costs nothing.
pub(crate) async fn run(api: Arc<Api>, mut shutdown: watch::Receiver<bool>) {
    let mut pods = api.store.subscribe(PODS);
    let mut budgets = api.store.subscribe(DISRUPTION_BUDGETS);
    loop {
        tokio::select! {
            _ = pods.changed() => {}
            _ = budgets.changed() => {}
            () = until_down(&mut shutdown) => return,
        }
        if api.store.read(|tx| tx.count(DISRUPTION_BUDGETS)) == 0 {
            // Pods alone are no reason to wake up: wait for a budget.
            tokio::select! {
                _ = budgets.changed() => {}
                () = until_down(&mut shutdown) => return,
            }
        }
        tokio::time::sleep(GATHER).await;
        pods.borrow_and_update();
        budgets.borrow_and_update();
        let all: Vec<Arc<Object>> = api.store.read(|tx| tx.iter(DISRUPTION_BUDGETS, None).cloned().collect());
        for budget in all {
            api.store.write(|tx| reconcile(tx, &budget));
        }
    }
}

fn reconcile(tx: &mut Transaction, budget: &Object) {
    let Some(current) = tx.get(DISRUPTION_BUDGETS, &budget.namespace, &budget.name) else { return };
    let mut value = current.value();
    let (mut expected, mut healthy) = (0, 0);
    if value["spec"]["selector"].is_object() {
        let selector = LabelSelector::from_object(&value["spec"]["selector"]);
        for pod in tx.iter(PODS, Some(&budget.namespace)).filter(|p| selector.matches(&p.labels)) {
            let phase = &*pod.fields[POD_PHASE];
            if !pod.deleting && !matches!(phase, "Succeeded" | "Failed") {
                expected += 1;
                // The simulated kubelets make a pod Ready and Running in one write.
                healthy += i64::from(phase == "Running");
            }
        }
    }
    let desired = desired_healthy(&value["spec"], expected);
    let status = json!({
        "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected,
        "disruptionsAllowed": if expected == 0 { 0 } else { (healthy - desired).max(0) },
        "observedGeneration": value["metadata"]["generation"],
    });
    if value["status"] != status {
        value["status"] = status;
        tx.put(DISRUPTION_BUDGETS, value);
    }
}

fn desired_healthy(spec: &Value, expected: i64) -> i64 {
    let count = |value: &Value| match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => {
            let percent = text.strip_suffix('%')?.parse::<i64>().ok()?;
            Some((expected.saturating_mul(percent) + 99) / 100)
        }
        _ => None,
    };
    match (count(&spec["minAvailable"]), count(&spec["maxUnavailable"])) {
        (Some(least), _) => least,
        (None, Some(most)) => (expected - most).max(0),
        (None, None) => expected.min(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_percentages_are_rounded_as_upstream_rounds_them() {
        for (spec, expected, desired) in [
            (json!({"minAvailable": 2}), 5, 2),
            (json!({"minAvailable": "50%"}), 5, 3),
            (json!({"maxUnavailable": 1}), 5, 4),
            (json!({"maxUnavailable": "30%"}), 5, 3),
            (json!({"maxUnavailable": 9}), 5, 0),
        ] {
            assert_eq!(desired_healthy(&spec, expected), desired, "{spec}");
        }
    }
}
