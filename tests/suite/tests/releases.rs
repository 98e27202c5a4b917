//! API servers of other releases: what one does not serve or store is found by asking it, and said once.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use secondmate_documents::{Document, documents};
use secondmate_harness::{
    Api, Cluster, LACKS_VARIABLE, Options, Program, releases, require_programs_or_skip,
};
use secondmate_suite::{DEADLINE, OWN, Stage, node_of, object, pod, repository, requests};
use serde_json::{Value, json};

/// An API server by itself.
fn bare(apiserver_flags: &[&str]) -> Options {
    Options {
        controller_manager: false,
        scheduler: None,
        kwok: false,
        apiserver_flags: apiserver_flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..Options::default()
    }
}

const PROGRAMS: [Program; 3] = [Program::Etcd, Program::KubeApiserver, Program::Kubectl];

/// Group and version, and plural, of the kinds that the manifests let the scheduler watch: no more and no fewer than it does.
fn watched() -> Result<Vec<(String, String)>> {
    // From the file: kubectl would ask the server for kinds that it may not serve.
    let path = repository().join("manifests/base/rbac.yaml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let objects = documents(&text).iter().map(Document::value).collect::<Result<Vec<Value>, _>>()?;
    let role = objects
        .iter()
        .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "secondmate")
        .context("the manifests have no ClusterRole secondmate")?;
    let mut kinds = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        let texts = |field: &str| -> Vec<&str> {
            rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        if texts("verbs").contains(&"watch") {
            for group in texts("apiGroups") {
                let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
                kinds.extend(texts("resources").iter().map(|plural| (version.clone(), (*plural).to_owned())));
            }
        }
    }
    ensure!(kinds.len() > 10, "only {kinds:?}");
    Ok(kinds)
}

/// The kinds of those that the scheduler watches that are not served.
fn unserved(cluster: &Cluster) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (version, plural) in watched()? {
        if !cluster.api().serves(&version, &plural)? {
            missing.push(format!("{plural} ({version})"));
        }
    }
    Ok(missing)
}

fn ready_node(name: &str) -> Value {
    object(
        "v1",
        "Node",
        name,
        json!({ "status": {
            "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        } }),
    )
}

/// A pod of the scheduler under test gets its node.
fn places_a_pod(stage: &Stage) -> Result<()> {
    let api = stage.cluster.api();
    api.create("/api/v1/nodes", &ready_node("only"))?;
    api.create("/api/v1/namespaces/default/pods", &pod("first", OWN, requests(json!({ "cpu": "1" }))))?;
    stage.wait("the pod to be bound", || {
        Ok(node_of(&api.get("/api/v1/namespaces/default/pods/first")?).map(drop))
    })
}

#[test]
fn kinds_that_are_not_served_are_said_once_and_the_rest_goes_on() -> Result<()> {
    let test = "kinds_that_are_not_served_are_said_once_and_the_rest_goes_on";
    let Some(binaries) = require_programs_or_skip(test, &PROGRAMS) else { return Ok(()) };
    // Two groups fewer than any release has, so that something is lacking on each.
    let off = "--runtime-config=policy/v1=false,resource.k8s.io/v1=false";
    let stage = Stage::new(Cluster::start(binaries, bare(&[off]))?);
    let missing = unserved(&stage.cluster)?;
    ensure!(missing.iter().any(|kind| kind.starts_with("poddisruptionbudgets ")), "{missing:?}");
    ensure!(missing.iter().any(|kind| kind.starts_with("deviceclasses ")), "{missing:?}");
    let kubeconfig = stage.cluster.kubeconfig_for("mate", &["system:masters"])?;
    let mut scheduler =
        stage.start_secondmate(&kubeconfig, &["--scheduler-name", OWN, "--leader-elect=false"])?;
    places_a_pod(&stage)?;
    let status = scheduler.terminate(DEADLINE)?;
    ensure!(status.success(), "{status}:\n{}", scheduler.tail(20));
    let log = scheduler.log()?;
    let said: Vec<&str> = log.lines().filter(|line| line.contains("does not serve this kind")).collect();
    for kind in &missing {
        let plural = kind.split(' ').next().unwrap_or_default();
        let lines = said.iter().filter(|line| line.contains(plural)).count();
        ensure!(lines == 1, "{plural} is named in {lines} of these lines, not in one: {said:#?}");
    }
    ensure!(said.len() == missing.len(), "not served are {missing:?}, but the log says {said:#?}");
    Ok(())
}

/// A field that not every release stores, with an object to try it on.
struct Field {
    name: &'static str,
    collection: &'static str,
    object: Value,
    /// Where the field is in the object.
    pointer: &'static str,
    /// Of a status that only its own subresource changes: what is written there.
    status: Option<Value>,
}

/// The fields that decisions depend on and that came with one of the releases.
fn fields() -> Vec<Field> {
    let field = |name, collection, object, pointer| Field { name, collection, object, pointer, status: None };
    let resources = json!({ "requests": { "cpu": "2" } });
    let with_level = pod("level", OWN, json!({ "spec": { "resources": resources } }));
    let mut declaring = ready_node("declaring");
    declaring["status"]["declaredFeatures"] = json!(["GuaranteedQoSPodCPUResize"]);
    let driver = json!({ "spec": { "preventPodSchedulingIfMissing": true } });
    let class = json!({ "spec": { "extendedResourceName": "example.com/card" } });
    let resized = |name: &'static str, pointer: &'static str, status: Value| Field {
        name,
        collection: "/api/v1/namespaces/default/pods",
        object: with_level.clone(),
        pointer,
        status: Some(json!({ "status": status })),
    };
    let container = json!({
        "name": "main", "image": "main", "imageID": "", "ready": true, "restartCount": 0,
        "allocatedResources": { "cpu": "1" }, "resources": { "requests": { "cpu": "1" } },
    });
    vec![
        field(
            "Pod spec.resources",
            "/api/v1/namespaces/default/pods",
            with_level.clone(),
            "/spec/resources/requests/cpu",
        ),
        resized(
            "Pod status.containerStatuses[].allocatedResources",
            "/status/containerStatuses/0/allocatedResources/cpu",
            json!({ "containerStatuses": [container] }),
        ),
        resized(
            "Pod status.allocatedResources",
            "/status/allocatedResources/cpu",
            json!({ "allocatedResources": { "cpu": "2" } }),
        ),
        resized("Pod status.resources", "/status/resources/requests/cpu", json!({ "resources": resources })),
        field("Node status.declaredFeatures", "/api/v1/nodes", declaring, "/status/declaredFeatures/0"),
        field(
            "CSIDriver spec.preventPodSchedulingIfMissing",
            "/apis/storage.k8s.io/v1/csidrivers",
            object("storage.k8s.io/v1", "CSIDriver", "csi.example.com", driver),
            "/spec/preventPodSchedulingIfMissing",
        ),
        field(
            "DeviceClass spec.extendedResourceName",
            "/apis/resource.k8s.io/v1/deviceclasses",
            object("resource.k8s.io/v1", "DeviceClass", "card", class),
            "/spec/extendedResourceName",
        ),
    ]
}

/// Whether the API server keeps the field. One that does not know it, or whose gate for it is off, leaves it out.
fn stores(api: &Api, field: &Field) -> Result<bool> {
    let created = api.create(field.collection, &field.object).context(field.name)?;
    let path = format!("{}/{}", field.collection, created["metadata"]["name"].as_str().context("a name")?);
    let stored = match &field.status {
        Some(status) => api.patch(&format!("{path}/status"), status).context(field.name)?,
        None => created,
    };
    api.delete(&format!("{path}?gracePeriodSeconds=0"))?;
    Ok(stored.pointer(field.pointer).is_some_and(|value| !value.is_null()))
}

#[test]
fn what_this_release_lacks_is_found_by_asking() -> Result<()> {
    let Some(binaries) = require_programs_or_skip("what_this_release_lacks_is_found_by_asking", &PROGRAMS)
    else {
        return Ok(());
    };
    let cluster = Cluster::start(binaries, bare(&[]))?;
    let mut lacks: Vec<String> =
        unserved(&cluster)?.into_iter().map(|kind| format!("the kind {kind}")).collect();
    for field in fields() {
        if !stores(cluster.api(), &field)? {
            lacks.push(field.name.to_owned());
        }
    }
    if let Some(path) = std::env::var_os(LACKS_VARIABLE) {
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        lacks.iter().try_for_each(|line| writeln!(file, "{line}"))?;
    }
    // The newest has everything: else the list above names something that is not there, or not so.
    let served = cluster.api().get("/version")?["gitVersion"].take();
    let newest = releases()?.pop().context("no release is pinned")?.version;
    let is_newest = served.as_str().is_some_and(|version| version.trim_start_matches('v') == newest);
    ensure!(!is_newest || lacks.is_empty(), "the newest release lacks {lacks:?}");
    Ok(())
}
