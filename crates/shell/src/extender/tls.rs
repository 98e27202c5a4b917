//! TLS for an extender, by client-go's rules: without a certificate authority, `enableHTTPS` trusts any server, and a client certificate in
//! files is read again for each new connection.

mod words;

use super::error::ExtenderConfigError;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use kube_client::Config as ClientConfig;
use kube_client::client::ConfigExt;
use kube_client::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use secondmate_config::{Extender, ExtenderTls};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tracing::warn;
pub(super) use words::words;

/// Maximum size of a certificate or key file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Builds the connector for an extender, with TLS if its URL says `https`.
///
/// # Errors
/// Certificates and keys cannot be used.
pub(super) async fn connector(
    extender: &Extender,
    https: bool,
    tcp: HttpConnector,
) -> Result<HttpsConnector<HttpConnector>, ExtenderConfigError> {
    let tls = extender.tls_config.clone().unwrap_or_default();
    if tls.contradicts_itself() {
        return Err(ExtenderConfigError::InsecureWithAuthority);
    }
    let insecure = tls.insecure || (extender.enable_https && !tls.has_authority());
    let mut config = client_config(extender, &tls, insecure).await?;
    if insecure || !https {
        // No server is verified, so this machine needs no trusted certificates.
        config.root_cert = Some(config.root_cert.unwrap_or_default());
    }
    let mut config = config.rustls_client_config().map_err(ExtenderConfigError::Tls)?;
    if let Some(certificate) = CertificateFiles::of(&tls)? {
        config.client_auth_cert_resolver = Arc::new(certificate);
        // A resumed session belongs to the certificate that was presented when it began.
        config.resumption = Resumption::disabled();
    }
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    if !tls.server_name.is_empty() {
        let name = ServerName::try_from(tls.server_name.clone());
        let name = name.map_err(|_| ExtenderConfigError::ServerName(tls.server_name))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(tcp))
}

/// Certificate authority and client certificate, except for a client certificate in files.
async fn client_config(
    extender: &Extender,
    tls: &ExtenderTls,
    insecure: bool,
) -> Result<ClientConfig, ExtenderConfigError> {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let cluster = Cluster {
        server: Some(extender.bare_url()),
        insecure_skip_tls_verify: Some(insecure),
        certificate_authority: some(&tls.ca_file),
        certificate_authority_data: some(&tls.ca_data),
        ..Cluster::default()
    };
    let auth_info = match tls.has_certificate() && !tls.certificate_is_in_files() {
        true => AuthInfo {
            client_certificate: some(&tls.cert_file),
            client_certificate_data: some(&tls.cert_data),
            client_key: some(&tls.key_file),
            client_key_data: some(&tls.key_data).map(Into::into),
            ..AuthInfo::default()
        },
        false => AuthInfo::default(),
    };
    let name = || "extender".to_owned();
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster { name: name(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo {
            name: name(),
            auth_info: Some(auth_info),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name(),
            context: Some(Context { cluster: name(), user: Some(name()), ..Context::default() }),
            ..NamedContext::default()
        }],
        current_context: Some(name()),
        ..Kubeconfig::default()
    };
    ClientConfig::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(ExtenderConfigError::Files)
}

/// A client certificate and its key in files, which something else renews.
#[derive(Debug)]
struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// As last read.
    last: Mutex<Arc<CertifiedKey>>,
}

impl CertificateFiles {
    fn of(tls: &ExtenderTls) -> Result<Option<Self>, ExtenderConfigError> {
        if !tls.certificate_is_in_files() {
            return Ok(None);
        }
        let (certificate, key) = (PathBuf::from(&tls.cert_file), PathBuf::from(&tls.key_file));
        let last = read(&certificate, &key).map_err(ExtenderConfigError::Certificate)?;
        Ok(Some(Self { certificate, key, last: Mutex::new(last) }))
    }
}

impl ResolvesClientCert for CertificateFiles {
    /// Reads two small files during the handshake; there are few handshakes, since connections are kept.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read(&self.certificate, &self.key) {
            Ok(now) => *last = now,
            // Perhaps only one of the two files has been renewed so far.
            Err(why) => warn!("the client certificate for an extender stays what it was: {why}"),
        }
        Some(Arc::clone(&last))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, String> {
    let text = |path: &Path| {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|f| f.take(FILE_BYTES_MAX).read_to_string(&mut text));
        read.map(|_| text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(certificate)?.as_bytes()).collect();
    let chain = chain.map_err(|error| format!("{}: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: there is no certificate in it", certificate.display()));
    }
    let secret = PrivateKeyDer::from_pem_slice(text(key)?.as_bytes());
    let secret = secret.map_err(|error| format!("{}: {error}", key.display()))?;
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    CertifiedKey::from_der(chain, secret, &provider)
        .map(Arc::new)
        .map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))
}

#[cfg(test)]
mod tests;
