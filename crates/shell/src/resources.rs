//! `/metrics/resources`: the requests and limits of each pod, by kube-scheduler's rules and under its names.
//!
//! The cache holds what scheduling needs, so it has no limits, and no pending pods of other schedulers. Therefore the pods are listed for
//! each request, page by page, and only the text is kept. As in kube-scheduler, a process that does not lead returns nothing.

use crate::call::Caller;
use crate::dump::{PODS, listed};
use crate::write::Leading;
use secondmate_model::Quantity;
use secondmate_telemetry::{Admin, DebugResponse};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const REQUEST: &str = "kube_pod_resource_request";
const LIMIT: &str = "kube_pod_resource_limit";

type Amounts = BTreeMap<String, Quantity>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    scheduler_name: String,
    priority: Option<i64>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    overhead: BTreeMap<String, String>,
    resources: Option<Resources>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    resources: Resources,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

impl Resources {
    fn of(&self, limits: bool) -> Amounts {
        amounts(if limits { &self.limits } else { &self.requests })
    }
}

/// Serves the page.
pub(crate) fn mount(admin: &Admin, caller: Caller, leading: Leading) {
    admin.add_page("/metrics/resources", move |_| {
        let (caller, leading) = (caller.clone(), leading.clone());
        async move {
            if !leading.may_write() {
                return DebugResponse { status: 200, content_type: CONTENT_TYPE, body: String::new() };
            }
            match page(&caller).await {
                Ok(body) => DebugResponse { status: 200, content_type: CONTENT_TYPE, body },
                Err(why) => DebugResponse::error(503, why),
            }
        }
    });
}

async fn page(caller: &Caller) -> Result<String, String> {
    let read = |pod| serde_json::from_value::<Pod>(pod).ok().map(|pod| lines(&pod)).unwrap_or_default();
    let pods = listed(caller, PODS, read).await.map_err(|error| error.to_string())?;
    let pods = pods.unwrap_or_default();
    let mut text = String::new();
    for (name, help, of) in [
        (LIMIT, "Limits of pods on resources that the scheduler knows.", 1),
        (REQUEST, "Requests of pods for resources that the scheduler knows.", 0),
    ] {
        write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n")
            .expect("writing to a String does not fail");
        pods.iter().for_each(|lines: &[String; 2]| text.push_str(&lines[of]));
    }
    Ok(text)
}

/// The lines for a pod: those for its requests, and those for its limits.
fn lines(pod: &Pod) -> [String; 2] {
    [(REQUEST, false), (LIMIT, true)].map(|(metric, limits)| {
        let mut text = String::new();
        let Pod { metadata, spec } = pod;
        let priority = spec.priority.map(|priority| priority.to_string()).unwrap_or_default();
        for (resource, amount) in total(spec, limits).into_iter().filter(|(_, amount)| !amount.is_zero()) {
            writeln!(
                text,
                "{metric}{{namespace=\"{}\",node=\"{}\",pod=\"{}\",priority=\"{priority}\",resource=\"{resource}\",scheduler=\"{}\",unit=\"{}\"}} {}",
                metadata.namespace,
                spec.node_name,
                metadata.name,
                spec.scheduler_name,
                unit(&resource),
                number(amount)
            )
            .expect("writing to a String does not fail");
        }
        text
    })
}

fn amounts(given: &BTreeMap<String, String>) -> Amounts {
    let parsed = given.iter().filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text).ok()?)));
    parsed.collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |old| old.saturating_add(*amount));
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let greater = to.get(name).map_or(*amount, |old| (*old).max(*amount));
        to.insert(name.clone(), greater);
    }
}

/// The requests or limits of a pod as a whole (`k8s.io/component-helpers/resource`): the sum of its containers, or the greatest of its init
/// containers with the sidecars that run beside it; values set on the pod itself override that; overhead is added.
fn total(spec: &Spec, limits: bool) -> Amounts {
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, &container.resources.of(limits));
    }
    let (mut sidecars, mut initial) = (Amounts::new(), Amounts::new());
    for container in &spec.init_containers {
        let own = container.resources.of(limits);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut initial, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            raise(&mut initial, &beside);
        }
    }
    raise(&mut total, &initial);
    if let Some(of_pod) = &spec.resources {
        total.extend(of_pod.of(limits).into_iter().filter(|(name, _)| is_of_pods(name)));
    }
    let overhead = amounts(&spec.overhead);
    if limits {
        let has = |name: &String| total.get(name).is_some_and(|amount| !amount.is_zero());
        let counted: Amounts = overhead.into_iter().filter(|(name, _)| has(name)).collect();
        add(&mut total, &counted);
    } else {
        add(&mut total, &overhead);
    }
    total
}

/// Resources that can be requested at the pod level.
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn unit(resource: &str) -> &'static str {
    match resource {
        "cpu" => "cores",
        "memory" | "storage" | "ephemeral-storage" => "bytes",
        _ if resource.starts_with("hugepages-") => "bytes",
        _ if resource.starts_with("attachable-volumes-") => "integer",
        _ => "",
    }
}

/// Milli-units are precise enough for CPU; for an amount too large to be expressed in them, fractions do not matter.
fn number(amount: Quantity) -> f64 {
    match amount.milli_value() {
        i64::MIN | i64::MAX => amount.value() as f64,
        milli => milli as f64 / 1000.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(spec: Value) -> [Vec<String>; 2] {
        let pod = json!({ "metadata": { "name": "p", "namespace": "ns" }, "spec": spec });
        let lines = lines(&serde_json::from_value(pod).expect("a pod"));
        lines.map(|text| {
            let short = |line: &str| {
                let resource = line.split("resource=\"").nth(1)?.split('"').next()?;
                Some(format!("{resource} {}", line.rsplit(' ').next()?))
            };
            text.lines().filter_map(short).collect()
        })
    }

    #[test]
    fn a_line_has_kube_schedulers_labels() {
        let pod = json!({
            "metadata": { "name": "p", "namespace": "ns" },
            "spec": {
                "nodeName": "n", "schedulerName": "s", "priority": -3,
                "containers": [{ "resources": { "requests": { "cpu": "100m", "memory": "1Gi" }, "limits": { "example.com/gpu": "2" } } }],
            },
        });
        let [requests, limits] = lines(&serde_json::from_value(pod).expect("a pod"));
        let labels = |resource: &str, unit: &str| {
            format!(
                "{{namespace=\"ns\",node=\"n\",pod=\"p\",priority=\"-3\",resource=\"{resource}\",scheduler=\"s\",unit=\"{unit}\"}}"
            )
        };
        assert_eq!(
            requests,
            format!(
                "{REQUEST}{} 0.1\n{REQUEST}{} 1073741824\n",
                labels("cpu", "cores"),
                labels("memory", "bytes")
            )
        );
        assert_eq!(limits, format!("{LIMIT}{} 2\n", labels("example.com/gpu", "")));
    }

    #[test]
    fn containers_init_containers_the_pod_and_its_overhead_are_counted_by_upstreams_rules() {
        let of = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu }, "limits": { "cpu": cpu } } });
        let sidecar = |cpu: &str| {
            let mut container = of(cpu);
            container["restartPolicy"] = "Always".into();
            container
        };
        assert_eq!(told(json!({ "containers": [of("1"), of("500m")] }))[0], ["cpu 1.5"]);
        let init = json!({ "initContainers": [of("1"), sidecar("2"), of("3")], "containers": [of("1")] });
        assert_eq!(told(init)[0], ["cpu 5"]);
        let init = json!({ "initContainers": [of("1"), sidecar("2")], "containers": [of("1")] });
        assert_eq!(told(init)[0], ["cpu 3"]);
        let whole = json!({
            "containers": [of("1")],
            "resources": { "requests": { "cpu": "4", "example.com/gpu": "1" } },
            "overhead": { "cpu": "250m", "memory": "1Mi" },
        });
        let [requests, limits] = told(whole);
        assert_eq!(requests, ["cpu 4.25", "memory 1048576"]);
        assert_eq!(limits, ["cpu 1.25"]);
        assert_eq!(told(json!({ "containers": [of("0")] })), [Vec::<String>::new(), Vec::new()]);
    }
}
