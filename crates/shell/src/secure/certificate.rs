//! The certificates presented to clients: a self-made one or one from files, and others for clients that ask for certain names.

use super::tls::TlsOptions;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Interval between two checks of the files.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Lifetime of a self-made certificate, as upstream; it is renewed in the last third.
const OWN_LIFE: Duration = Duration::from_secs(365 * 86400);
/// A client whose clock is behind by less still accepts it.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
/// File names of a self-made certificate and its key in a directory, as upstream.
const OWN_FILES: (&str, &str) = ("kube-scheduler.crt", "kube-scheduler.key");
/// Maximum size of a file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The certificate presented to clients that do not ask for a particular name.
#[derive(Clone, Debug)]
pub enum ServingCertificate {
    /// A self-made certificate for these names and addresses, which exists only in memory.
    Own {
        /// DNS names and addresses.
        names: Vec<String>,
    },
    /// Files, read again when they change.
    Files {
        /// Certificate chain, PEM.
        certificate: PathBuf,
        /// Key, PEM.
        key: PathBuf,
    },
}

/// A certificate presented to clients that ask for one of these names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCertificate {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Key, PEM.
    pub key: PathBuf,
    /// DNS names; `*` may stand for the first label. If empty, the names in the certificate are used, after all explicitly given names.
    pub names: Vec<String>,
}

/// Certificate and key, PEM.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    certificate: String,
    key: String,
}

/// The files of a self-made certificate in this directory: existing ones, or else new ones.
///
/// # Errors
/// They cannot be written.
pub fn own_certificate_in(folder: &Path, names: &[String]) -> Result<ServingCertificate, String> {
    let (certificate, key) = (folder.join(OWN_FILES.0), folder.join(OWN_FILES.1));
    if !certificate.is_file() || !key.is_file() {
        let pair = make(names)?;
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&certificate, &pair.certificate))
            .and_then(|()| write_secret(&key, &pair.key));
        written.map_err(|error| {
            format!("cannot write a certificate into {}: {error}; give another --cert-dir, or --tls-cert-file and --tls-private-key-file", folder.display())
        })?;
    }
    Ok(ServingCertificate::Files { certificate, key })
}

/// Readable by the owner only.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

fn make(names: &[String]) -> Result<Pair, String> {
    let made = || {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, names.first().map_or("localhost", String::as_str));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let now = Duration::from_secs(u64::try_from(unix_now()).unwrap_or(0));
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
        params.not_after = epoch + now + OWN_LIFE;
        let key = KeyPair::generate()?;
        Ok::<_, rcgen::Error>(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
    };
    made().map_err(|error| format!("cannot make a certificate: {error}"))
}

fn unix_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The certificates in a PEM text; at least one.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(chain) }
}

/// Reads a file of bounded size.
pub(super) async fn read(path: &Path) -> Result<String, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(wrong)?;
    let mut text = String::new();
    let mut file = tokio::io::AsyncReadExt::take(file, FILE_BYTES_MAX);
    tokio::io::AsyncReadExt::read_to_string(&mut file, &mut text).await.map_err(wrong)?;
    Ok(text)
}

async fn read_pair(certificate: &Path, key: &Path) -> Result<Pair, String> {
    Ok(Pair { certificate: read(certificate).await?, key: read(key).await? })
}

/// Keeps the certificates current.
#[derive(Debug)]
pub(super) struct Certificates {
    default: ServingCertificate,
    named: Vec<NamedCertificate>,
    tls: TlsOptions,
    sender: watch::Sender<Arc<ServerConfig>>,
    served: Served,
}

/// What is being served with: the default certificate, and those for names.
#[derive(Clone, PartialEq, Eq)]
struct Served(Vec<Pair>);

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} certificates", self.0.len())
    }
}

impl Certificates {
    /// Reads or makes the certificates for the first time.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub async fn read(
        default: ServingCertificate,
        named: Vec<NamedCertificate>,
        tls: TlsOptions,
    ) -> Result<(Self, watch::Receiver<Arc<ServerConfig>>), String> {
        let served = current(&default, &named, None).await?;
        let config = server_config(&served, &named, &tls)?;
        let (sender, receiver) = watch::channel(config);
        Ok((Self { default, named, tls, sender, served }, receiver))
    }

    /// Keeps them current, for ever.
    pub async fn keep(mut self) {
        let mut said = None;
        loop {
            sleep(LOOK_EVERY).await;
            match self.look().await {
                Ok(()) => said = None,
                Err(why) => {
                    if said.as_ref() != Some(&why) {
                        warn!("the certificate for HTTPS: {why}; the last one that could be used is shown");
                        said = Some(why);
                    }
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let served = current(&self.default, &self.named, Some(&self.served)).await?;
        if served != self.served {
            let config = server_config(&served, &self.named, &self.tls)?;
            info!("a new certificate is shown for HTTPS");
            self.sender.send_replace(config);
            self.served = served;
        }
        Ok(())
    }
}

async fn current(
    default: &ServingCertificate,
    named: &[NamedCertificate],
    served: Option<&Served>,
) -> Result<Served, String> {
    let first = match default {
        ServingCertificate::Files { certificate, key } => read_pair(certificate, key).await?,
        ServingCertificate::Own { names } => {
            let kept = served.and_then(|served| served.0.first()).filter(|pair| !is_due(&pair.certificate));
            match kept {
                Some(pair) => pair.clone(),
                None => make(names)?,
            }
        }
    };
    let mut pairs = vec![first];
    for NamedCertificate { certificate, key, .. } in named {
        pairs.push(read_pair(certificate, key).await?);
    }
    Ok(Served(pairs))
}

/// Whether the last third of its lifetime has begun.
fn is_due(pem: &str) -> bool {
    let Ok(chain) = certificates(pem) else { return true };
    let Some(Ok((_, certificate))) = chain.first().map(|der| X509Certificate::from_der(der)) else {
        return true;
    };
    let (begin, end) =
        (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    unix_now() > end - (end - begin) / 3
}

/// The DNS names in a certificate.
fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_ascii_lowercase()),
        _ => None,
    });
    dns.collect()
}

fn server_config(
    served: &Served,
    named: &[NamedCertificate],
    tls: &TlsOptions,
) -> Result<Arc<ServerConfig>, String> {
    let provider = tls.provider();
    let certified = |pair: &Pair| {
        let chain = certificates(&pair.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
            .map_err(|error| format!("the key: {error}"))?;
        CertifiedKey::from_der(chain, key, &provider).map(Arc::new).map_err(|error| error.to_string())
    };
    let (default, others) = served.0.split_first().ok_or("there is no certificate")?;
    let default = certified(default)?;
    // Explicitly given names take precedence over those in certificates.
    let (mut written, mut found) = (Vec::new(), Vec::new());
    for (pair, named) in others.iter().zip(named) {
        let key = certified(pair).map_err(|why| format!("{}: {why}", named.certificate.display()))?;
        if named.names.is_empty() {
            found.push((key.cert.first().map(names_in).unwrap_or_default(), key));
        } else {
            written.push((named.names.iter().map(|name| name.to_ascii_lowercase()).collect(), key));
        }
    }
    written.append(&mut found);
    let versions = tls.versions(&provider);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(Arc::new(KeyOnly(provider)))
        .with_cert_resolver(Arc::new(ByName { default, named: written }));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Chooses a certificate by the name that the client asks for; an exact name takes precedence over one with a `*`.
#[derive(Debug)]
struct ByName {
    default: Arc<CertifiedKey>,
    named: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl ByName {
    fn choose(&self, asked: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(asked) = asked.map(str::to_ascii_lowercase) else { return &self.default };
        let with_star = asked.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let of = |name: &String| self.named.iter().find(|(names, _)| names.contains(name));
        let found = of(&asked).or_else(|| with_star.as_ref().and_then(of));
        found.map_or(&self.default, |(_, key)| key)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}

/// Accepts any certificate whose key the client has. The trusted authorities may change while a connection lasts, and a client whose
/// certificate is not trusted may still have a token: so the certificate is judged with each request.
#[derive(Debug)]
struct KeyOnly(Arc<CryptoProvider>);

impl ClientCertVerifier for KeyOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_certificate_of_our_own_is_kept_in_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("made");
        let first = own_certificate_in(&folder, &names(&["localhost", "127.0.0.1"])).expect("written");
        let key = folder.join("kube-scheduler.key");
        let text = std::fs::read_to_string(&key).expect("a key");
        own_certificate_in(&folder, &names(&["other"])).expect("it is there");
        assert_eq!(std::fs::read_to_string(&key).expect("a key"), text);
        let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().expect("a file").permissions());
        assert_eq!(mode & 0o777, 0o600);
        Certificates::read(first, Vec::new(), TlsOptions::default()).await.expect("it can be served");
    }

    #[tokio::test]
    async fn files_are_read_again_and_what_cannot_be_used_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (certificate, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
        let write = |pair: &Pair| {
            std::fs::write(&certificate, &pair.certificate).expect("written");
            std::fs::write(&key, &pair.key).expect("written");
        };
        let (one, two) = (make(&names(&["one"])).expect("a pair"), make(&names(&["two"])).expect("a pair"));
        let source = ServingCertificate::Files { certificate: certificate.clone(), key: key.clone() };
        let refused = Certificates::read(source.clone(), Vec::new(), TlsOptions::default()).await;
        assert!(refused.is_err_and(|why| why.contains("a.crt")));
        write(&one);
        let (mut certificates, tls) =
            Certificates::read(source, Vec::new(), TlsOptions::default()).await.expect("they fit");
        let first = Arc::clone(&tls.borrow());
        certificates.look().await.expect("nothing new");
        assert!(Arc::ptr_eq(&first, &tls.borrow()));
        std::fs::write(&certificate, &two.certificate).expect("written");
        assert!(certificates.look().await.is_err(), "half of a pair");
        assert!(Arc::ptr_eq(&first, &tls.borrow()), "the last one that can be used is shown");
        write(&two);
        certificates.look().await.expect("they fit");
        assert!(!Arc::ptr_eq(&first, &tls.borrow()));
    }

    #[test]
    fn a_certificate_is_chosen_by_the_name_that_is_asked_for() {
        let provider = TlsOptions::default().provider();
        let key = |name: &str| {
            let pair = make(&names(&[name])).expect("a pair");
            let chain = certificates(&pair.certificate).expect("one");
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
            Arc::new(CertifiedKey::from_der(chain, key, &provider).expect("they fit"))
        };
        let by_name = ByName {
            default: key("default"),
            named: vec![
                (names(&["*.foo.com", "foo.com"]), key("star")),
                (names(&["a.foo.com"]), key("written")),
            ],
        };
        let chosen = |asked: Option<&str>| {
            by_name.choose(asked).cert.first().map(names_in).unwrap_or_default().concat()
        };
        assert_eq!(chosen(None), "default");
        assert_eq!(chosen(Some("b.foo.com")), "star");
        assert_eq!(chosen(Some("A.foo.com")), "written");
        assert_eq!(chosen(Some("foo.com")), "star");
        assert_eq!(chosen(Some("a.b.foo.com")), "default");
    }
}
