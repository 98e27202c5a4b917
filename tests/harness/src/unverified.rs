//! Requests to HTTPS servers with unknown certificates, such as those that schedulers create for themselves.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsConfigBuilder};

use crate::api::Response;

/// On a working machine, no response in a test takes longer.
const DEADLINE: Duration = Duration::from_secs(60);

/// The client's identity.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// Anonymous.
    Nobody,
    /// The owner of this token.
    Token(&'a str),
    /// The owner of this certificate and its key (PEM files).
    Certificate(&'a Path, &'a Path),
}

/// The response to a GET, whatever certificate the server has.
///
/// # Errors
///
/// When there is no response; an error status is a response.
pub fn get_unverified(url: &str, asker: Asker<'_>) -> Result<Response> {
    get(url, asker, TlsConfig::builder().disable_verification(true))
}

/// The response to a GET from a server whose certificate this authority (a PEM file) has signed.
///
/// # Errors
///
/// When there is no response, for example because the certificate is a different one.
pub fn get_trusting(url: &str, authority: &Path) -> Result<Response> {
    let pem = std::fs::read(authority).with_context(|| format!("cannot read {}", authority.display()))?;
    let roots = RootCerts::new_with_certs(&[Certificate::from_pem(&pem)?]);
    get(url, Asker::Nobody, TlsConfig::builder().root_certs(roots))
}

fn get(url: &str, asker: Asker<'_>, mut tls: TlsConfigBuilder) -> Result<Response> {
    if let Asker::Certificate(certificate, key) = asker {
        let read =
            |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let certificate = Certificate::from_pem(&read(certificate)?)?;
        let key = PrivateKey::from_pem(&read(key)?)?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&[certificate], key)));
    }
    let agent = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(DEADLINE))
        .build()
        .new_agent();
    let mut request = agent.get(url);
    if let Asker::Token(token) = asker {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().with_context(|| url.to_owned())?;
    let body = answer.body_mut().read_to_string().with_context(|| url.to_owned())?;
    Ok(Response { status: answer.status().as_u16(), body })
}
