//! One request: to the API server, to a URL, or by calling a function of the plugin.

use crate::call::chain;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube_client::client::Body;
use kube_client::{Client, Config};
use secondmate_framework::{Endpoint, PollFunction};
use secondmate_model::url::bare;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Maximum size of an answer: the usage of every node of a big cluster.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Maximum length of the part of an answer that is quoted in a message.
const QUOTE_CHARS_MAX: usize = 200;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    TimedOut,
    Error(String),
}

/// Queries one endpoint.
pub(crate) struct Asker {
    endpoint: Endpoint,
    /// The client for the API server.
    api_server: Client,
    timeout: Duration,
    /// Set while a function of the plugin has not returned.
    busy: Arc<AtomicBool>,
}

impl Asker {
    pub fn new(endpoint: Endpoint, api_server: Client, timeout: Duration) -> Self {
        Self { endpoint, api_server, timeout, busy: Arc::default() }
    }

    /// The answer, as JSON text.
    ///
    /// # Errors
    /// There is none, or it was not in time.
    pub async fn ask(&self) -> Result<String, Failure> {
        let asked = async {
            match &self.endpoint {
                Endpoint::ApiServer { path, .. } => get(&self.api_server, path).await,
                Endpoint::Url { url, ca_file, token_file } => {
                    let (client, path) = client(url, ca_file.as_deref(), token_file.as_deref()).await?;
                    get(&client, &path).await
                }
                Endpoint::Function(function) => self.call(function).await,
            }
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer.map_err(Failure::Error),
            Err(_) => Err(Failure::TimedOut),
        }
    }

    /// Calls the plugin's function on its own thread, which cannot be stopped, so there is never more than one.
    async fn call(&self, function: &PollFunction) -> Result<String, String> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err("the plugin's function has not returned from an earlier call".to_owned());
        }
        let (answer, answered) = oneshot::channel();
        let (function, busy) = (Arc::clone(function), Arc::clone(&self.busy));
        let thread = std::thread::Builder::new().name("poll".to_owned()).spawn(move || {
            let value = catch_unwind(AssertUnwindSafe(|| function()));
            let value = value.unwrap_or_else(|_| Err("the plugin's function panicked".to_owned()));
            busy.store(false, Ordering::Release);
            // The caller may have given up.
            let _ = answer.send(value);
        });
        if let Err(error) = thread {
            self.busy.store(false, Ordering::Release);
            return Err(format!("no thread for the plugin's function: {error}"));
        }
        let value =
            answered.await.map_err(|_| "the plugin's function ended without an answer".to_owned())??;
        Ok(value.to_string())
    }
}

/// A client for a URL, and the request for it. Certificates and token may change, so the files are read each time.
async fn client(
    url: &str,
    ca_file: Option<&str>,
    token_file: Option<&str>,
) -> Result<(Client, String), String> {
    let shown = bare(url);
    let uri: Uri = url.parse().map_err(|error| format!("{shown:?} is no URL: {error}"))?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("{shown:?} must begin with http:// or https:// and a host"));
    };
    let server = format!("{scheme}://{authority}").parse().map_err(|error| format!("{shown:?}: {error}"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut config = Config::new(server);
    config.default_retry = false;
    if scheme == "http" {
        // No server is verified, so this machine needs no trusted certificates.
        config.root_cert = Some(Vec::new());
    } else if let Some(file) = ca_file {
        let pem = tokio::fs::read(file).await.map_err(|error| format!("cannot read {file}: {error}"))?;
        let certificates = rustls::pki_types::pem::PemObject::pem_slice_iter(&pem)
            .map(|certificate: Result<rustls::pki_types::CertificateDer<'_>, _>| {
                certificate.map(|der| der.to_vec())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{file} holds no certificates: {error}"))?;
        config.root_cert = Some(certificates);
    }
    config.auth_info.token_file = token_file.map(str::to_owned);
    let client = Client::try_from(config).map_err(|error| chain(&error))?;
    Ok((client, path))
}

async fn get(client: &Client, path: &str) -> Result<String, String> {
    let request = Request::get(path)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("secondmate/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())
        .map_err(|error| format!("{path}: {error}"))?;
    let response = client.send(request).await.map_err(|error| chain(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"),
        None => format!("the answer broke off: {}", chain(&*error)),
    })?;
    let text = String::from_utf8(body.to_bytes().into()).map_err(|_| "the answer is no text".to_owned())?;
    if status == StatusCode::OK {
        return Ok(text);
    }
    let quote: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    Err(format!("{status}: {}", quote.trim()))
}

#[cfg(test)]
mod tests;
