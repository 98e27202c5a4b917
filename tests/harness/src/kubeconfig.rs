//! Kubeconfig files.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::certificates::Pair;

/// The user of a kubeconfig.
pub(crate) enum Credential<'a> {
    Certificate(&'a Pair),
    Token(&'a str),
}

/// Writes a kubeconfig for one cluster and one user. JSON is YAML, and every client reads it.
pub(crate) fn write(path: &Path, server: &str, authority: &Path, credential: Credential<'_>) -> Result<()> {
    let user: Value = match credential {
        Credential::Certificate(pair) => {
            json!({ "client-certificate": pair.certificate, "client-key": pair.key })
        }
        Credential::Token(token) => json!({ "token": token }),
    };
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": "user", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "user" } }],
        "current-context": "test",
    });
    std::fs::write(path, format!("{document:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}
