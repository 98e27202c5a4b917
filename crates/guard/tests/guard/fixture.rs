//! Objects in one line each, and a guard with a clock.

use secondmate_guard::{Bind, Found, Guard, Look, Pass, Settled, Standing, Times, Verdict};
use secondmate_model::{Atom, Node, Pod, Timestamp, Uid, wire};
use serde_json::{Value, json};
use std::sync::Arc;

/// A pod such as `team/web cpu=200m mem=1Gi port=80 prio=5 by=other on=n1 end stop`. Its UID is its name.
pub fn pod(text: &str) -> Arc<Pod> {
    let mut words = text.split_whitespace();
    let full_name = words.next().expect("a name");
    let (namespace, name) = full_name.split_once('/').unwrap_or(("default", full_name));
    let mut requests = serde_json::Map::new();
    let mut pod = json!({
        "metadata": { "namespace": namespace, "name": name, "uid": name },
        "spec": { "schedulerName": "default-scheduler", "containers": [{}] },
    });
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "cpu" | "memory" | "ephemeral-storage" => drop(requests.insert(key.to_owned(), value.into())),
            "mem" => drop(requests.insert("memory".to_owned(), value.into())),
            "gpu" => drop(requests.insert("example.com/gpu".to_owned(), value.into())),
            "class" => {
                drop(requests.insert("deviceclass.resource.kubernetes.io/gpu".to_owned(), value.into()))
            }
            "claim" => {
                pod["status"]["extendedResourceClaimStatus"] =
                    json!({ "requestMappings": [{ "resourceName": value }] });
            }
            "hugepages" => drop(requests.insert("hugepages-2Mi".to_owned(), value.into())),
            "port" => {
                let port: i32 = value.parse().expect("a port");
                pod["spec"]["containers"][0]["ports"] = json!([{ "hostPort": port }]);
            }
            "prio" => pod["spec"]["priority"] = value.parse::<i32>().expect("a number").into(),
            "by" => pod["spec"]["schedulerName"] = value.into(),
            "on" => pod["spec"]["nodeName"] = value.into(),
            "gate" => pod["spec"]["schedulingGates"] = json!([{ "name": "g" }]),
            "overhead" => pod["spec"]["overhead"] = json!({ "cpu": value }),
            "init" => {
                pod["spec"]["initContainers"] = json!([{ "resources": { "requests": { "cpu": value } } }]);
            }
            "allocated" => {
                pod["status"]["containerStatuses"] = json!([{ "allocatedResources": { "cpu": value } }]);
            }
            // After `allocated`.
            "actuated" => {
                pod["status"]["containerStatuses"][0]["resources"] = json!({ "requests": { "cpu": value } });
            }
            "end" => pod["status"]["phase"] = "Succeeded".into(),
            "stop" => pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(),
            _ => panic!("{word}"),
        }
    }
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": requests });
    compile(pod)
}

fn compile(pod: Value) -> Arc<Pod> {
    let wire: wire::Pod = serde_json::from_value(pod).expect("a well-formed pod");
    Arc::new(Pod::new(&wire).expect("a pod that compiles"))
}

/// A node such as `n1 cpu=4 mem=8Gi pods=10`. It takes 110 pods unless specified; `blank`: its kubelet has reported nothing yet.
pub fn node(text: &str) -> Arc<Node> {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name");
    let mut allocatable = json!({ "pods": "110" });
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "blank" => allocatable = Value::Null,
            "mem" => allocatable["memory"] = value.into(),
            "gpu" => allocatable["example.com/gpu"] = value.into(),
            _ => allocatable[key] = value.into(),
        }
    }
    let node = json!({ "metadata": { "name": name }, "status": { "allocatable": allocatable } });
    let wire: wire::Node = serde_json::from_value(node).expect("a well-formed node");
    Arc::new(Node::new(&wire).expect("a node that compiles"))
}

pub fn atom(name: &str) -> Atom {
    Atom::new(name)
}

pub fn uid(name: &str) -> Uid {
    Uid::from(name)
}

/// A guard whose initial lists are complete, and the time.
pub struct Desk {
    pub guard: Guard,
    pub now: Timestamp,
    pub standing: Standing,
}

impl Desk {
    /// With these nodes and pods, on nodes or waiting.
    pub fn new(nodes: &[&str], pods: &[&str]) -> Self {
        let mut desk = Self {
            guard: Guard::new(Times::default()),
            now: Timestamp::from_secs(1_000_000),
            standing: Standing::Decides,
        };
        for text in nodes {
            desk.guard.node(node(text));
        }
        for text in pods {
            desk.see(text);
        }
        desk.guard.listed();
        desk
    }

    /// The watch that the pod belongs to shows it.
    pub fn see(&mut self, text: &str) -> Option<Settled> {
        let pod = pod(text);
        if pod.node_name.is_some() {
            self.guard.on_node(pod, self.now)
        } else {
            self.guard.waiting(pod);
            None
        }
    }

    pub fn wait_ms(&mut self, millis: u64) {
        self.now = self.now + std::time::Duration::from_millis(millis);
    }

    pub fn request(&self, pod: &str, node: &str) -> Bind {
        let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
        Bind { namespace: atom(namespace), name: name.into(), uid: None, node: atom(node), dry_run: false }
    }

    pub fn decide(&mut self, bind: &Bind) -> Verdict {
        let pod = self.guard.pod_of(bind);
        let decision = self.guard.decide(bind, pod.as_ref(), self.standing, self.now);
        self.guard.check().expect("the books agree");
        decision.verdict
    }

    /// Asks to bind a waiting pod; returns `ok`, the word of a pass, or the text of the refusal.
    pub fn bind(&mut self, pod: &str, node: &str) -> String {
        let verdict = self.decide(&self.request(pod, node));
        text(&verdict)
    }

    /// The only look that is due, if any.
    pub fn look(&mut self) -> Option<Look> {
        let mut looks = self.guard.looks(self.now, 100);
        assert!(looks.len() <= 1, "{looks:?}");
        looks.pop()
    }

    pub fn found(&mut self, look: &Look, found: &Found) -> Option<Settled> {
        let settled = self.guard.found(look, found, self.now);
        self.guard.check().expect("the books agree");
        settled
    }
}

pub fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Approved => "ok".to_owned(),
        Verdict::Passed(pass) => Pass::word(*pass).to_owned(),
        Verdict::Refused(refusal) => refusal.to_string(),
    }
}
