//! TLS versions, cipher suites and curves, in the terms of Go's flags.

use rustls::crypto::CryptoProvider;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use std::sync::Arc;

/// The minimum TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V12,
    /// TLS 1.3.
    V13,
}

/// Versions, cipher suites and curves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The minimum version.
    pub minimum: TlsVersion,
    /// Cipher suites for TLS 1.2 by name; empty: all. As in Go, those of TLS 1.3 cannot be chosen.
    pub cipher_suites: Vec<String>,
    /// Curves by number; empty: all.
    pub curves: Vec<i32>,
}

/// Suites that Go knows but that are not supported here: without forward secrecy, without authenticated encryption, or broken.
const NOT_SPOKEN: [&str; 16] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Curves that Go knows but that are not supported here: P-521, and the hybrids with ML-KEM.
const CURVES_NOT_SPOKEN: [i32; 4] = [25, 4587, 4588, 4589];

/// Go's name for a suite.
fn go_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_")
}

fn is_named(suite: &SupportedCipherSuite, name: &str) -> bool {
    let own = go_name(suite);
    // Go has two names for some suites.
    own == name || own.strip_suffix("_SHA256").is_some_and(|own| own == name && own.ends_with("POLY1305"))
}

impl TlsOptions {
    /// Returns what was asked for but is not supported here, provided that something supported remains.
    ///
    /// # Errors
    /// A name or number is unknown, or nothing supported remains.
    pub fn check(&self) -> Result<Vec<String>, String> {
        let mut remarks = Vec::new();
        let provider = rustls::crypto::ring::default_provider();
        for name in &self.cipher_suites {
            let spoken = provider.cipher_suites.iter().any(|suite| is_named(suite, name));
            if !spoken && !NOT_SPOKEN.contains(&name.as_str()) {
                let names: Vec<String> = provider.cipher_suites.iter().map(go_name).collect();
                return Err(format!(
                    "there is no cipher suite {name:?}; those spoken here are {}",
                    names.join(", ")
                ));
            }
            if !spoken {
                remarks.push(format!("{name} is not spoken here: it is weaker than what is"));
            }
        }
        for curve in &self.curves {
            let spoken = provider.kx_groups.iter().any(|group| i32::from(u16::from(group.name())) == *curve);
            if !spoken && !CURVES_NOT_SPOKEN.contains(curve) {
                return Err(format!(
                    "there is no curve {curve}; those spoken here are 23 (P-256), 24 (P-384) and 29 (X25519)"
                ));
            }
            if !spoken {
                remarks.push(format!("curve {curve} is not spoken here"));
            }
        }
        let provider = self.provider();
        if provider.kx_groups.is_empty() {
            return Err(
                "none of the curves is spoken here: add 23 (P-256), 24 (P-384) or 29 (X25519)".to_owned()
            );
        }
        Ok(remarks)
    }

    /// The crypto provider, restricted to what was chosen.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.cipher_suites.is_empty() {
            provider.cipher_suites.retain(|suite| {
                suite.tls13().is_some() || self.cipher_suites.iter().any(|name| is_named(suite, name))
            });
        }
        if !self.curves.is_empty() {
            provider.kx_groups.retain(|group| self.curves.contains(&i32::from(u16::from(group.name()))));
        }
        Arc::new(provider)
    }

    /// The enabled versions.
    pub(super) fn versions(&self, provider: &CryptoProvider) -> Vec<&'static SupportedProtocolVersion> {
        let has_1_2 = provider.cipher_suites.iter().any(|suite| suite.tls13().is_none());
        let mut versions = vec![&rustls::version::TLS13];
        if self.minimum == TlsVersion::V12 && has_1_2 {
            versions.push(&rustls::version::TLS12);
        }
        versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(suites: &[&str], curves: &[i32]) -> TlsOptions {
        TlsOptions {
            cipher_suites: suites.iter().map(|name| (*name).to_owned()).collect(),
            curves: curves.to_vec(),
            ..TlsOptions::default()
        }
    }

    fn spoken(options: &TlsOptions) -> Vec<String> {
        let provider = options.provider();
        provider.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).map(go_name).collect()
    }

    #[test]
    fn suites_have_gos_names() {
        let all = options(&[], &[]);
        assert_eq!(all.check(), Ok(vec![]));
        assert_eq!(spoken(&all).len(), 6);
        let some = options(
            &["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_RSA_WITH_RC4_128_SHA"],
            &[],
        );
        assert_eq!(
            some.check(),
            Ok(vec!["TLS_RSA_WITH_RC4_128_SHA is not spoken here: it is weaker than what is".to_owned()])
        );
        assert_eq!(spoken(&some), ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]);
        assert_eq!(some.versions(&some.provider()).len(), 2);
        let only_new = options(&["TLS_AES_128_GCM_SHA256"], &[]);
        assert_eq!(only_new.versions(&only_new.provider()).len(), 1);
        let error = options(&["TLS_BEST"], &[]).check().expect_err("no such suite");
        assert!(
            error.contains("TLS_BEST") && error.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            "{error}"
        );
    }

    #[test]
    fn curves_have_gos_numbers() {
        assert_eq!(options(&[], &[29, 23]).check(), Ok(vec![]));
        assert_eq!(options(&[], &[29]).provider().kx_groups.len(), 1);
        assert_eq!(options(&[], &[4588, 29]).check(), Ok(vec!["curve 4588 is not spoken here".to_owned()]));
        assert!(options(&[], &[25]).check().is_err_and(|error| error.starts_with("none of the curves")));
        assert!(options(&[], &[1]).check().is_err());
    }
}
