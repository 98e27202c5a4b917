//! The guard's certificate in the cluster: either kept in a Secret, with its authority published to the API server in the `caBundle` of the
//! guard's own webhook configuration, or read from files that something else renews.
//!
//! Every instance maintains it, leader or not: what one of them renews, the others read. If two renew it at the same time, the second write
//! fails because of the Secret's `resourceVersion`, and that instance reads the Secret again. The authority is published before a
//! certificate signed by it is served.

use super::certificate::{CertificateError, Facts, Lives, Material, first, server_config, unix_now};
use crate::call::{Call, CallError, Caller, Content, chain};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rustls::ServerConfig;
use secondmate_telemetry::Metrics;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Interval between two checks of the Secret and the configuration, or of the files.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Interval until the next check after a failed one.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long a previously published authority stays beside a new one that was made independently of it, for example after the Secret was
/// deleted: until every instance has checked and serves with the new one.
const DISPLACED_STAYS: Duration = Duration::from_secs(150);
/// Time between publishing an authority and serving a certificate signed by it: API servers watch the configuration.
const SETTLE: Duration = Duration::from_secs(3);

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// Made by the guard.
    Own {
        /// Namespace of the Secret.
        namespace: String,
        /// Name of the Secret.
        secret: String,
        /// Name of the ValidatingWebhookConfiguration whose `caBundle` is written.
        webhook: String,
        /// DNS names and addresses at which the API server reaches the guard.
        names: BTreeSet<String>,
    },
    /// From files, such as a volume from a Secret that cert-manager maintains; read again when they change.
    Files {
        /// Certificate chain, PEM.
        certificate: PathBuf,
        /// Key, PEM.
        key: PathBuf,
    },
}

/// Maintains the certificate.
pub(super) struct Registration {
    pub source: CertificateSource,
    /// PEM file with the authority for client certificates, if these are required.
    pub client_authority: Option<PathBuf>,
    pub caller: Caller,
    pub metrics: Metrics,
    pub tls: watch::Sender<Option<Arc<ServerConfig>>>,
}

/// Why there is nothing to serve with, or nothing that an API server accepts.
#[derive(Debug, thiserror::Error)]
enum RegistrationError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    File { path: String, source: std::io::Error },
    /// The API server rejected a request for an object, or did not answer it.
    #[error("cannot {what} {object}")]
    Call { what: &'static str, object: String, source: CallError },
    /// Its answer is not such an object.
    #[error("cannot understand {object}")]
    Answer { object: String, source: serde_json::Error },
    /// A certificate cannot be made, or cannot be served with.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate being served has expired.
    #[error("it has expired: the API server accepts no connection, and binds pass unseen")]
    Expired,
    /// The certificate being served is not valid yet.
    #[error(
        "it is not valid yet, by this machine's clock: if the API server's clock agrees, it accepts no connection, and binds pass unseen"
    )]
    NotYetValid,
}

/// What is being served with.
#[derive(Clone, PartialEq, Eq)]
struct Served {
    certificate: String,
    key: String,
    clients: Option<String>,
}

/// What is known from earlier checks.
#[derive(Default)]
struct State {
    served: Option<Served>,
    /// Since when an authority that is no longer in any Secret has been published beside ours.
    displaced: Option<Instant>,
}

/// The parts of a Secret that are read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Secret {
    metadata: Metadata,
    data: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

/// Keys in the Secret's data: those of the type `kubernetes.io/tls`, and those for the authority.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";

impl Secret {
    fn text(&self, name: &str) -> String {
        let bytes = self.data.get(name).and_then(|text| STANDARD.decode(text).ok());
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn material(&self) -> Material {
        Material {
            authority: self.text(AUTHORITY),
            authority_key: self.text(AUTHORITY_KEY),
            certificate: self.text(CERTIFICATE),
            key: self.text(KEY),
        }
    }
}

fn secret(namespace: &str, name: &str, version: Option<&str>, material: &Material) -> Value {
    let encoded = |text: &str| STANDARD.encode(text);
    let mut secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": { "app.kubernetes.io/name": "secondmate-guard" },
        },
        "type": "kubernetes.io/tls",
        "data": {
            (CERTIFICATE): encoded(&material.certificate),
            (KEY): encoded(&material.key),
            (AUTHORITY): encoded(&material.authority),
            (AUTHORITY_KEY): encoded(&material.authority_key),
        },
    });
    if let Some(version) = version {
        secret["metadata"]["resourceVersion"] = version.into();
    }
    secret
}

impl Registration {
    /// Maintains it for ever.
    pub async fn keep(self) {
        let mut said = None;
        let mut state = State::default();
        loop {
            match self.look(&mut state).await {
                Ok(()) => {
                    said = None;
                    sleep(LOOK_EVERY).await;
                }
                Err(error) => {
                    let why = chain(&error);
                    if said.as_ref() != Some(&why) {
                        warn!("the bind guard's certificate: {why}; trying again every {RETRY_AFTER:?}");
                        said = Some(why);
                    }
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn look(&self, State { served, displaced }: &mut State) -> Result<(), RegistrationError> {
        let clients = match &self.client_authority {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let (certificate, key) = match &self.source {
            CertificateSource::Files { certificate, key } => (read(certificate).await?, read(key).await?),
            CertificateSource::Own { namespace, secret, webhook, names } => {
                let material = self.material(namespace, secret, names).await?;
                let told = self.tell(webhook, &material.authority, displaced).await?;
                if told && served.is_some() {
                    sleep(SETTLE).await;
                }
                (material.certificate, material.key)
            }
        };
        let new = Served { certificate, key, clients };
        let facts = Facts::of(&new.certificate)?;
        self.metrics.guard.certificate_expiry.set(facts.not_after);
        if served.as_ref() != Some(&new) {
            let config = server_config(&new.certificate, &new.key, new.clients.as_deref())?;
            let names: Vec<&str> = facts.names.iter().map(String::as_str).collect();
            let until = jiff::Timestamp::from_second(facts.not_after).unwrap_or(jiff::Timestamp::MAX);
            info!(names = names.join(","), %until, "serving with a certificate");
            self.tls.send_replace(Some(config));
            *served = Some(new);
        }
        match unix_now() {
            now if facts.not_after < now => Err(RegistrationError::Expired),
            now if facts.not_before > now => Err(RegistrationError::NotYetValid),
            _ => Ok(()),
        }
    }

    /// The contents of the Secret, made or renewed if necessary.
    async fn material(
        &self,
        namespace: &str,
        name: &str,
        names: &BTreeSet<String>,
    ) -> Result<Material, RegistrationError> {
        let all = format!("/api/v1/namespaces/{namespace}/secrets");
        let one = format!("{all}/{name}");
        let object = || format!("the Secret {namespace}/{name}");
        let failed = |what, source| RegistrationError::Call { what, object: object(), source };
        let (lives, now) = (Lives::default(), unix_now());
        let (call, material) = match self.caller.read(&Call::get(one.clone())).await {
            Ok(body) => {
                let found: Secret = serde_json::from_slice(&body)
                    .map_err(|source| RegistrationError::Answer { object: object(), source })?;
                let kept = found.material();
                let Some(new) = kept.renewed(names, lives, now)? else {
                    return Ok(kept);
                };
                let body = secret(namespace, name, Some(&found.metadata.resource_version), &new);
                (Call::new(Method::PUT, one, Content::Json, body.to_string().into_bytes()), new)
            }
            Err(CallError::Answered { code: 404, .. }) => {
                let new = Material::new(names, lives, now)?;
                let body = secret(namespace, name, None, &new);
                (Call::new(Method::POST, all, Content::Json, body.to_string().into_bytes()), new)
            }
            Err(error) => return Err(failed("read", error)),
        };
        self.caller.write(&call).await.map_err(|error| failed("write", error))?;
        info!(secret = format!("{namespace}/{name}"), "made a certificate");
        Ok(material)
    }

    /// Adds the authority to the webhook configuration if it is missing; returns whether it was missing.
    async fn tell(
        &self,
        webhook: &str,
        authority: &str,
        displaced: &mut Option<Instant>,
    ) -> Result<bool, RegistrationError> {
        let path = format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{webhook}");
        let object = || format!("the ValidatingWebhookConfiguration {webhook}");
        let failed = |what, source| RegistrationError::Call { what, object: object(), source };
        let body = self.caller.read(&Call::get(path.clone())).await.map_err(|error| failed("read", error))?;
        let mut found: Value = serde_json::from_slice(&body)
            .map_err(|source| RegistrationError::Answer { object: object(), source })?;
        let drops_displaced = displaced.is_some_and(|since| since.elapsed() >= DISPLACED_STAYS);
        let (mut changed, mut is_new, mut has_displaced) = (false, false, false);
        for webhook in found["webhooks"].as_array_mut().into_iter().flatten() {
            let told = &mut webhook["clientConfig"]["caBundle"];
            let was = STANDARD.decode(told.as_str().unwrap_or_default()).unwrap_or_default();
            let was = String::from_utf8(was).unwrap_or_default();
            let is_told = was.starts_with(authority);
            let other = if is_told { &was[authority.len()..] } else { &was };
            let other = still_served(other, authority).filter(|_| !(is_told && drops_displaced));
            let bundle = format!("{authority}{}", other.unwrap_or_default());
            has_displaced |= other.is_some();
            is_new |= !is_told;
            changed |= bundle != was;
            *told = STANDARD.encode(bundle).into();
        }
        *displaced = has_displaced.then(|| displaced.unwrap_or_else(Instant::now));
        if changed {
            // Contains the resource version that was read, so that nobody else's change is undone.
            let call = Call::new(Method::PUT, path, Content::Json, found.to_string().into_bytes());
            self.caller.write(&call).await.map_err(|error| failed("write", error))?;
            info!(webhook, "told the API server the authority of the certificate");
        }
        Ok(is_new)
    }
}

/// The first previously published authority in a bundle, if an instance may still serve with a certificate signed by it: it is valid, and
/// is not one of ours.
fn still_served<'a>(told: &'a str, ours: &str) -> Option<&'a str> {
    let other = first(told).trim_start();
    let is_valid = || Facts::of(other).is_ok_and(|facts| facts.not_after > unix_now());
    (!other.is_empty() && !ours.contains(other) && is_valid()).then_some(other)
}

async fn read(path: &PathBuf) -> Result<String, RegistrationError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| RegistrationError::File { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests;
