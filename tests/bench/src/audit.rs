//! How long binds took, from the API server's audit log: its metrics have buckets, and nothing between 5 and 25 ms.

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

/// The files of an API server's audit.
#[derive(Debug)]
pub struct Audit {
    folder: TempDir,
}

/// What the log has of a request that was answered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    request_received_timestamp: MicroTime,
    stage_timestamp: MicroTime,
}

impl Audit {
    /// Without a log yet.
    ///
    /// # Errors
    /// There is no room for temporary files.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    /// The flags by which the API server logs binds and nothing else. The policy is written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flags(&self) -> Result<Vec<String>> {
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [
                { "level": "Metadata", "verbs": ["create"], "resources": [{ "group": "", "resources": ["pods/binding"] }] },
                { "level": "None" },
            ],
        });
        let path = self.folder.path().join("policy.json");
        std::fs::write(&path, policy.to_string())?;
        let log = self.folder.path().join("audit.log");
        Ok(vec![
            format!("--audit-policy-file={}", path.display()),
            format!("--audit-log-path={}", log.display()),
        ])
    }

    /// Time that binds took, in milliseconds: mean, median and 99th percentile.
    ///
    /// # Errors
    /// The log cannot be read, or shows no bind.
    pub fn bind_ms(&self) -> Result<[f64; 3]> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.log"))?;
        let mut times = Vec::new();
        for line in text.lines() {
            let answered: Answered = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let took = answered.stage_timestamp.0.duration_since(answered.request_received_timestamp.0);
            times.push(took.as_secs_f64() * 1000.0);
        }
        ensure!(!times.is_empty(), "the API server's audit log shows no bind");
        times.sort_by(f64::total_cmp);
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        Ok([mean, at(50), at(99)])
    }
}
