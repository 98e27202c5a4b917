//! Which authorities are trusted for client certificates: from files, or from the cluster's ConfigMap `extension-apiserver-authentication`.

use super::certificate::{certificates, read};
use crate::call::{Call, Caller};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

/// The ConfigMap in which an API server publishes the authorities it trusts.
const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
/// Interval between two checks of the files and the ConfigMap.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Interval until the next check after a failed one.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How a front proxy passes on its client's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeaders {
    /// Authority for the proxy's certificate (PEM file).
    pub authority: PathBuf,
    /// The common names that are accepted in it; empty: any name.
    pub allowed_names: Vec<String>,
    /// Headers with the user name.
    pub username: Vec<String>,
    /// Headers with the user's UID.
    pub uid: Vec<String>,
    /// Headers with the user's groups.
    pub groups: Vec<String>,
    /// Prefixes of headers with further attributes of the user.
    pub extra_prefixes: Vec<String>,
}

/// Where the authorities are read from.
#[derive(Clone)]
pub(super) struct AuthoritySources {
    pub client_authority: Option<PathBuf>,
    pub request_headers: Option<RequestHeaders>,
    /// The cluster whose ConfigMap provides what the files do not; `None`: there is none.
    pub cluster: Option<Caller>,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    clients: Option<String>,
    proxy: Option<(String, RequestHeaders)>,
}

/// Whose certificates are trusted.
#[derive(Debug, Default)]
pub(super) struct Trusted {
    /// The authority for clients themselves.
    pub clients: Option<Authority>,
    /// The authority for proxies, and how they pass on their client's identity.
    pub proxy: Option<(Authority, RequestHeaders)>,
}

/// A certificate authority.
#[derive(Debug)]
pub(super) struct Authority(Arc<dyn ClientCertVerifier>);

impl Authority {
    fn of(pem: &str) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map(Self).map_err(|error| error.to_string())
    }

    /// Whether the first certificate of a chain was issued by it.
    pub fn vouches_for(&self, chain: &[CertificateDer<'static>]) -> bool {
        let Some((own, rest)) = chain.split_first() else { return false };
        self.0.verify_client_cert(own, rest, UnixTime::now()).is_ok()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigMap {
    data: BTreeMap<String, String>,
}

impl ConfigMap {
    fn text(&self, name: &str) -> Option<String> {
        self.data.get(name).filter(|text| !text.is_empty()).cloned()
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.text(name).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    fn proxy(&self) -> Option<(String, RequestHeaders)> {
        let authority = self.text("requestheader-client-ca-file")?;
        let headers = RequestHeaders {
            authority: PathBuf::new(),
            allowed_names: self.list("requestheader-allowed-names"),
            username: self.list("requestheader-username-headers"),
            uid: self.list("requestheader-uid-headers"),
            groups: self.list("requestheader-group-headers"),
            extra_prefixes: self.list("requestheader-extra-headers-prefix"),
        };
        Some((authority, headers))
    }
}

impl Read {
    fn of_config_map(body: &[u8]) -> Result<Self, String> {
        let map: ConfigMap = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        Ok(Self { clients: map.text("client-ca-file"), proxy: map.proxy() })
    }
}

/// What is read from the ConfigMap, and whether its authorities can be used.
///
/// # Errors
/// It is not a ConfigMap, or they cannot be used.
pub(super) fn understood(body: &[u8]) -> Result<String, String> {
    let read = Read::of_config_map(body)?;
    trusted(&read)?;
    Ok(format!("{read:?}"))
}

impl AuthoritySources {
    async fn read(&self) -> Result<Read, String> {
        let mut read_now = Read::default();
        if let Some(path) = &self.client_authority {
            read_now.clients = Some(read(path).await?);
        }
        if let Some(headers) = &self.request_headers {
            read_now.proxy = Some((read(&headers.authority).await?, headers.clone()));
        }
        let says_all = read_now.clients.is_some() && read_now.proxy.is_some();
        if let Some(caller) = self.cluster.as_ref().filter(|_| !says_all) {
            let body = caller.read(&Call::get(CONFIG_MAP.to_owned())).await.map_err(|error| {
                format!("cannot read the ConfigMap kube-system/extension-apiserver-authentication: {error}")
            })?;
            let said = Read::of_config_map(&body)?;
            read_now.clients = read_now.clients.or(said.clients);
            read_now.proxy = read_now.proxy.or(said.proxy);
        }
        Ok(read_now)
    }

    /// Only the sources that are files: these have to be valid from the beginning.
    fn without_cluster(&self) -> Self {
        Self { cluster: None, ..self.clone() }
    }
}

fn trusted(read: &Read) -> Result<Trusted, String> {
    let wrong = |what: &'static str| move |why: String| format!("the authority of {what}: {why}");
    let clients = read.clients.as_deref().map(Authority::of).transpose();
    let proxy =
        read.proxy.as_ref().map(|(pem, headers)| Ok((Authority::of(pem)?, headers.clone()))).transpose();
    Ok(Trusted {
        clients: clients.map_err(wrong("client certificates"))?,
        proxy: proxy.map_err(wrong("proxies' certificates"))?,
    })
}

/// Keeps the authorities current.
pub(super) struct Authorities {
    sources: AuthoritySources,
    sender: watch::Sender<Arc<Trusted>>,
    /// `None`: the ConfigMap has not been read yet.
    read: Option<Read>,
}

impl Authorities {
    /// Reads them for the first time; the ConfigMap only if startup must not succeed without it.
    ///
    /// # Errors
    /// One of them cannot be read, or cannot be used.
    pub async fn read(
        sources: AuthoritySources,
        tolerate_lookup_failure: bool,
    ) -> Result<(Self, watch::Receiver<Arc<Trusted>>), String> {
        let first = if tolerate_lookup_failure { sources.without_cluster() } else { sources.clone() };
        let read = first.read().await?;
        let (sender, receiver) = watch::channel(Arc::new(trusted(&read)?));
        let read = Some(read).filter(|_| !tolerate_lookup_failure || sources.cluster.is_none());
        Ok((Self { sources, sender, read }, receiver))
    }

    /// Keeps them current, for ever.
    pub async fn keep(mut self) {
        let mut said = None;
        let mut pause = if self.read.is_some() { LOOK_EVERY } else { Duration::ZERO };
        loop {
            sleep(pause).await;
            pause = match self.look().await {
                Ok(()) => {
                    said = None;
                    LOOK_EVERY
                }
                Err(why) => {
                    if said.as_ref() != Some(&why) {
                        warn!(
                            "{why}; those that were read before count, client certificates of others do not"
                        );
                        said = Some(why);
                    }
                    RETRY_AFTER
                }
            };
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let read = self.sources.read().await?;
        if self.read.as_ref() != Some(&read) {
            self.sender.send_replace(Arc::new(trusted(&read)?));
            info!(
                clients = read.clients.is_some(),
                proxies = read.proxy.is_some(),
                "read the authorities of client certificates"
            );
            self.read = Some(read);
        }
        Ok(())
    }
}
