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
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
            - level: Metadata\n  verbs: [create]\n  resources: [{group: '', resources: [pods/binding]}]\n\
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
        let mut pods: BTreeMap<String, Bindings> = BTreeMap::new();
        for line in text.lines() {
            let entry: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let reference = &entry["objectRef"];
            if reference["subresource"] != "binding" || reference["namespace"] != namespace {
                continue;
            }
            let pod = pods.entry(reference["name"].as_str().context("a name")?.to_owned()).or_default();
            match entry["responseStatus"]["code"].as_u64() {
                Some(200..=299) => pod.done += 1,
                // The caller was gone before its answer: the binding may be done all the same.
                Some(500..) => pod.unanswered += 1,
                _ => pod.refused += 1,
            }
        }
        Ok(pods)
    }
}

/// Binding calls for one pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bindings {
    /// Those that bound it.
    pub done: usize,
    /// Those that were refused.
    pub refused: usize,
    /// Those whose caller died before the answer.
    pub unanswered: usize,
}
