//! A small client for the API server: JSON in, JSON out, to set up and inspect a cluster in tests.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use ureq::http;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::certificates::Pair;

/// On a working machine, no call of a test takes longer.
const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// For one attempt of a repeated readiness check.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// A list of a hundred thousand pods fits.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// Number of concurrent calls when many objects are created.
const CREATORS: usize = 8;

/// A client for one API server, with an administrator's certificate. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Api {
    server: String,
    agent: ureq::Agent,
}

/// A response of the API server.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {:.200}", self.body))
    }
}

impl Api {
    pub(crate) fn new(server: &str, authority: &Path, client: &Pair) -> Result<Self> {
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let authority = Certificate::from_pem(&read(authority)?)?;
        let certificate = Certificate::from_pem(&read(&client.certificate)?)?;
        let key = PrivateKey::from_pem(&read(&client.key)?)?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[authority]))
            .client_cert(Some(ClientCert::new_with_certs(&[certificate], key)))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(CALL_DEADLINE))
            .max_idle_connections_per_host(CREATORS)
            .build()
            .new_agent();
        Ok(Self { server: server.to_owned(), agent })
    }

    /// A client with the same certificates for another URL.
    pub(crate) fn at(&self, url: &str) -> Self {
        Self { server: url.to_owned(), agent: self.agent.clone() }
    }

    /// Whether the URL for which this client was made answers with 200, within [`PROBE_DEADLINE`].
    pub(crate) fn is_ready(&self) -> Result<bool> {
        let request = self.agent.get(&self.server).config().timeout_global(Some(PROBE_DEADLINE)).build();
        Ok(request.call().with_context(|| self.server.clone())?.status().as_u16() == 200)
    }

    /// Any call. `path` begins with a slash and may have a query.
    ///
    /// # Errors
    ///
    /// When there is no response; an error status is a response.
    pub fn call(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Response> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .header("Accept", "application/json")
            .header("Content-Type", content_type);
        let what = || format!("{method} {path}");
        let answer = if body.is_empty() {
            self.agent.run(request.body(()).with_context(what)?)
        } else {
            self.agent.run(request.body(body).with_context(what)?)
        };
        let mut answer = answer.with_context(what)?;
        let status = answer.status().as_u16();
        let body =
            answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().with_context(what)?;
        Ok(Response { status, body })
    }

    /// Reads an object or a list.
    ///
    /// # Errors
    ///
    /// When there is no response, or it is not a success.
    pub fn get(&self, path: &str) -> Result<Value> {
        success("GET", path, self.call("GET", path, "application/json", b"")?)
    }

    /// Whether the API server serves a resource (`pods`, `devicetaintrules`) of a group and version (`v1`,
    /// `resource.k8s.io/v1`), according to its discovery and not to its version.
    ///
    /// # Errors
    ///
    /// When there is no response, or it is neither a success nor 404.
    pub fn serves(&self, group_version: &str, plural: &str) -> Result<bool> {
        let root = if group_version.contains('/') { "apis" } else { "api" };
        let path = format!("/{root}/{group_version}");
        let answer = self.call("GET", &path, "application/json", b"")?;
        if answer.status == 404 {
            return Ok(false);
        }
        let served = success("GET", &path, answer)?;
        let mut resources = served["resources"].as_array().into_iter().flatten();
        Ok(resources.any(|resource| resource["name"] == plural))
    }

    /// Creates an object at the path of its collection.
    ///
    /// # Errors
    ///
    /// When there is no response, or it is not a success.
    pub fn create(&self, path: &str, object: &Value) -> Result<Value> {
        success("POST", path, self.call("POST", path, "application/json", object.to_string().as_bytes())?)
    }

    /// Changes an object by a JSON merge patch.
    ///
    /// # Errors
    ///
    /// When there is no response, or it is not a success.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        let body = patch.to_string();
        success("PATCH", path, self.call("PATCH", path, "application/merge-patch+json", body.as_bytes())?)
    }

    /// Deletes an object or, with a query (`?labelSelector=…`), a collection.
    ///
    /// # Errors
    ///
    /// When there is no response, or it is not a success.
    pub fn delete(&self, path: &str) -> Result<Value> {
        success("DELETE", path, self.call("DELETE", path, "application/json", b"")?)
    }

    /// Creates many objects in one collection, several at a time, in no defined order.
    ///
    /// # Errors
    ///
    /// The first failure; some of the others may have been created.
    pub fn create_all(&self, path: &str, objects: &[Value]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let worker = || {
            while let Some(object) = objects.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.create(path, object) {
                    // The others stop as well.
                    next.store(objects.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..CREATORS.min(objects.len())).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| Err(anyhow!("creating objects panicked")))
            })
        })
    }
}

fn success(method: &str, path: &str, response: Response) -> Result<Value> {
    if !(200..300).contains(&response.status) {
        let message = response.json().ok().and_then(|status| Some(status["message"].as_str()?.to_owned()));
        bail!("{method} {path}: {} {}", response.status, message.unwrap_or(response.body));
    }
    response.json()
}
