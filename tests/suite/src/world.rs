//! A stretch of a shared cluster that one test has for itself: its nodes, its namespace, its volumes.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::objects::{merge, pod};
use crate::observed::{condition, node_of};
use crate::{BOTH, Stage};

/// Everything that a test makes in a cluster. When it is dropped, the next test's turn begins on an empty cluster.
pub struct World<'a> {
    /// Where it happens.
    pub stage: &'a Stage,
    /// Its namespace.
    pub namespace: String,
    /// Paths of the objects that belong to no namespace, in the order of their making.
    made: Mutex<Vec<String>>,
    settled: Mutex<usize>,
    _turn: MutexGuard<'a, ()>,
}

impl<'a> World<'a> {
    /// Waits for its turn and makes the namespace.
    ///
    /// # Errors
    ///
    /// When the namespace exists already, or the API server refuses.
    pub fn new(stage: &'a Stage, namespace: &str) -> Result<Self> {
        let turn = stage.turn();
        stage.cluster.create_namespace(namespace)?;
        Ok(Self {
            stage,
            namespace: namespace.to_owned(),
            made: Mutex::default(),
            settled: Mutex::new(0),
            _turn: turn,
        })
    }

    /// The path of a collection of the namespace, for example `pods` or `apps/v1/deployments`.
    #[must_use]
    pub fn path(&self, resource: &str) -> String {
        let namespace = &self.namespace;
        match resource.rsplit_once('/') {
            None => format!("/api/v1/namespaces/{namespace}/{resource}"),
            Some((group, resource)) => format!("/apis/{group}/namespaces/{namespace}/{resource}"),
        }
    }

    /// Creates an object in a collection of the namespace.
    ///
    /// # Errors
    ///
    /// When the API server refuses.
    pub fn create(&self, resource: &str, object: &Value) -> Result<Value> {
        self.stage.cluster.api().create(&self.path(resource), object)
    }

    /// Creates an object outside of the namespace, to be deleted with the world. `collection` is a whole path.
    ///
    /// # Errors
    ///
    /// When the API server refuses.
    pub fn create_outside(&self, collection: &str, object: &Value) -> Result<Value> {
        let created = self.stage.cluster.api().create(collection, object)?;
        let name = created["metadata"]["name"].as_str().context("a name")?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{collection}/{name}"));
        Ok(created)
    }

    /// Creates nodes and waits until they are Ready and free of the node controllers' taints.
    ///
    /// # Errors
    ///
    /// When the API server refuses, or they do not become Ready in time.
    pub fn create_nodes(&self, nodes: &[Value]) -> Result<()> {
        for node in nodes {
            self.create_outside("/api/v1/nodes", node)?;
        }
        self.wait_for_nodes(nodes)
    }

    fn wait_for_nodes(&self, nodes: &[Value]) -> Result<()> {
        let names: BTreeSet<&str> =
            nodes.iter().filter_map(|node| node["metadata"]["name"].as_str()).collect();
        self.stage.wait("the nodes to be Ready", || {
            let list = self.stage.cluster.list("/api/v1/nodes")?;
            let waiting = list.iter().filter(|node| {
                let conditions = node["status"]["conditions"].as_array();
                let ready =
                    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
                let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
                let name = node["metadata"]["name"].as_str().unwrap_or_default();
                let fresh = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
                names.contains(name)
                    && (!ready || taints.any(|taint| fresh.iter().any(|key| taint["key"] == *key)))
            });
            Ok((waiting.count() == 0).then_some(()))
        })
    }

    /// Creates pods on their nodes, past every scheduler, and waits until they run.
    ///
    /// # Errors
    ///
    /// When the API server refuses, or they do not run in time.
    pub fn place(&self, pods: &[Value]) -> Result<()> {
        let mut names = BTreeSet::new();
        for pod in pods {
            names.insert(pod["metadata"]["name"].as_str().context("a name")?);
            self.create("pods", pod)?;
        }
        self.stage.wait("the placed pods to run", || {
            let running = self.pods()?;
            let running = running.iter().filter(|pod| {
                pod["status"]["phase"] == "Running"
                    && pod["metadata"]["name"].as_str().is_some_and(|name| names.contains(name))
            });
            Ok((running.count() == names.len()).then_some(()))
        })
    }

    /// The pods of the namespace.
    ///
    /// # Errors
    ///
    /// When the API server does not answer.
    pub fn pods(&self) -> Result<Vec<Value>> {
        self.stage.cluster.list(&self.path("pods"))
    }

    /// Waits until both schedulers have seen every node as it is now, so that their first words about a pod are about
    /// the same cluster. (An event keeps its first text, whatever becomes true later.)
    ///
    /// The label that is put on the last node here comes after all other changes in the watch of nodes.
    ///
    /// # Errors
    ///
    /// When a scheduler does not see it in time.
    pub fn settle(&self, schedulers: &[&str]) -> Result<()> {
        let round = {
            let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
            *settled += 1;
            format!("{}-{settled}", self.namespace)
        };
        let nodes = self.stage.cluster.list("/api/v1/nodes")?;
        let last = nodes.last().context("there are no nodes")?;
        let path = format!("/api/v1/nodes/{}", last["metadata"]["name"].as_str().context("a name")?);
        self.stage.cluster.api().patch(&path, &json!({ "metadata": { "labels": { "settled": round } } }))?;
        let probes: Vec<String> = schedulers.iter().map(|scheduler| format!("probe-{scheduler}")).collect();
        for (scheduler, probe) in schedulers.iter().zip(&probes) {
            let spec = json!({ "spec": {
                "nodeSelector": { "settled": round },
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{
                    "name": "main", "image": "main",
                    "resources": { "requests": { "cpu": "1000000" } },
                }],
            } });
            self.create("pods", &pod(probe, scheduler, spec))?;
        }
        let everywhere = format!("0/{} nodes are available", nodes.len());
        self.stage.wait("the schedulers to see the nodes", || {
            let pods = self.pods()?;
            let probes = pods.iter().filter(|pod| {
                let [_, _, message] = condition(pod);
                pod["metadata"]["name"].as_str().is_some_and(|name| probes.iter().any(|probe| probe == name))
                    && message.starts_with(&everywhere)
                    && message.contains("1 Insufficient cpu")
            });
            Ok((probes.count() == schedulers.len()).then_some(()))
        })?;
        for probe in &probes {
            self.stage
                .cluster
                .api()
                .delete(&format!("{}/{probe}?gracePeriodSeconds=0", self.path("pods")))?;
        }
        Ok(())
    }

    /// The name of the pod that `case` has for a scheduler.
    #[must_use]
    pub fn pod_name(case: &str, scheduler: &str) -> String {
        format!("{case}-{}", scheduler.split('-').next().unwrap_or(scheduler))
    }

    /// Creates the same pod for both schedulers, named by [`Self::pod_name`].
    ///
    /// # Errors
    ///
    /// When the API server refuses.
    pub fn create_pair(&self, case: &str, changes: &Value) -> Result<()> {
        for scheduler in BOTH {
            let mut object = pod(&Self::pod_name(case, scheduler), scheduler, json!({}));
            merge(&mut object, changes.clone());
            self.create("pods", &object).with_context(|| case.to_owned())?;
        }
        Ok(())
    }

    /// Waits until each of these pods has a node.
    ///
    /// # Errors
    ///
    /// When one has none in time: names it, with its condition.
    pub fn wait_bound(&self, names: &[String]) -> Result<Vec<Value>> {
        let mut last = Vec::new();
        let bound = self.stage.wait(&format!("{} pods to have nodes", names.len()), || {
            last = self.pods()?;
            last.retain(|pod| {
                pod["metadata"]["name"].as_str().is_some_and(|name| names.iter().any(|n| n == name))
            });
            Ok((last.iter().filter(|pod| node_of(pod).is_some()).count() == names.len()).then_some(()))
        });
        if let Err(error) = bound {
            let left: Vec<String> = last
                .iter()
                .filter(|pod| node_of(pod).is_none())
                .map(|pod| format!("\n{}: {:?}", pod["metadata"]["name"], condition(pod)))
                .collect();
            return Err(error.context(format!("these have none:{}", left.concat())));
        }
        Ok(last)
    }

    /// Deletes everything. Nodes go last: kwok ends the pods on them.
    fn clear(&self) -> Result<()> {
        let api = self.stage.cluster.api();
        api.delete(&format!("/api/v1/namespaces/{}", self.namespace))?;
        self.stage.wait("the namespace to be empty", || {
            let pods = self.path("pods");
            api.delete(&format!("{pods}?gracePeriodSeconds=0"))?;
            let left = self.stage.cluster.list(&pods)?;
            for pod in left.iter().filter(|pod| !pod["metadata"]["finalizers"].is_null()) {
                let name = pod["metadata"]["name"].as_str().context("a name")?;
                api.patch(&format!("{pods}/{name}"), &json!({ "metadata": { "finalizers": null } }))?;
            }
            Ok(left.is_empty().then_some(()))
        })?;
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        for path in made.iter().rev() {
            let answer = api.call("DELETE", path, "application/json", b"")?;
            if answer.status >= 300 && answer.status != 404 {
                bail!("DELETE {path}: {}", answer.body);
            }
        }
        self.stage.wait("the nodes to go", || {
            let gone = made
                .iter()
                .filter(|path| path.starts_with("/api/v1/nodes/"))
                .map(|path| Ok(api.call("GET", path, "application/json", b"")?.status == 404));
            Ok(gone.collect::<Result<Vec<bool>>>()?.into_iter().all(|gone| gone).then_some(()))
        })
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("what {} left behind: {error:#}", self.namespace);
        }
    }
}
