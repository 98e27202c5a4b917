//! A last look at the PodDisruptionBudgets that an eviction relies on.
//!
//! The core knows a budget's status from the watch. If somebody else has used up its last disruption since, the eviction would overdraw the
//! budget without anybody having decided that. So the budget is read once more. Budgets that the core overdraws knowingly, because there is no
//! better choice, are not read, as their status would change nothing.

use super::PodRef;
use super::verify::found;
use crate::call::{Call, CallError, Caller};
use secondmate_core::port::Verified;
use secondmate_model::objects::{Object, ObjectName, Objects};
use secondmate_model::{Pod, wire};
use secondmate_telemetry::Metrics;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::timeout;

/// Maximum time for all reads before one eviction: a pod waits for it.
const DEADLINE: Duration = Duration::from_secs(1);

/// The budgets that protect the victim and allow its eviction, as far as the core knows. In its view, the victims that it has chosen are
/// already counted.
pub(crate) fn relied_on(objects: &Objects, victim: &Pod) -> Vec<ObjectName> {
    let from = ObjectName::new(&victim.namespace, "");
    let there = objects.disruption_budgets.range(from..);
    there
        .take_while(|(name, _)| name.namespace == victim.namespace)
        .filter(|(name, budget)| budget.disruptions_allowed >= 0 && budget.protects(&name.namespace, victim))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Reads budgets. Reading needs no leadership.
#[derive(Clone)]
pub(crate) struct BudgetReader {
    caller: Caller,
    metrics: Metrics,
}

impl BudgetReader {
    pub fn new(caller: Caller, metrics: Metrics) -> Self {
        Self { caller, metrics }
    }

    /// The first of these budgets that allows no disruption any more, if the victim is not leaving anyway. If a budget cannot be read, what the
    /// watch has shown stands.
    pub async fn exhausted<'a>(&self, victim: &Pod, budgets: &'a [ObjectName]) -> Option<&'a ObjectName> {
        if budgets.is_empty() {
            return None;
        }
        let looked = timeout(DEADLINE, self.look(victim, budgets)).await;
        let looked = looked.unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")));
        let result = match &looked {
            Ok(None) => "allowed",
            Ok(Some(_)) => "exhausted",
            Err(error) => {
                tracing::debug!(pod = victim.full_name(), "the budgets of a victim were not read: {error}");
                "failed"
            }
        };
        self.metrics.budget_reads(result).inc();
        looked.ok().flatten()
    }

    async fn look<'a>(
        &self,
        victim: &Pod,
        budgets: &'a [ObjectName],
    ) -> Result<Option<&'a ObjectName>, String> {
        for name in budgets {
            if self.forbids(name, victim).await? && !self.is_leaving(victim).await? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    async fn forbids(&self, name: &ObjectName, victim: &Pod) -> Result<bool, String> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<wire::PodDisruptionBudget>,
        }
        // A list, as the watches need no other permission. Without a resource version, it shows everything that was written before the request.
        let ObjectName { namespace, name } = name;
        let path = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
        let call = Call::get(format!("{path}?fieldSelector=metadata.name%3D{name}"));
        let body = self.caller.read(&call).await.map_err(|error| error.to_string())?;
        let list: List = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(list.items.iter().any(|budget| match Object::disruption_budget(budget) {
            Object::DisruptionBudget(_, budget) => {
                budget.disruptions_allowed <= 0 && budget.is_charged_for(namespace, victim)
            }
            _ => false,
        }))
    }

    /// Whether the victim is gone or being deleted: then this eviction disrupts nothing.
    async fn is_leaving(&self, victim: &Pod) -> Result<bool, String> {
        match self.caller.read(&Call::get(PodRef::from(victim).path())).await {
            Ok(body) => match found(&body, &victim.uid) {
                Verified::Found(pod) => Ok(pod.deleting || pod.terminal),
                Verified::Gone => Ok(true),
                Verified::Failed(error) => Err(error),
            },
            Err(CallError::Answered { code: 404, .. }) => Ok(true),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube_client::Client;
    use kube_client::client::Body;
    use serde_json::{Value, json};

    fn pod() -> Value {
        json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u", "labels": { "app": "a" } },
            "spec": { "nodeName": "m", "containers": [] },
        })
    }

    fn compiled(pod: &Value) -> Pod {
        Pod::new(&wire::Pod::deserialize(pod).expect("a pod")).expect("a pod that compiles")
    }

    fn budget(namespace: &str, app: &str, allowed: i32, disrupted: &[&str]) -> Value {
        let disrupted: serde_json::Map<String, Value> =
            disrupted.iter().map(|name| ((*name).to_owned(), json!("2026-01-01T00:00:00Z"))).collect();
        json!({
            "metadata": { "name": "b", "namespace": namespace },
            "spec": { "selector": { "matchLabels": { "app": app } } },
            "status": { "disruptionsAllowed": allowed, "disruptedPods": disrupted },
        })
    }

    #[test]
    fn those_count_that_protect_the_pod_and_are_not_overdrawn_with_it() {
        let victim = compiled(&pod());
        let relied_on = |namespace, app, allowed, disrupted: &[&str]| {
            let budget = wire::PodDisruptionBudget::deserialize(budget(namespace, app, allowed, disrupted));
            let mut objects = Objects::default();
            objects.apply(Object::disruption_budget(&budget.expect("a budget")));
            super::relied_on(&objects, &victim).len()
        };
        // The last disruption: the core has listed the victim in its view.
        assert_eq!(relied_on("n", "a", 0, &["p"]), 1);
        assert_eq!(relied_on("n", "a", -1, &["p"]), 0);
        assert_eq!(relied_on("n", "other", 1, &[]), 0);
        assert_eq!(relied_on("m", "a", 1, &[]), 0);
        assert_eq!(relied_on("o", "a", 1, &[]), 0);
    }

    /// What is found if the API server has these budgets, and answers this when asked for the pod.
    async fn looked(budgets: Value, pod_there: (u16, Value)) -> Result<bool, String> {
        let service = tower::service_fn(move |request: Request<Body>| {
            let list = request.uri()
                == "/apis/policy/v1/namespaces/n/poddisruptionbudgets?fieldSelector=metadata.name%3Db";
            let (code, body) = if list { (200, json!({ "items": budgets })) } else { pod_there.clone() };
            assert!(list || request.uri() == "/api/v1/namespaces/n/pods/p", "{}", request.uri());
            let body = Body::from(body.to_string().into_bytes());
            let answer = Response::builder().status(code).body(body).expect("a response");
            std::future::ready(Ok::<_, std::convert::Infallible>(answer))
        });
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(60));
        let budgets = [ObjectName::new(&"n".into(), "b")];
        let reader = BudgetReader::new(caller, Metrics::new());
        reader.look(&compiled(&pod()), &budgets).await.map(|name| name.is_some())
    }

    #[tokio::test]
    async fn a_budget_forbids_it_if_it_allows_no_further_pod_to_leave() {
        let there = (200, pod());
        let used_up = || json!([budget("n", "a", 0, &[])]);
        assert_eq!(looked(used_up(), there.clone()).await, Ok(true));
        for allows in [
            json!([]),
            json!([budget("n", "a", 1, &[])]),
            // Its selector has changed.
            json!([budget("n", "other", 0, &[])]),
            // It has been evicted through the API server, which has counted that.
            json!([budget("n", "a", 0, &["p"])]),
        ] {
            assert_eq!(looked(allows.clone(), there.clone()).await, Ok(false), "{allows}");
        }
        let (mut leaving, mut other) = (pod(), pod());
        leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        other["metadata"]["uid"] = "v".into();
        for gone in [(404, Value::Null), (200, leaving), (200, other)] {
            assert_eq!(looked(used_up(), gone.clone()).await, Ok(false), "{gone:?}");
        }
        assert!(looked(used_up(), (500, Value::Null)).await.is_err());
    }
}
