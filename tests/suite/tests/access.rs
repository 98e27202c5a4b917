//! What the scheduler may do, and the manifests that say so: applied as an operator does, used by the scheduler with
//! its own token.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Options, Process, run, secondmate_binary};
use secondmate_suite::{
    DEADLINE, OWN, SharedStage, Stage, World, claim, condition, events, merge, node, node_of, object, pod,
    repository, requests,
};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();

const NAMESPACE: &str = "secondmate";

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| Ok(Stage::new(Cluster::start(binaries, Options::default())?)))
}

/// `kubectl apply -k FOLDER`, without a warning.
fn apply(stage: &Stage, folder: &str) -> Result<()> {
    let mut command = stage.cluster.kubectl_command()?;
    command.args(["apply", "-k"]).arg(repository().join(folder));
    let output = run(command, b"", DEADLINE)?;
    let warnings = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && warnings.trim().is_empty(), "kubectl apply -k {folder}: {warnings}");
    Ok(())
}

fn delete(stage: &Stage, folder: &str) -> Result<()> {
    let folder = repository().join(folder);
    let folder = folder.to_str().context("a path that is text")?;
    stage.cluster.kubectl(&["delete", "-k", folder, "--ignore-not-found", "--wait=true"]).map(drop)
}

/// The configuration file that the Deployment mounts, as the cluster has it.
fn mounted_configuration(stage: &Stage, deployment: &str) -> Result<PathBuf> {
    let api = stage.cluster.api();
    let deployment = api.get(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{deployment}"))?;
    let name = deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"].as_str();
    let name = name.context("the Deployment mounts no ConfigMap")?;
    let map = api.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"))?;
    let text = map["data"]["config.yaml"].as_str().context("the ConfigMap has no config.yaml")?;
    let path = stage.cluster.directory().join(format!("{name}.yaml"));
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Starts what the Deployment runs, as its ServiceAccount.
fn start_as(stage: &Stage, deployment: &str) -> Result<Process> {
    let token = stage.cluster.service_account_token(NAMESPACE, deployment)?;
    let kubeconfig = stage.cluster.kubeconfig_for_token(deployment, &token)?;
    let configuration = mounted_configuration(stage, deployment)?;
    stage.start_secondmate(&kubeconfig, &["--config", configuration.to_str().context("a path that is text")?])
}

/// The pods of a Deployment's two replicas run: the API server takes them under the namespace's pod security.
fn wait_for_replicas(stage: &Stage, deployment: &str, instance: &str) -> Result<()> {
    stage.wait(&format!("the replicas of {deployment}"), || {
        let selector = instance.replace('=', "%3D");
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}");
        let running =
            stage.cluster.list(&path)?.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        ensure!(running == 2, "{running} of 2 run");
        Ok(Some(()))
    })
}

/// The scheduler still runs, and the API server refused it nothing.
fn content(process: &mut Process) -> Result<()> {
    let log = process.log()?;
    ensure!(process.is_running()?, "{} ended:\n{}", process.name(), process.tail(20));
    let refused: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    ensure!(refused.is_empty(), "{} was refused: {refused:#?}", process.name());
    Ok(())
}

/// The permissions that a list of rules grants, as the scheduler names them.
fn granted(rules: &Value, namespace: &str) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut permissions = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        let names = texts(&rule["resourceNames"]);
        for (group, resource, verb) in texts(&rule["apiGroups"]).iter().flat_map(|group| {
            texts(&rule["resources"]).into_iter().flat_map(move |resource| {
                texts(&rule["verbs"]).into_iter().map(move |verb| (group.clone(), resource.clone(), verb))
            })
        }) {
            let mut line = format!("{verb} {resource}");
            if !group.is_empty() {
                line.push_str(&format!(" in {group}"));
            }
            if let [name] = names.as_slice() {
                line.push_str(&format!(" named {name:?}"));
            }
            if !namespace.is_empty() {
                line.push_str(&format!(" (namespace {namespace})"));
            }
            permissions.push(line);
        }
    }
    permissions
}

/// What the scheduler says is missing.
fn missing(log: &str) -> BTreeSet<String> {
    log.lines().filter_map(|line| line.trim().strip_prefix("- ").map(str::to_owned)).collect()
}

#[test]
fn whoever_may_do_nothing_is_told_every_verb_that_the_manifests_grant_and_no_other() -> Result<()> {
    let test = "whoever_may_do_nothing_is_told_every_verb_that_the_manifests_grant_and_no_other";
    let Some(stage) = stage(test)? else { return Ok(()) };
    let _turn = stage.turn();
    apply(stage, "manifests")?;
    let api = stage.cluster.api();
    let cluster_role = api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/secondmate")?;
    let role = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles/secondmate-leader-election";
    let role = api.get(role)?;
    let mut expected: BTreeSet<String> = granted(&cluster_role["rules"], "").into_iter().collect();
    expected.extend(granted(&role["rules"], "kube-system"));
    assert!(expected.remove("list events"), "it starts without it");

    let nobody = stage.cluster.kubeconfig_for("nobody", &[])?;
    let configuration = mounted_configuration(stage, "secondmate")?;
    let configuration = configuration.to_str().context("a path that is text")?;
    let log = stage.refused(&nobody, &["--config", configuration])?;
    assert!(log.contains("RBAC"), "the remedy is not named:\n{log}");
    assert_eq!(missing(&log), expected, "{log}");

    // One verb of one resource less, as after an upgrade with an old role.
    let poor = stage.cluster.kubeconfig_for("poor", &[])?;
    for (number, verb) in
        ["create pods/binding", "patch pods/status", "watch nodes", "list csinodes in storage.k8s.io"]
            .iter()
            .enumerate()
    {
        let (name, rules) = (format!("poor-{number}"), without(&cluster_role["rules"], verb));
        let bound = object("rbac.authorization.k8s.io/v1", "ClusterRole", &name, json!({ "rules": rules }));
        api.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", &bound)?;
        let binding = object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "poor",
            json!({
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
                "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "poor" }],
            }),
        );
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        api.create(bindings, &binding)?;
        // The authorizer of the API server learns of it by a watch.
        stage.wait("the role to count", || {
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": { "user": "poor", "resourceAttributes": { "verb": "list", "resource": "nodes" } },
            });
            let answer = api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)?;
            Ok((answer["status"]["allowed"] == true).then_some(()))
        })?;
        let log = stage.refused(&poor, &["--scheduler-name", OWN, "--leader-elect=false"])?;
        assert_eq!(missing(&log), BTreeSet::from([(*verb).to_owned()]), "{log}");
        api.delete(&format!("{bindings}/poor"))?;
        stage.wait("the role to count no more", || {
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": { "user": "poor", "resourceAttributes": { "verb": "list", "resource": "nodes" } },
            });
            let answer = api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)?;
            Ok((answer["status"]["allowed"] != true).then_some(()))
        })?;
    }
    delete(stage, "manifests")
}

/// `secondmate doctor` on a service account that lacks some of its rights: with its own kubeconfig, and asked about by somebody else.
#[test]
fn doctor_names_each_right_that_a_service_account_lacks_and_the_remedy() -> Result<()> {
    let test = "doctor_names_each_right_that_a_service_account_lacks_and_the_remedy";
    let Some(stage) = stage(test)? else { return Ok(()) };
    let _turn = stage.turn();
    apply(stage, "manifests")?;
    let api = stage.cluster.api();
    let role = api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/secondmate")?;
    let lacking = ["create pods/binding", "watch nodes", "patch pods/status"];
    let rules = lacking.iter().fold(role["rules"].clone(), |rules, right| without(&rules, right));
    let account = object("v1", "ServiceAccount", "lacking", json!({}));
    api.create(&format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), &account)?;
    let group = "rbac.authorization.k8s.io";
    let role = object(&format!("{group}/v1"), "ClusterRole", "lacking", json!({ "rules": rules }));
    api.create(&format!("/apis/{group}/v1/clusterroles"), &role)?;
    let binding = json!({
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "lacking" },
        "subjects": [{ "kind": "ServiceAccount", "name": "lacking", "namespace": NAMESPACE }],
    });
    let binding = object(&format!("{group}/v1"), "ClusterRoleBinding", "lacking", binding);
    api.create(&format!("/apis/{group}/v1/clusterrolebindings"), &binding)?;

    // What the Role for the Lease would grant is lacking as well.
    let lease = |verb: &str, named: &str| {
        format!("{verb} leases in coordination.k8s.io{named} (namespace kube-system)")
    };
    let named = format!(" named {OWN:?}");
    let mut expected: BTreeSet<String> = lacking.map(str::to_owned).into();
    expected.extend([lease("create", ""), lease("get", &named), lease("update", &named)]);

    let token = stage.cluster.service_account_token(NAMESPACE, "lacking")?;
    let own = stage.cluster.kubeconfig_for_token("lacking", &token)?;
    let whose = format!("service account {NAMESPACE}/lacking");
    for (kubeconfig, arguments, object, severity, remedy) in [
        (
            &*own,
            vec![],
            "user of this kubeconfig",
            "warning",
            "--service-account NAMESPACE/NAME; or grant it by RBAC",
        ),
        (
            stage.cluster.kubeconfig(),
            vec!["--service-account".to_owned(), format!("{NAMESPACE}/lacking")],
            &whose,
            "fault",
            "grant it by RBAC: apply the manifests of this version, or add it to the ClusterRole",
        ),
    ] {
        // The authorizer of the API server learns of the role by a watch.
        stage.wait("doctor to name what is lacking and nothing else", || {
            let mut command = Command::new(secondmate_binary()?);
            command
                .args(["doctor", "-o", "json", "--pending-for", "1h", "--scheduler-name", OWN])
                .args(&arguments);
            let output = command.arg("--kubeconfig").arg(kubeconfig).env_remove("KUBECONFIG").output()?;
            let answer: Value = serde_json::from_slice(&output.stdout)
                .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
            let found: Vec<&Value> = answer["findings"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|finding| finding["check"] == "rights")
                .collect();
            let named = found.iter().filter_map(|finding| {
                let problem = finding["problem"].as_str()?.strip_prefix("may not ")?;
                Some(problem.split_once(": a scheduler that")?.0.to_owned())
            });
            if named.collect::<BTreeSet<_>>() != expected || found.len() != expected.len() {
                return Ok(None);
            }
            for finding in found {
                let told = finding["remedy"].as_str().unwrap_or_default();
                ensure!(finding["object"] == object && finding["severity"] == severity, "{finding}");
                ensure!(told.ends_with(remedy), "{finding}");
            }
            ensure!(
                (output.status.code() == Some(1)) == (severity == "fault"),
                "{:?}: {answer:#}",
                output.status
            );
            Ok(Some(()))
        })?;
    }
    for path in ["clusterrolebindings", "clusterroles"] {
        api.delete(&format!("/apis/{group}/v1/{path}/lacking"))?;
    }
    delete(stage, "manifests")
}

/// The same rules, one for each permission, without this one.
fn without(rules: &Value, permission: &str) -> Value {
    let mut kept = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        for field in ["apiGroups", "resources", "verbs"] {
            assert!(rule[field].is_array(), "{rule}");
        }
        for group in rule["apiGroups"].as_array().into_iter().flatten() {
            for resource in rule["resources"].as_array().into_iter().flatten() {
                for verb in rule["verbs"].as_array().into_iter().flatten() {
                    let one = json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb] });
                    if granted(&json!([one]), "") != [permission] {
                        kept.push(one);
                    }
                }
            }
        }
    }
    Value::Array(kept)
}

/// One of everything that makes the scheduler write: bindings, conditions, events, nominations, victims, volumes.
#[test]
fn the_manifests_give_the_scheduler_what_it_needs() -> Result<()> {
    let Some(stage) = stage("the_manifests_give_the_scheduler_what_it_needs")? else { return Ok(()) };
    let world = World::new(stage, "deployed")?;
    world.create_nodes(&[
        node("small", json!({})),
        node("other", json!({ "spec": { "unschedulable": true } })),
    ])?;
    apply(stage, "manifests")?;
    wait_for_replicas(stage, "secondmate", "app.kubernetes.io/name=secondmate")?;
    let mut scheduler = start_as(stage, "secondmate")?;

    for (name, value) in [("low", 1), ("high", 1_000)] {
        let class = object("scheduling.k8s.io/v1", "PriorityClass", name, json!({ "value": value }));
        world.create_outside("/apis/scheduling.k8s.io/v1/priorityclasses", &class)?;
    }
    let late =
        json!({ "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer" });
    let late = object("storage.k8s.io/v1", "StorageClass", "late", late);
    world.create_outside("/apis/storage.k8s.io/v1/storageclasses", &late)?;
    let dynamic = json!({ "provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer" });
    let dynamic = object("storage.k8s.io/v1", "StorageClass", "dynamic", dynamic);
    world.create_outside("/apis/storage.k8s.io/v1/storageclasses", &dynamic)?;
    let volume = object(
        "v1",
        "PersistentVolume",
        "deployed-volume",
        json!({ "spec": {
        "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
        "csi": { "driver": "csi.example.com", "volumeHandle": "deployed" },
    } }),
    );
    world.create_outside("/api/v1/persistentvolumes", &volume)?;

    let asking = |name: &str, cpu: &str, changes: Value| {
        let mut pod = pod(name, OWN, requests(json!({ "cpu": cpu })));
        merge(&mut pod, changes);
        pod
    };
    let mounts = |claim: &str| json!({ "spec": { "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }] } });
    let priority = |class: &str| json!({ "spec": { "priorityClassName": class } });
    world.create("persistentvolumeclaims", &claim("data", "late", json!({})))?;
    world.create("persistentvolumeclaims", &claim("made", "dynamic", json!({})))?;
    world.create("pods", &asking("plain", "100m", priority("high")))?;
    world.create("pods", &asking("with-volume", "100m", mounts("data")))?;
    world.create("pods", &asking("too-big", "100", json!({})))?;
    world.create("pods", &asking("with-claim-to-provision", "100m", mounts("made")))?;
    let names = ["plain", "with-volume"].map(str::to_owned);
    world.wait_bound(&names)?;
    // Dynamic provisioning: the scheduler says where, and nobody is there who would make the volume.
    stage.wait("the claim to be told its node", || {
        let claim = stage.cluster.api().get(&format!("{}/made", world.path("persistentvolumeclaims")))?;
        let node = &claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"];
        Ok((node == "small").then_some(()))
    })?;
    let too_big = stage.wait("the condition of a pod that fits nowhere", || {
        let pod = stage.cluster.api().get(&format!("{}/too-big", world.path("pods")))?;
        let condition = condition(&pod);
        Ok((!condition[0].is_empty()).then_some(condition))
    })?;
    assert!(too_big[2].starts_with("0/2 nodes are available"), "{too_big:?}");

    // Preemption: the victim is deleted, the winner nominated and then bound.
    world.create("pods", &asking("victim", "2500m", priority("low")))?;
    world.wait_bound(&["victim".to_owned()])?;
    world.create("pods", &asking("winner", "3", priority("high")))?;
    let pods = world.wait_bound(&["winner".to_owned()])?;
    assert_eq!(node_of(&pods[0]), Some("small"));
    let reasons: BTreeSet<String> = stage.wait("the events", || {
        let reasons: BTreeSet<String> = events(&stage.cluster, &world.namespace)?
            .into_iter()
            .filter(|event| event.controller == OWN)
            .map(|event| event.reason)
            .collect();
        Ok((reasons.len() >= 3).then_some(reasons))
    })?;
    assert_eq!(reasons, ["FailedScheduling", "Preempted", "Scheduled"].map(str::to_owned).into());
    content(&mut scheduler)?;
    let status = scheduler.terminate(Duration::from_secs(60))?;
    assert_eq!(status.code(), Some(0), "{}", scheduler.tail(20));
    delete(stage, "manifests")
}

/// Labels a namespace as one of this tenant's.
fn label(stage: &Stage, namespace: &str, tenant: &str) -> Result<()> {
    let labels = json!({ "metadata": { "labels": { "tenant": tenant } } });
    stage.cluster.api().patch(&format!("/api/v1/namespaces/{namespace}"), &labels).map(drop)
}

/// Waits until the scheduler has said of a pod why it waits: in its condition and in an event of this scheduler.
fn wait_refused(stage: &Stage, namespace: &str, pod: &str, scheduler: &str, why: &str) -> Result<()> {
    stage.wait(&format!("{pod} to be told {why:?}"), || {
        let object = stage.cluster.api().get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}"))?;
        ensure!(node_of(&object).is_none(), "{object}");
        let [_, reason, message] = condition(&object);
        let told = events(&stage.cluster, namespace)?.into_iter().any(|event| {
            let about = (&*event.regarding, &*event.reason, &*event.controller);
            about == (pod, "FailedScheduling", scheduler) && event.note.starts_with(why)
        });
        Ok((reason == "Unschedulable" && message.starts_with(why) && told).then_some(()))
    })
}

/// As the overlay has it: `red` and `blue` are labels of namespaces and nodes.
#[test]
fn tenants_have_a_scheduler_a_lease_and_nodes_each_and_keep_to_them() -> Result<()> {
    let Some(stage) = stage("tenants_have_a_scheduler_a_lease_and_nodes_each_and_keep_to_them")? else {
        return Ok(());
    };
    let world = World::new(stage, "tenants")?;
    let of = |name: &str, tenant: &str| node(name, json!({ "metadata": { "labels": { "tenant": tenant } } }));
    world.create_nodes(&[
        of("tenants-red", "red"),
        of("tenants-blue", "blue"),
        of("tenants-shared", "shared"),
    ])?;
    let (red, blue) = (world.namespace.as_str(), "tenants-of-blue");
    stage.cluster.create_namespace(blue)?;
    label(stage, red, "red")?;
    label(stage, blue, "blue")?;
    let overlay = "manifests/overlays/tenants";
    apply(stage, overlay)?;
    let mut schedulers = Vec::new();
    for tenant in ["red", "blue"] {
        wait_for_replicas(
            stage,
            &format!("secondmate-{tenant}"),
            &format!("secondmate.dev/tenant={tenant}"),
        )?;
        schedulers.push(start_as(stage, &format!("secondmate-{tenant}"))?);
    }
    let api = stage.cluster.api();
    let pods = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods");
    for (namespace, tenant, nodes) in
        [(red, "red", &["tenants-red"][..]), (blue, "blue", &["tenants-blue", "tenants-shared"])]
    {
        let scheduler = format!("{tenant}-scheduler");
        for number in 0..5 {
            api.create(&pods(namespace), &pod(&format!("{tenant}-{number}"), &scheduler, json!({})))?;
        }
        stage.wait("an event for each pod, by the scheduler of its tenant", || {
            let events = events(&stage.cluster, namespace)?;
            let scheduled: Vec<_> = events.iter().filter(|event| event.reason == "Scheduled").collect();
            for event in &scheduled {
                ensure!(event.controller == scheduler, "{event:?}");
            }
            Ok((scheduled.len() == 5).then_some(()))
        })?;
        for pod in stage.cluster.list(&pods(namespace))? {
            let name = &pod["metadata"]["name"];
            assert!(
                node_of(&pod).is_some_and(|node| nodes.contains(&node)),
                "{name} is on {:?}",
                node_of(&pod)
            );
        }
    }

    // A name that its namespace may not use, and nodes of others.
    api.create(&pods(blue), &pod("stranger", "red-scheduler", json!({})))?;
    let refusal = "0/3 nodes are available: namespace \"tenants-of-blue\" may not use scheduler \"red-scheduler\", which is for \
                   those labelled tenant=red; it may use \"blue-scheduler\".";
    wait_refused(stage, blue, "stranger", "red-scheduler", refusal)?;
    api.create(&pods(red), &pod("huge", "red-scheduler", requests(json!({ "cpu": "100" }))))?;
    let outside =
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match the tenant's node selector.";
    wait_refused(stage, red, "huge", "red-scheduler", outside)?;
    label(stage, blue, "red")?;
    stage.wait("the pod of a namespace that now may use the name", || {
        Ok(node_of(&api.get(&format!("{}/stranger", pods(blue)))?).map(str::to_owned))
    })?;

    for (tenant, scheduler) in ["red", "blue"].iter().zip(&mut schedulers) {
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{tenant}-scheduler");
        let holder = api.get(&lease)?["spec"]["holderIdentity"].clone();
        assert!(holder.as_str().is_some_and(|holder| !holder.is_empty()), "{tenant}");
        content(scheduler)?;
    }
    api.delete(&format!("{}?gracePeriodSeconds=0", pods(blue)))?;
    api.delete(&format!("/api/v1/namespaces/{blue}"))?;
    delete(stage, overlay)
}
