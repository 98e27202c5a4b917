//! The API server's own record of who bound what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use secondmate_harness::Options;
use serde_json::Value;

/// An audit log of every binding that the API server was asked for.
pub struct Audit {
    log: PathBuf,
}

impl Audit {
    /// Has the API server of a cluster, which is yet to be started with `options`, keep the record in `folder`.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn arrange(options: &mut Options, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        // Other runs may use the same folder at the same time.
        let log = folder.join(format!("audit-{}.log", std::process::id()));
        if log.exists() {
            std::fs::remove_file(&log).with_context(|| log.display().to_string())?;
        }
        let policy = folder.join("audit-policy.yaml");
        // A line when the request comes in, and one before it is answered, with the node: an API server that is killed
        // between the two has left the first.
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n\
            - level: Request\n  verbs: [create]\n  resources: [{group: '', resources: [pods/binding]}]\n\
            - level: None\n";
        std::fs::write(&policy, text).with_context(|| policy.display().to_string())?;
        options.apiserver_flags.extend([
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
            // Written before the answer is: what is not in it was not answered.
            "--audit-log-mode=blocking-strict".to_owned(),
        ]);
        Ok(Self { log })
    }

    /// The binding calls for each pod of a namespace.
    ///
    /// # Errors
    ///
    /// When the record cannot be read.
    pub fn bindings(&self, namespace: &str) -> Result<BTreeMap<String, Bindings>> {
        let text = std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())?;
        count(&text, namespace)
    }
}

/// Counts the lines of an audit log.
fn count(text: &str, namespace: &str) -> Result<BTreeMap<String, Bindings>> {
    let mut pods: BTreeMap<String, Bindings> = BTreeMap::new();
    // The pod of each request that came in and was not ended.
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    // An API server that was killed may have left half a line; so has one that writes.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with("}\n"));
    for line in lines {
        let entry: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let reference = &entry["objectRef"];
        if reference["subresource"] != "binding" || reference["namespace"] != namespace {
            continue;
        }
        let pod = reference["name"].as_str().context("a name")?.to_owned();
        let id = entry["auditID"].as_str().context("an id")?.to_owned();
        if entry["stage"] == "RequestReceived" {
            open.insert(id, pod);
            continue;
        }
        open.remove(&id);
        let bindings = pods.entry(pod).or_default();
        match entry["responseStatus"]["code"].as_u64() {
            Some(200..=299) => {
                bindings.done += 1;
                let node = entry["requestObject"]["target"]["name"].as_str().context("a node")?;
                bindings.nodes.push(node.to_owned());
            }
            // The caller was gone before its answer: the binding may be done all the same.
            Some(500..) => bindings.unanswered += 1,
            _ => bindings.refused += 1,
        }
    }
    for pod in open.into_values() {
        pods.entry(pod).or_default().unanswered += 1;
    }
    Ok(pods)
}

/// Binding calls for one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings {
    /// Those that bound it.
    pub done: usize,
    /// The nodes to which they did, in order.
    pub nodes: Vec<String>,
    /// Those that were refused.
    pub refused: usize,
    /// Those whose caller died before the answer, or the API server.
    pub unanswered: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(id: &str, pod: &str, code: Option<u64>) -> String {
        let reference = json!({ "subresource": "binding", "namespace": "ns", "name": pod });
        let entry = match code {
            None => json!({ "auditID": id, "stage": "RequestReceived", "objectRef": reference }),
            Some(code) => json!({
                "auditID": id, "stage": "ResponseComplete", "objectRef": reference,
                "requestObject": { "target": { "name": "node-1" } }, "responseStatus": { "code": code },
            }),
        };
        format!("{entry}\n")
    }

    #[test]
    fn a_request_that_was_never_ended_is_unanswered_and_half_a_line_is_none() {
        let whole = [
            line("1", "a", None),
            line("1", "a", Some(201)),
            line("2", "a", None),
            line("2", "a", Some(409)),
        ];
        let text = whole.concat() + &line("3", "b", None) + &line("3", "b", Some(201))[..40];
        let bindings = count(&text, "ns").unwrap();
        let a = Bindings { done: 1, nodes: vec!["node-1".to_owned()], refused: 1, unanswered: 0 };
        let b = Bindings { unanswered: 1, ..Bindings::default() };
        assert_eq!(bindings, BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]));
        assert_eq!(count(&text, "another").unwrap(), BTreeMap::new());
    }
}
