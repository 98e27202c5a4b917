//! The requests sent to extenders: upstream's types (`k8s.io/kube-scheduler/extender/v1`) as Go writes them.

use secondmate_framework::PreemptionCandidate;
use secondmate_model::{Atom, Node, NodeInfo, Pod};
use serde_json::json;
use std::borrow::Cow;
use std::sync::Arc;

/// `ExtenderArgs`: the request for filter and prioritize.
pub(super) fn about_nodes(pod: &Pod, nodes: &[Arc<NodeInfo>], whole: bool) -> Vec<u8> {
    let mut body = begin(pod);
    if whole {
        body.push_str(r#","Nodes":{"metadata":{},"items":["#);
        list(&mut body, nodes, |node, body| body.push_str(&node_text(node.node())));
        body.push_str(r#"]},"NodeNames":null}"#);
    } else {
        body.push_str(r#","Nodes":null,"NodeNames":["#);
        list(&mut body, nodes, |node, body| body.push_str(&quoted(node.name().as_str())));
        body.push_str("]}");
    }
    body.into_bytes()
}

/// `ExtenderPreemptionArgs`: the request for preempt.
pub(super) fn about_victims(pod: &Pod, candidates: &[PreemptionCandidate], whole: bool) -> Vec<u8> {
    // Go writes maps sorted by key.
    let mut candidates: Vec<&PreemptionCandidate> = candidates.iter().collect();
    candidates.sort_by_key(|candidate| &candidate.node);
    let mut victims = String::from("{");
    list(&mut victims, &candidates, |candidate, body| {
        body.push_str(&quoted(candidate.node.as_str()));
        body.push_str(r#":{"Pods":["#);
        list(body, &candidate.victims, |victim, body| {
            if whole {
                body.push_str(&pod_text(victim));
            } else {
                body.push_str(&format!(r#"{{"UID":{}}}"#, quoted(victim.uid.as_str())));
            }
        });
        body.push_str(&format!(r#"],"NumPDBViolations":{}}}"#, candidate.budget_violations));
    });
    victims.push('}');
    let mut body = begin(pod);
    let (objects, identities) = if whole { (&*victims, "null") } else { ("null", &*victims) };
    body.push_str(&format!(r#","NodeNameToVictims":{objects},"NodeNameToMetaVictims":{identities}}}"#));
    body.into_bytes()
}

/// `ExtenderBindingArgs`: the request for bind.
pub(super) fn binding(pod: &Pod, node: &Atom) -> Vec<u8> {
    format!(
        r#"{{"PodName":{},"PodNamespace":{},"PodUID":{},"Node":{}}}"#,
        quoted(&pod.name),
        quoted(pod.namespace.as_str()),
        quoted(pod.uid.as_str()),
        quoted(node.as_str())
    )
    .into_bytes()
}

fn begin(pod: &Pod) -> String {
    format!(r#"{{"Pod":{}"#, pod_text(pod))
}

fn list<T>(body: &mut String, items: &[T], mut write: impl FnMut(&T, &mut String)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        write(item, body);
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text can be written as JSON")
}

/// The complete pod. If its object is not at hand, because the pod was just seen by reading it, only its identifying fields are sent.
fn pod_text(pod: &Pod) -> Cow<'_, str> {
    pod.whole().unwrap_or_else(|| {
        let identity = json!({
            "metadata": {"name": &*pod.name, "namespace": pod.namespace.as_str(), "uid": pod.uid.as_str()},
            "spec": {
                "nodeName": pod.node_name.as_ref().map(Atom::as_str),
                "schedulerName": pod.scheduler_name.as_str(),
                "priority": pod.priority,
            },
        });
        identity.to_string().into()
    })
}

fn node_text(node: &Node) -> Cow<'_, str> {
    match &node.json {
        Some(json) => (&**json).into(),
        None => json!({"metadata": {"name": node.name.as_str()}}).to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::wire;

    fn pod(name: &str, node: Option<&str>) -> Arc<Pod> {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"d","uid":"{name}-u"}},"spec":{{"containers":[]}}}}"#
        );
        let wire: wire::Pod = serde_json::from_str(&text).expect("a pod");
        let pod = Pod::new(&wire).expect("compiles").with_json(&text);
        Arc::new(match node {
            Some(node) => pod.on_node(&Atom::new(node)),
            None => pod,
        })
    }

    fn node(name: &str) -> Arc<NodeInfo> {
        let text = format!(r#"{{"metadata":{{"name":"{name}"}},"status":{{}}}}"#);
        let wire: wire::Node = serde_json::from_str(&text).expect("a node");
        let node = Node::new(&wire).expect("compiles").with_json(&text);
        Arc::new(NodeInfo::new(Arc::new(node)))
    }

    fn text(body: Vec<u8>) -> String {
        let text = String::from_utf8(body).expect("text");
        let _: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        text
    }

    const P: &str = r#"{"metadata":{"name":"p","namespace":"d","uid":"p-u"},"spec":{"containers":[]}}"#;

    #[test]
    fn nodes_are_sent_whole_or_by_name() {
        let (p, nodes) = (pod("p", None), [node("a"), node("b")]);
        assert_eq!(
            text(about_nodes(&p, &nodes, true)),
            format!(
                r#"{{"Pod":{P},"Nodes":{{"metadata":{{}},"items":[{{"metadata":{{"name":"a"}},"status":{{}}}},{{"metadata":{{"name":"b"}},"status":{{}}}}]}},"NodeNames":null}}"#
            )
        );
        assert_eq!(
            text(about_nodes(&p, &nodes, false)),
            format!(r#"{{"Pod":{P},"Nodes":null,"NodeNames":["a","b"]}}"#)
        );
    }

    #[test]
    fn victims_are_sent_whole_or_by_uid_and_nodes_in_the_order_of_their_names() {
        let candidate = |node: &str, victim: &str| PreemptionCandidate {
            node: Atom::new(node),
            victims: vec![pod(victim, Some(node))],
            budget_violations: 1,
        };
        let candidates = [candidate("b", "v"), candidate("a", "w")];
        assert_eq!(
            text(about_victims(&pod("p", None), &candidates, false)),
            format!(
                r#"{{"Pod":{P},"NodeNameToVictims":null,"NodeNameToMetaVictims":{{"a":{{"Pods":[{{"UID":"w-u"}}],"NumPDBViolations":1}},"b":{{"Pods":[{{"UID":"v-u"}}],"NumPDBViolations":1}}}}}}"#
            )
        );
        let whole: serde_json::Value =
            serde_json::from_slice(&about_victims(&pod("p", None), &candidates, true)).expect("JSON");
        assert_eq!(whole["NodeNameToMetaVictims"], serde_json::Value::Null);
        let victim = &whole["NodeNameToVictims"]["a"]["Pods"][0];
        assert_eq!((&victim["metadata"]["name"], &victim["spec"]["nodeName"]), (&json!("w"), &json!("a")));
    }

    #[test]
    fn a_label_does_not_keep_the_node_out_of_a_victim_that_is_assumed() {
        let text = r#"{"metadata":{"name":"v","labels":{"nodeName":"z"}},"spec":{"containers":[]}}"#;
        let wire: wire::Pod = serde_json::from_str(text).expect("a pod");
        let victim = Pod::new(&wire).expect("compiles").with_json(text).on_node(&Atom::new("a"));
        let sent: serde_json::Value = serde_json::from_str(&pod_text(&victim)).expect("JSON");
        assert_eq!(sent["spec"], json!({"containers": [], "nodeName": "a"}));
        assert_eq!(sent["metadata"]["labels"], json!({"nodeName": "z"}));
    }

    #[test]
    fn a_binding_names_pod_and_node() {
        assert_eq!(
            text(binding(&pod("p", None), &Atom::new("n"))),
            r#"{"PodName":"p","PodNamespace":"d","PodUID":"p-u","Node":"n"}"#
        );
    }
}
