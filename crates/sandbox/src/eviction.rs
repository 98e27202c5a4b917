//! `pods/eviction`: a delete that first checks the disruption budgets.

use serde_json::{Value, json};

use crate::api::{DeleteOptions, Deleted};
use crate::error::ApiError;
use crate::resource::{self, DISRUPTION_BUDGETS, POD_PHASE, PODS};
use crate::selectors::LabelSelector;
use crate::server::Server;
use crate::store::Transaction;

/// Evicts, unless a budget allows no disruption.
pub(crate) fn evict(
    server: &Server,
    namespace: &str,
    name: &str,
    body: &Value,
    dry_run: bool,
) -> Result<Deleted, ApiError> {
    server.api.store.write(|tx| spend_budget(tx, namespace, name, dry_run))?;
    let delete = &body["deleteOptions"];
    let options = DeleteOptions {
        grace_s: delete["gracePeriodSeconds"].as_i64(),
        uid: delete["preconditions"]["uid"].as_str().map(str::to_owned),
        resource_version: delete["preconditions"]["resourceVersion"].as_str().map(str::to_owned),
        orphan: false,
        dry_run,
    };
    server.api.delete(resource::stored_as(PODS), namespace, name, &options)
}

fn spend_budget(tx: &mut Transaction, namespace: &str, name: &str, dry_run: bool) -> Result<(), ApiError> {
    let pod = tx.get(PODS, namespace, name).ok_or_else(|| ApiError::not_found("", "pods", name))?;
    if matches!(&*pod.fields[POD_PHASE], "Succeeded" | "Failed" | "Pending") || pod.deleting {
        return Ok(());
    }
    let labels = pod.labels.clone();
    let mut budgets: Vec<Value> = tx
        .iter(DISRUPTION_BUDGETS, Some(namespace))
        .map(|b| b.value())
        .filter(|b| {
            let selector = &b["spec"]["selector"];
            selector.is_object() && LabelSelector::from_object(selector).matches(&labels)
        })
        .collect();
    match budgets.as_mut_slice() {
        [] => Ok(()),
        [budget] => {
            let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
            if allowed <= 0 {
                let mut error = ApiError::too_many_requests(
                    10,
                    "Cannot evict pod as it would violate the pod's disruption budget.",
                );
                let (current, desired) =
                    (&budget["status"]["currentHealthy"], &budget["status"]["desiredHealthy"]);
                let why = format!(
                    "The disruption budget {} needs {} healthy pods and has {} currently",
                    budget["metadata"]["name"].as_str().unwrap_or_default(),
                    desired.as_i64().unwrap_or(0),
                    current.as_i64().unwrap_or(0),
                );
                error.details["causes"] = json!([{ "reason": "DisruptionBudget", "message": why }]);
                return Err(error);
            }
            if !dry_run {
                budget["status"]["disruptionsAllowed"] = Value::from(allowed - 1);
                tx.put(DISRUPTION_BUDGETS, budget.take());
            }
            Ok(())
        }
        _ => Err(ApiError::new(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
    }
}
