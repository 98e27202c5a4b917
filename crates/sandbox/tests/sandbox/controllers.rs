//! StatefulSets, DaemonSets, Jobs, CronJobs, and the revisions of Deployments.

use std::time::Duration;

use secondmate_sandbox::{NodeShape, Sandbox};
use serde_json::{Value, json};

use crate::client::{Client, until, with};

const APPS: &str = "/apis/apps/v1/namespaces/default";
const BATCH: &str = "/apis/batch/v1/namespaces/default";

/// Kubelets that start pods quickly, and complete at once those that end at all.
async fn quick() -> Sandbox {
    let sandbox = with(|options| {
        options.kubelets.start_delay = Duration::ZERO;
        options.kubelets.stop_delay = Duration::ZERO;
        options.kubelets.run_time = Duration::ZERO;
    })
    .await;
    sandbox.add_nodes(0, 3, &NodeShape::default());
    sandbox
}

fn template(app: &str, spec: Value) -> Value {
    let mut template = json!({
        "metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    for (field, value) in spec.as_object().unwrap() {
        template["spec"][field] = value.clone();
    }
    template
}

fn names(sandbox: &Sandbox, resource: &str) -> Vec<String> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    sandbox.objects().list(resource).iter().map(name).collect()
}

/// Binds all pods that have no node yet to the first one.
fn bind_all(sandbox: &Sandbox) {
    for pod in sandbox.objects().list("pods") {
        if pod["spec"]["nodeName"].is_null() {
            let name = pod["metadata"]["name"].as_str().unwrap();
            // Deleted in the meantime: nothing to bind.
            let _ = sandbox.objects().bind("default", name, "", "node-00000");
        }
    }
}

#[tokio::test]
async fn a_stateful_set_makes_its_pods_in_order_with_claims_that_outlive_them() {
    let sandbox = quick().await;
    let client = Client::of(&sandbox);
    let set = json!({"metadata": {"name": "db"}, "spec": {
        "replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": template("db", json!({})),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}});
    assert_eq!(client.post(&format!("{APPS}/statefulsets"), &set).await.code, 201);
    until("the first pod", || names(&sandbox, "pods") == ["db-0"]).await;
    until("all pods, one after the other", || {
        bind_all(&sandbox);
        names(&sandbox, "pods") == ["db-0", "db-1", "db-2"]
    })
    .await;
    let pod = sandbox.objects().get("pods", "default", "db-1").unwrap();
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-1"), &json!("db")));
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-db-1");
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "1");
    client.patch("merge", &format!("{APPS}/statefulsets/db/scale"), &json!({"spec": {"replicas": 1}})).await;
    until("the highest numbers went", || {
        bind_all(&sandbox);
        names(&sandbox, "pods") == ["db-0"]
    })
    .await;
    assert_eq!(names(&sandbox, "persistentvolumeclaims"), ["data-db-0", "data-db-1", "data-db-2"]);
    client.delete(&format!("{APPS}/statefulsets/db"), &json!({})).await;
    until("nothing is left but claims", || {
        names(&sandbox, "pods").is_empty() && names(&sandbox, "controllerrevisions").is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_parallel_stateful_set_makes_all_pods_at_once_and_rolls_to_a_new_template() {
    let sandbox = quick().await;
    let client = Client::of(&sandbox);
    let set = json!({"metadata": {"name": "w"}, "spec": {
        "replicas": 4, "podManagementPolicy": "Parallel", "selector": {"matchLabels": {"app": "w"}},
        "template": template("w", json!({}))}});
    client.post(&format!("{APPS}/statefulsets"), &set).await;
    until("all pods, bound or not", || sandbox.objects().count("pods") == 4).await;
    let change = json!({"spec": {"template": template("w", json!({"priority": 0, "nodeSelector": {}}))}});
    client.patch("merge", &format!("{APPS}/statefulsets/w"), &change).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}});
    client.patch("strategic-merge", &format!("{APPS}/statefulsets/w"), &image).await;
    until("all pods have the new image", || {
        bind_all(&sandbox);
        let pods = sandbox.objects().list("pods");
        pods.len() == 4 && pods.iter().all(|p| p["spec"]["containers"][0]["image"] == "i:2")
    })
    .await;
}

#[tokio::test]
async fn a_daemon_set_has_a_pod_for_each_node_that_fits_and_follows_the_nodes() {
    let sandbox = quick().await;
    let client = Client::of(&sandbox);
    let taint = json!({"spec": {"taints": [{"key": "only", "effect": "NoSchedule"}]}});
    client.patch("merge", "/api/v1/nodes/node-00002", &taint).await;
    let set = json!({"metadata": {"name": "agent"}, "spec": {
        "selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", json!({}))}});
    assert_eq!(client.post(&format!("{APPS}/daemonsets"), &set).await.code, 201);
    let targets = || {
        let mut targets: Vec<String> = sandbox
            .objects()
            .list("pods")
            .iter()
            .map(|pod| {
                let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
                pod.pointer(terms).unwrap()[0]["matchFields"][0]["values"][0].as_str().unwrap().to_owned()
            })
            .collect();
        targets.sort();
        targets
    };
    until("two of three nodes", || targets() == ["node-00000", "node-00001"]).await;
    sandbox.add_nodes(3, 1, &NodeShape::default());
    until("the new node too", || targets() == ["node-00000", "node-00001", "node-00003"]).await;
    sandbox.objects().delete("nodes", "", "node-00000", None).unwrap();
    until("not the one that went", || targets() == ["node-00001", "node-00003"]).await;
    let status = || sandbox.objects().get("daemonsets", "default", "agent").unwrap()["status"].clone();
    until("the status counts", || status()["desiredNumberScheduled"] == 2).await;
}

#[tokio::test]
async fn a_job_runs_its_pods_until_enough_have_succeeded() {
    let sandbox = quick().await;
    let client = Client::of(&sandbox);
    let job = json!({"metadata": {"name": "etl"}, "spec": {
        "parallelism": 2, "completions": 5, "completionMode": "Indexed",
        "template": template("etl", json!({"restartPolicy": "Never"}))}});
    assert_eq!(client.post(&format!("{BATCH}/jobs"), &job).await.code, 201);
    until("two at a time", || sandbox.objects().count("pods") == 2).await;
    let status = || sandbox.objects().get("jobs", "default", "etl").unwrap()["status"].clone();
    until("it is complete", || {
        bind_all(&sandbox);
        status()["conditions"][0]["type"] == "Complete"
    })
    .await;
    assert_eq!(status()["succeeded"], 5);
    let mut indexes: Vec<String> = sandbox
        .objects()
        .list("pods")
        .iter()
        .map(|p| {
            p["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap().to_owned()
        })
        .collect();
    indexes.sort();
    assert_eq!(indexes, ["0", "1", "2", "3", "4"]);
    let refused = client
        .post(
            &format!("{BATCH}/jobs"),
            &json!({"metadata": {"name": "no"}, "spec": {"template": template("no", json!({}))}}),
        )
        .await;
    assert_eq!(refused.code, 422, "{refused:?}");
    assert!(
        refused.message().contains("spec.template.spec.restartPolicy: Unsupported value: \"Always\""),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_cron_job_makes_jobs_by_the_sandboxs_clock_and_keeps_the_last_three() {
    let sandbox = quick().await;
    let client = Client::of(&sandbox);
    let cron = json!({"metadata": {"name": "hourly"}, "spec": {"schedule": "@hourly", "jobTemplate": {"spec": {
        "template": template("hourly", json!({"restartPolicy": "OnFailure"}))}}}});
    assert_eq!(client.post(&format!("{BATCH}/cronjobs"), &cron).await.code, 201);
    for round in 1..=5 {
        sandbox.advance(Duration::from_secs(3600));
        until("its Job is complete", || {
            bind_all(&sandbox);
            let jobs = sandbox.objects().list("jobs");
            let complete =
                jobs.iter().filter(|job| job["status"]["conditions"][0]["type"] == "Complete").count();
            jobs.len() == complete && complete == round.min(3)
        })
        .await;
    }
    let refused = client.post(&format!("{BATCH}/cronjobs"), &json!({"metadata": {"name": "no"}, "spec": {
        "schedule": "whenever", "jobTemplate": {"spec": {"template": template("no", json!({"restartPolicy": "Never"}))}}}})).await;
    assert_eq!(refused.code, 422, "{refused:?}");
    assert!(refused.message().contains("spec.schedule: Invalid value: \"whenever\""), "{refused:?}");
}

#[tokio::test]
async fn the_revisions_of_a_deployment_are_numbered_and_an_old_template_becomes_the_newest() {
    let sandbox = quick().await;
    let client = Client::of(&sandbox);
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", json!({})),
        "revisionHistoryLimit": 1}});
    client.post(&format!("{APPS}/deployments"), &deployment).await;
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let revisions = || -> Vec<(String, String)> {
        let mut all: Vec<_> = sandbox
            .objects()
            .list("replicasets")
            .iter()
            .map(|set| {
                let revision =
                    set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap();
                let image = set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap();
                (revision.to_owned(), image.to_owned())
            })
            .collect();
        all.sort();
        all
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let path = format!("{APPS}/deployments/web");
    until("the first", || revisions() == pairs(&[("1", "i:1")])).await;
    client.patch("strategic-merge", &path, &image("i:2")).await;
    until("the second", || revisions() == pairs(&[("1", "i:1"), ("2", "i:2")])).await;
    client.patch("strategic-merge", &path, &image("i:1")).await;
    until("the first again", || revisions() == pairs(&[("2", "i:2"), ("3", "i:1")])).await;
    client.patch("strategic-merge", &path, &image("i:3")).await;
    until("no more than the history holds", || revisions() == pairs(&[("3", "i:1"), ("4", "i:3")])).await;
    let deployment = sandbox.objects().get("deployments", "default", "web").unwrap();
    assert_eq!(deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "4");
}

#[tokio::test]
async fn a_secret_keeps_its_texts_as_data() {
    let sandbox = quick().await;
    let client = Client::of(&sandbox);
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}, "data": {"c": "ZA=="}});
    let created = client.post("/api/v1/namespaces/default/secrets", &secret).await;
    assert_eq!(
        (&created.body["data"], &created.body["type"]),
        (&json!({"a": "Yg==", "c": "ZA=="}), &json!("Opaque"))
    );
    assert!(created.body.get("stringData").is_none());
}
