//! Making, reading and verifying certificates.

use super::server::PROTOCOLS;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Error};

/// Lifetime of an authority made by the guard.
const AUTHORITY_LIFE: Duration = Duration::from_secs(5 * 365 * 86400);
/// Lifetime of a certificate made by the guard.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 86400);
/// Certificates are valid from this long ago, so that an API server whose clock is behind by less accepts them.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// What is wrong with a certificate or a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// It is not PEM.
    #[error("the certificate cannot be read")]
    Pem(#[source] pem::Error),
    /// The PEM text contains no certificate.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// The PEM text does not contain a valid certificate.
    #[error("the certificate cannot be understood")]
    Parse(#[from] X509Error),
    /// The key is not PEM.
    #[error("the key cannot be read")]
    Key(#[source] pem::Error),
    /// Certificate and key do not match, or TLS cannot be served with them.
    #[error("it cannot be served with")]
    Serve(#[from] rustls::Error),
    /// The authority for client certificates cannot be used.
    #[error("the authority of client certificates cannot be used")]
    Clients(#[from] VerifierBuilderError),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

impl CertificateError {
    /// Whether the certificate is good, but for another name.
    pub fn is_about_the_name(&self) -> bool {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        matches!(
            self,
            Self::Serve(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
        )
    }
}

/// Seconds since 1970.
pub(super) fn unix_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// An authority, a certificate signed by it, and both keys, as PEM: the contents of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Material {
    /// The authority's certificates: the newest first, followed by older ones as long as certificates signed by them may be in use.
    pub authority: String,
    pub authority_key: String,
    pub certificate: String,
    pub key: String,
}

/// The facts that can be read from a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub not_before: i64,
    pub not_after: i64,
    /// DNS names and addresses.
    pub names: BTreeSet<String>,
}

impl Facts {
    /// The facts of the first certificate in a PEM text.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pem: &str) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(CertificateError::Pem)?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(X509Error::from)?;
        let names = certificate.subject_alternative_name()?;
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| std::net::Ipv4Addr::from(b).to_string()),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| std::net::Ipv6Addr::from(b).to_string()),
            },
            _ => None,
        };
        let validity = certificate.validity();
        Ok(Self {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            names: names
                .map(|names| names.value.general_names.iter().filter_map(name).collect())
                .unwrap_or_default(),
        })
    }

    /// Whether it is to be renewed: the last third of its lifetime has begun, which leaves time for that; or it is not valid yet, because
    /// the clock of the instance that made it is ahead.
    pub fn is_due(&self, now: i64) -> bool {
        now < self.not_before || now > self.not_after - (self.not_after - self.not_before) / 3
    }
}

/// How long the certificates made by the guard are valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lives {
    pub authority: Duration,
    pub certificate: Duration,
}

impl Default for Lives {
    fn default() -> Self {
        Self { authority: AUTHORITY_LIFE, certificate: CERTIFICATE_LIFE }
    }
}

fn set_validity(params: &mut CertificateParams, life: Duration, now: i64) {
    let now = Duration::from_secs(u64::try_from(now).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + now + life;
}

/// The authority's own certificate. An issuer consists of its parameters and its key, so it can be rebuilt from the key alone.
fn authority_params(life: Duration, now: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "secondmate bind guard");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, life, now);
    params
}

impl Material {
    /// A new authority, with a certificate for these names.
    ///
    /// # Errors
    /// A name cannot be used in a certificate.
    pub fn new(names: &BTreeSet<String>, lives: Lives, now: i64) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let authority = authority_params(lives.authority, now).self_signed(&key)?;
        let empty = Self {
            authority: authority.pem(),
            authority_key: key.serialize_pem(),
            certificate: String::new(),
            key: String::new(),
        };
        empty.with_certificate(names, lives, now)
    }

    /// A new certificate from the same authority.
    fn with_certificate(
        &self,
        names: &BTreeSet<String>,
        lives: Lives,
        now: i64,
    ) -> Result<Self, CertificateError> {
        let authority_key = KeyPair::from_pem(&self.authority_key)?;
        let issuer = Issuer::new(authority_params(lives.authority, now), authority_key);
        let names: Vec<String> = names.iter().cloned().collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "secondmate bind guard");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, lives.certificate, now);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem(), ..self.clone() })
    }

    /// The replacement, if one is needed: because it does not cover the names, cannot be used, is not valid yet, or expires soon. When the authority is
    /// renewed, the old one is kept beside the new one, for instances that still present a certificate signed by it. Names that other
    /// replicas asked for are kept until the certificate is renewed; otherwise replicas with different names would keep replacing it during
    /// a rollout.
    ///
    /// # Errors
    /// A name cannot be used in a certificate.
    pub fn renewed(
        &self,
        names: &BTreeSet<String>,
        lives: Lives,
        now: i64,
    ) -> Result<Option<Self>, CertificateError> {
        let authority = match (Facts::of(&self.authority), KeyPair::from_pem(&self.authority_key)) {
            (Ok(facts), Ok(_)) => facts,
            _ => return Self::new(names, lives, now).map(Some),
        };
        if authority.is_due(now) {
            let mut new = Self::new(names, lives, now)?;
            new.authority.push_str(first(&self.authority));
            return Ok(Some(new));
        }
        let usable = server_config(&self.certificate, &self.key, None).is_ok();
        match Facts::of(&self.certificate) {
            Ok(facts) if usable && !facts.is_due(now) => {
                if facts.names.is_superset(names) {
                    return Ok(None);
                }
                self.with_certificate(&(&facts.names | names), lives, now).map(Some)
            }
            _ => self.with_certificate(names, lives, now).map(Some),
        }
    }
}

/// The first certificate of a PEM text.
pub(super) fn first(pem: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    pem.find(END).map_or("", |at| &pem[..at + END.len()])
}

/// The TLS server configuration for a certificate and its key, and, if client certificates are required, their authority.
///
/// # Errors
/// They cannot be read, or do not match.
pub(crate) fn server_config(
    certificate: &str,
    key: &str,
    clients: Option<&str>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(CertificateError::Key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(authority)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    // API servers never resume a session.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Verifies a certificate as a client does that trusts these authorities and connects to this name.
///
/// # Errors
/// The client would reject it, or one of the texts cannot be read.
pub(crate) fn verify(
    certificate: &str,
    authorities: &str,
    name: &str,
    now: jiff::Timestamp,
) -> Result<(), CertificateError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities)? {
        roots.add(authority)?;
    }
    let chain = certificates(certificate)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| rustls::Error::General(format!("{name:?} cannot be the name of a server")))?;
    let since_1970 = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    verifier.verify_server_cert(
        &chain[0],
        &chain[1..],
        &name,
        &[],
        UnixTime::since_unix_epoch(since_1970),
    )?;
    Ok(())
}

/// The certificates in a PEM text; at least one.
fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = chain.map_err(CertificateError::Pem)?;
    if chain.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(chain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86400;
    const NOW: i64 = 1_800_000_000;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn made(now: i64) -> Material {
        Material::new(&names(&["guard.ns.svc", "127.0.0.1"]), Lives::default(), now).expect("names")
    }

    fn renewed(material: &Material, now: i64) -> Option<Material> {
        material.renewed(&names(&["guard.ns.svc", "127.0.0.1"]), Lives::default(), now).expect("names")
    }

    #[test]
    fn what_is_made_has_the_names_and_the_time_and_can_be_served_with() {
        let material = made(NOW);
        let facts = Facts::of(&material.certificate).expect("a certificate");
        assert_eq!(facts.names, names(&["guard.ns.svc", "127.0.0.1"]));
        assert_eq!((facts.not_before, facts.not_after), (NOW - 3600, NOW + 90 * DAY));
        let config = server_config(&material.certificate, &material.key, None).expect("they fit");
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        server_config(&material.certificate, &material.key, Some(&material.authority)).expect("an authority");
        assert!(server_config(&material.certificate, &material.authority_key, None).is_err());
        assert!(server_config("", &material.key, None).is_err());
    }

    #[test]
    fn a_client_accepts_it_by_its_names_while_it_lasts() {
        let material = made(NOW);
        let judged = |authorities: &str, name: &str, at: i64| {
            let now = jiff::Timestamp::from_second(at).expect("a time");
            verify(&material.certificate, authorities, name, now).map_err(|error| crate::call::chain(&error))
        };
        assert_eq!(judged(&material.authority, "guard.ns.svc", NOW), Ok(()));
        for (authorities, name, at, said) in [
            (&material.authority, "guard.other.svc", NOW, "not valid for name"),
            (&material.authority, "guard.ns.svc", NOW + 91 * DAY, "expired"),
            (&made(NOW).authority, "guard.ns.svc", NOW, "certificate"),
        ] {
            let error = judged(authorities, name, at).expect_err(said);
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life_and_the_authority_stays() {
        let material = made(NOW);
        assert_eq!(renewed(&material, NOW + 59 * DAY), None);
        let next = renewed(&material, NOW + 61 * DAY).expect("it is due");
        assert_eq!((&next.authority, &next.authority_key), (&material.authority, &material.authority_key));
        assert_eq!(Facts::of(&next.certificate).expect("one").not_after, NOW + 151 * DAY);
        assert_ne!(next.key, material.key);
        assert_eq!(renewed(&next, NOW + 61 * DAY), None);
    }

    #[test]
    fn a_new_authority_stands_beside_the_old_one_but_not_beside_older_ones() {
        let first = made(NOW);
        let second = renewed(&first, NOW + 4 * 365 * DAY).expect("it is due");
        assert!(second.authority.contains(first.authority.trim()));
        let third = renewed(&second, NOW + 8 * 365 * DAY).expect("it is due");
        assert_eq!(certificates(&third.authority).expect("two").len(), 2);
        assert!(!third.authority.contains(first.authority.trim()));
        server_config(&third.certificate, &third.key, Some(&third.authority)).expect("both are read");
    }

    #[test]
    fn what_an_instance_has_made_whose_clock_is_ahead_is_replaced_and_stays_so() {
        let ahead = NOW + 2 * 3600;
        let of_the_past = made(NOW);
        let certificate = of_the_past
            .with_certificate(&names(&["guard.ns.svc", "127.0.0.1"]), Lives::default(), ahead)
            .expect("names");
        for (early, keeps_authority) in [(certificate, true), (made(ahead), false)] {
            let next = renewed(&early, NOW).expect("it is not valid yet");
            assert_eq!(next.authority == early.authority, keeps_authority);
            for pem in [&next.authority, &next.certificate] {
                assert!(Facts::of(pem).expect("one").not_before <= NOW);
            }
            assert_eq!(renewed(&next, NOW), None);
            assert_eq!(renewed(&next, ahead), None, "the one that is ahead does not replace it in turn");
        }
    }

    #[test]
    fn what_does_not_fit_or_cannot_be_read_is_replaced() {
        let material = made(NOW);
        let other = material.renewed(&names(&["other.ns.svc"]), Lives::default(), NOW).expect("names");
        let other = other.expect("it lacks a name");
        let facts = Facts::of(&other.certificate).expect("one");
        assert_eq!(facts.names, names(&["127.0.0.1", "guard.ns.svc", "other.ns.svc"]));
        assert_eq!(renewed(&other, NOW), None, "replicas with other names do not replace it in turns");
        let next = renewed(&other, NOW + 80 * DAY).expect("it is due");
        assert_eq!(Facts::of(&next.certificate).expect("one").names, names(&["127.0.0.1", "guard.ns.svc"]));
        for broken in [
            Material { certificate: "?".to_owned(), ..material.clone() },
            Material { key: made(NOW).key, ..material.clone() },
            Material { authority: String::new(), ..material.clone() },
            Material { authority_key: String::new(), ..material.clone() },
        ] {
            let mended = renewed(&broken, NOW).expect("it is replaced");
            assert_eq!(renewed(&mended, NOW), None);
        }
    }
}
