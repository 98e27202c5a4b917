//! Kubelets that reject what was bound.

use crate::fixture::*;
use anyhow::Result;
use serde_json::json;

/// A kubelet's rejection of a pod, as it appears in the pod's status.
fn reject(sandbox: &secondmate_sandbox::Sandbox, pod: &str, reason: &str) -> Result<()> {
    fail(sandbox, pod, reason, &format!("Pod was rejected: {reason}"))
}

fn fail(sandbox: &secondmate_sandbox::Sandbox, pod: &str, reason: &str, message: &str) -> Result<()> {
    let status = json!({"status": {"phase": "Failed", "reason": reason, "message": message}});
    sandbox.objects().merge("pods", "default", pod, "status", &status)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_a_kubelet_rejects_is_counted_and_told_once_with_those_that_have_its_room() -> Result<()> {
    let sandbox = sandbox(1).await;
    // It failed before the watch began, so it is not reported.
    sandbox.objects().create(pod("old", "100m"))?;
    reject(&sandbox, "old", "OutOfmemory")?;
    let mut other = pod("other", "100m");
    other["spec"]["schedulerName"] = "next-door".into();
    other["spec"]["nodeName"] = "node-00000".into();
    sandbox.objects().create(other)?;
    let options = options(&sandbox);
    let metrics = options.admin.metrics.clone();
    let shell = try_start(options).await?;
    create_pods(&sandbox, "p", 2, "100m");
    until("both are bound", || bound(&sandbox) == 3).await;
    reject(&sandbox, "p-0", "OutOfcpu")?;
    until("it is counted", || metrics.kubelet_rejections("OutOfcpu").get() == 1).await;
    let told =
        || events_of(&sandbox, "p-0").into_iter().filter(|e| e.1 == "RejectedByKubelet").collect::<Vec<_>>();
    until("its owner is told", || !told().is_empty()).await;
    assert_eq!(
        told()[0].2,
        "the kubelet of node node-00000 rejected the pod after it was bound: OutOfcpu: Pod was rejected: OutOfcpu; pods of other \
         schedulers on the node: default/other (next-door); a bind guard (secondmate guard) keeps two schedulers from giving away the \
         same room"
    );
    // Seen again, it is not reported again; and a pod that failed in another way was not rejected.
    sandbox.objects().merge("pods", "default", "p-0", "", &json!({"metadata": {"labels": {"a": "b"}}}))?;
    fail(&sandbox, "p-1", "Evicted", "The node was low on resource: memory. ")?;
    sandbox.objects().create(pod("last", "100m"))?;
    until("the next pod is bound", || !events_of(&sandbox, "last").is_empty()).await;
    reject(&sandbox, "last", "NodePorts")?;
    until("that too is counted", || metrics.kubelet_rejections("NodePorts").get() == 1).await;
    assert_eq!(metrics.kubelet_rejections("Evicted").get(), 0);
    assert_eq!(
        (metrics.kubelet_rejections("OutOfcpu").get(), metrics.kubelet_rejections("OutOfmemory").get()),
        (1, 0)
    );
    shell.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_of_a_rejection_is_cut_to_what_the_api_server_takes() -> Result<()> {
    let sandbox = sandbox(1).await;
    let shell = start(&sandbox).await;
    create_pods(&sandbox, "p", 1, "100m");
    until_bound(&sandbox, 1).await;
    fail(&sandbox, "p-0", "UnexpectedAdmissionError", &"ä".repeat(1000))?;
    let told = || events_of(&sandbox, "p-0").into_iter().find(|event| event.1 == "RejectedByKubelet");
    until("its owner is told", || told().is_some()).await;
    let note = told().expect("it is told").2;
    assert!(note.len() <= 1024 && note.ends_with("ää ..."), "{} {note}", note.len());
    shell.stop().await;
    Ok(())
}
