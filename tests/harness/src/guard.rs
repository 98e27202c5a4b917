//! The bind guard of the program under test, called by a cluster's API server.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::Api;
use crate::cluster::Cluster;
use crate::ports::Port;
use crate::process::Process;
use crate::scheduler_under_test::secondmate_binary;
use crate::wait::wait_until;

/// Name of the webhook configuration.
const NAME: &str = "secondmate-guard";
/// The manifests that make its namespace, its service account and its permissions.
const MANIFESTS: &str = "overlays/guard";
/// The Service through which the API server reaches it: its namespace, which is that of the manifests, and its name.
const SERVICE: (&str, &str) = ("secondmate-guard", "secondmate-guard");
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
/// The guard's timeout in seconds, as in the manifests.
const TIMEOUT_S: u64 = 5;
/// Its caches sync in a second on an idle machine.
const READY_DEADLINE: Duration = Duration::from_secs(180);

/// A running guard.
#[derive(Debug)]
pub struct Guard {
    /// Its process.
    pub process: Process,
    metrics: Api,
    _ports: [Port; 2],
}

/// The certificate that a guard serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardCertificate {
    /// Its own.
    Own,
    /// One from a file, from an authority that the API server trusts, which expired years ago.
    Expired,
}

impl Cluster {
    /// Starts the guard with the service account of its manifests, and makes the API server call it for each bind. Returns when it
    /// decides; a guard with an expired certificate decides, but is not called.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not decide in time.
    pub fn start_guard(&self, certificate: GuardCertificate) -> Result<Guard> {
        let ports = [Port::claim()?, Port::claim()?];
        let [listen, metrics] = [ports[0].number(), ports[1].number()];
        let (namespace, service) = SERVICE;
        let mut command = Command::new(secondmate_binary()?);
        command
            .args(["guard", "--guard-namespace", namespace, "--guard-service", service])
            .arg(format!("--guard-listen=127.0.0.1:{listen}"))
            .arg(format!("--listen=127.0.0.1:{metrics}"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig_of_manifests(MANIFESTS)?)
            .env("HOME", self.directory())
            .env_remove("KUBECONFIG");
        let mut client = json!({
            "service": { "namespace": namespace, "name": service, "path": "/bind", "port": listen },
        });
        if certificate == GuardCertificate::Expired {
            let pair =
                self.authority().expired_server("expired-guard", &[&format!("{service}.{namespace}.svc")])?;
            command
                .arg("--guard-tls-cert-file")
                .arg(&pair.certificate)
                .arg("--guard-tls-private-key-file")
                .arg(&pair.key);
            let authority = std::fs::read(self.authority().certificate_path())?;
            client["caBundle"] = STANDARD.encode(authority).into();
        }
        self.register_guard(&client)?;
        let process = self.spawn(&format!("guard-{listen}"), command)?;
        let metrics = self.api().at(&format!("http://127.0.0.1:{metrics}"));
        let mut guard = Guard { process, metrics, _ports: ports };
        wait_until(READY_DEADLINE, "the guard to decide", || {
            if !guard.process.is_running()? {
                bail!("the guard ended:\n{}", guard.process.tail(20));
            }
            let told = certificate == GuardCertificate::Expired || self.guard_is_told()?;
            let deciding = guard.value("secondmate_guard_deciding").unwrap_or(0.0);
            Ok((told && deciding > 0.0).then_some(()))
        })?;
        Ok(guard)
    }

    /// The webhook configuration of the manifests, except for the way to the guard.
    fn register_guard(&self, client: &Value) -> Result<()> {
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": NAME },
            "webhooks": [{
                "name": "guard.secondmate.dev",
                "clientConfig": client,
                "rules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                    "resources": ["pods/binding", "bindings"],
                }],
                "failurePolicy": "Ignore",
                "timeoutSeconds": TIMEOUT_S,
                "sideEffects": "NoneOnDryRun",
                "admissionReviewVersions": ["v1"],
            }],
        });
        self.lead_to_loopback()?;
        // The one of an earlier guard points elsewhere.
        let earlier =
            self.api().call("DELETE", &format!("{CONFIGURATIONS}/{NAME}"), "application/json", b"")?;
        if !matches!(earlier.status, 200 | 404) {
            bail!("cannot delete the webhook configuration: {}", earlier.body);
        }
        self.api().create(CONFIGURATIONS, &configuration).map(drop)
    }

    /// Creates the Service, unless an earlier guard has: the API server finds this machine through it, and the port in the configuration.
    fn lead_to_loopback(&self) -> Result<()> {
        let (namespace, name) = SERVICE;
        let services = format!("/api/v1/namespaces/{namespace}/services");
        let found = self.api().call("GET", &format!("{services}/{name}"), "application/json", b"")?;
        if found.status == 200 {
            return Ok(());
        }
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name },
            "spec": { "type": "ExternalName", "externalName": "localhost" },
        });
        self.api().create(&services, &service).map(drop)
    }

    fn guard_is_told(&self) -> Result<bool> {
        let configuration = self.api().get(&format!("{CONFIGURATIONS}/{NAME}"))?;
        Ok(configuration["webhooks"][0]["clientConfig"]["caBundle"].is_string())
    }
}

impl Guard {
    /// The sum of a metric's series whose line begins like this, such as `secondmate_guard_binds_total{scheduler="a"`.
    ///
    /// # Errors
    ///
    /// When the guard does not respond.
    pub fn value(&self, series: &str) -> Result<f64> {
        let text = self.metrics.call("GET", "/metrics", "text/plain", b"")?.body;
        sum(&text, series)
    }
}

/// The sum of the series whose line begins like this, in the text of `/metrics`.
///
/// # Errors
///
/// When a value is not a number.
pub fn sum(text: &str, series: &str) -> Result<f64> {
    let mut sum = 0.0;
    for line in text.lines().filter(|line| line.starts_with(series)) {
        let value = line.rsplit_once(' ').context("a value")?.1;
        sum += value.parse::<f64>().with_context(|| line.to_owned())?;
    }
    Ok(sum)
}
