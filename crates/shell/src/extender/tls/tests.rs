//! Extenders behind TLS. The expected texts are what Go's client reports for the same servers.

use super::super::http::Http;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use secondmate_config::{Extender, ExtenderTls};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const LONG: Duration = Duration::from_secs(60);

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Certificate and key, PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("an authority").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, names: &[&str]) -> Pair {
        self.issue_until(names, 2099)
    }

    fn issue_until(&self, names: &[&str], year: i32) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("one")
}

/// An extender with this certificate, which answers `{}`; with `clients` it requires a client certificate from that authority. Returns its
/// address.
async fn serve(own: &Pair, clients: Option<&Authority>) -> String {
    let builder = ServerConfig::builder();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&authority.pem)).expect("an authority");
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier"),
            )
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
    let config = builder.with_single_cert(vec![certificate(&own.certificate)], key).expect("they fit");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                match acceptor.accept(connection).into_fallible().await {
                    Ok(mut stream) => {
                        let mut request = Vec::new();
                        while !request.ends_with(b"question") {
                            match stream.read(&mut buffer).await {
                                Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
                                _ => return,
                            }
                        }
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
                        let _ = stream.write_all(answer).await;
                        let _ = stream.shutdown().await;
                    }
                    // Lets the other side read the reason.
                    Err((_, mut connection)) => while let Ok(1..) = connection.read(&mut buffer).await {},
                }
            });
        }
    });
    address
}

async fn client(address: &str, enable_https: bool, tls: ExtenderTls) -> Result<Http, String> {
    let extender = Extender {
        url_prefix: format!("https://{address}"),
        enable_https,
        tls_config: (tls != ExtenderTls::default()).then_some(tls),
        http_timeout: Some(LONG),
        ..Extender::default()
    };
    Http::new(&extender).await.map_err(|error| error.to_string())
}

/// The answer, or the error without the URL.
async fn said(http: &Http, address: &str) -> String {
    match http.post("filter", b"question".to_vec()).await {
        Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => {
            let error = error.to_string();
            let url = format!("Post \"https://{address}/filter\": ");
            error.strip_prefix(&url).unwrap_or_else(|| panic!("{error}")).to_owned()
        }
    }
}

async fn ask(address: &str, enable_https: bool, tls: ExtenderTls) -> String {
    match client(address, enable_https, tls).await {
        Ok(http) => said(&http, address).await,
        Err(error) => error,
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn trusting(authority: &Authority) -> ExtenderTls {
    ExtenderTls { ca_data: base64(&authority.pem), ..ExtenderTls::default() }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("ours");
    path.display().to_string()
}

const STRANGER: &str = "tls: failed to verify certificate: x509: certificate signed by unknown authority";

#[tokio::test]
async fn a_server_is_trusted_as_the_configuration_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let address = serve(&own.issue(&["127.0.0.1"]), None).await;
    let (own_file, other_file) =
        (write(folder.path(), "own.pem", &own.pem), write(folder.path(), "other.pem", &other.pem));
    let file = |ca_file: &String| ExtenderTls { ca_file: ca_file.clone(), ..ExtenderTls::default() };
    for (tls, expected) in [
        (file(&own_file), "{}"),
        (file(&other_file), STRANGER),
        (trusting(&own), "{}"),
        (trusting(&other), STRANGER),
        // Data takes precedence over files.
        (ExtenderTls { ca_file: other_file.clone(), ..trusting(&own) }, "{}"),
        (ExtenderTls { ca_file: own_file.clone(), ..trusting(&other) }, STRANGER),
        (ExtenderTls { insecure: true, ..ExtenderTls::default() }, "{}"),
    ] {
        for enable_https in [false, true] {
            assert_eq!(ask(&address, enable_https, tls.clone()).await, expected, "{enable_https} {tls:?}");
        }
    }
    // Without an authority, `enableHTTPS` trusts any server; nothing else does.
    assert_eq!(ask(&address, true, ExtenderTls::default()).await, "{}");
    assert_ne!(ask(&address, false, ExtenderTls::default()).await, "{}");
    let both = ExtenderTls { insecure: true, ..trusting(&own) };
    assert!(ask(&address, true, both).await.contains("exclude each other"));
}

#[tokio::test]
async fn a_server_is_known_by_its_name() {
    let own = Authority::new("own");
    let address = serve(&own.issue(&["gpu.example", "*.devices.example"]), None).await;
    let named = |name: &str| ExtenderTls { server_name: name.to_owned(), ..trusting(&own) };
    for (name, expected) in [
        (
            "",
            "tls: failed to verify certificate: x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
        ),
        ("gpu.example", "{}"),
        ("a.devices.example", "{}"),
        (
            "other.example",
            "tls: failed to verify certificate: x509: certificate is valid for gpu.example, *.devices.example, not other.example",
        ),
    ] {
        assert_eq!(ask(&address, true, named(name)).await, expected, "{name}");
    }
    assert!(ask(&address, true, named("no name")).await.contains("serverName"));
    let address = serve(&own.issue(&["10.0.0.1"]), None).await;
    assert_eq!(
        ask(&address, true, trusting(&own)).await,
        "tls: failed to verify certificate: x509: certificate is valid for 10.0.0.1, not 127.0.0.1"
    );
    assert_eq!(
        ask(&address, true, named("gpu.example")).await,
        "tls: failed to verify certificate: x509: certificate is not valid for any names, but wanted to match gpu.example"
    );
}

#[tokio::test]
async fn what_is_outdated_or_no_tls_is_told_in_the_words_of_go() {
    let own = Authority::new("own");
    let address = serve(&own.issue_until(&["127.0.0.1"], 2001), None).await;
    let said = ask(&address, true, trusting(&own)).await;
    let expected = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 20";
    assert!(said.starts_with(expected) && said.ends_with("Z is after 2001-01-01T00:00:00Z"), "{said}");
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = plain.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    assert_eq!(
        ask(&address, true, ExtenderTls::default()).await,
        "http: server gave HTTP response to HTTPS client"
    );
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let address = serve(&own.issue(&["127.0.0.1"]), Some(&own)).await;
    let (pair, stranger) = (own.issue(&["scheduler"]), other.issue(&["scheduler"]));
    let cert_file = write(folder.path(), "tls.crt", &pair.certificate);
    let key_file = write(folder.path(), "tls.key", &pair.key);
    let (cert_data, key_data) = (base64(&pair.certificate), base64(&pair.key));
    let none = String::new;
    let required = "remote error: tls: certificate required";
    for (cert_file, key_file, cert_data, key_data, expected) in [
        (none(), none(), none(), none(), required),
        (cert_file.clone(), key_file.clone(), none(), none(), "{}"),
        (none(), none(), cert_data.clone(), key_data.clone(), "{}"),
        (cert_file.clone(), none(), none(), key_data.clone(), "{}"),
        (none(), key_file.clone(), cert_data.clone(), none(), "{}"),
        // One half alone is ignored, as in client-go.
        (cert_file.clone(), none(), none(), none(), required),
        (none(), none(), none(), key_data.clone(), required),
        (
            none(),
            none(),
            base64(&stranger.certificate),
            base64(&stranger.key),
            "remote error: tls: unknown certificate authority",
        ),
        // Data takes precedence over files.
        (cert_file.clone(), key_file.clone(), cert_data, key_data, "{}"),
    ] {
        let tls = ExtenderTls { cert_file, key_file, cert_data, key_data, ..trusting(&own) };
        assert_eq!(ask(&address, true, tls.clone()).await, expected, "{tls:?}");
    }
    let lost = ExtenderTls {
        cert_file: folder.path().join("lost.crt").display().to_string(),
        key_file: key_file.clone(),
        ..trusting(&own)
    };
    assert!(ask(&address, true, lost).await.contains("lost.crt: No such file"));
}

#[tokio::test]
async fn a_client_certificate_in_files_is_renewed_with_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let (own, next) = (Authority::new("own"), Authority::new("next"));
    let today = serve(&own.issue(&["127.0.0.1"]), Some(&own)).await;
    let tomorrow = serve(&own.issue(&["127.0.0.1"]), Some(&next)).await;
    let put = |certificate: &str, key: &str| {
        (write(folder.path(), "tls.crt", certificate), write(folder.path(), "tls.key", key))
    };
    let (old, new) = (own.issue(&["scheduler"]), next.issue(&["scheduler"]));
    let (cert_file, key_file) = put(&old.certificate, &old.key);
    let tls = ExtenderTls { cert_file, key_file, ..trusting(&own) };
    let at_today = client(&today, true, tls.clone()).await.expect("a client");
    let at_tomorrow = client(&tomorrow, true, tls).await.expect("a client");
    assert_eq!(said(&at_today, &today).await, "{}");
    assert_eq!(said(&at_tomorrow, &tomorrow).await, "remote error: tls: unknown certificate authority");
    // Only one of the two has been written so far: the last matching pair is presented.
    put(&new.certificate, &old.key);
    assert_eq!(said(&at_today, &today).await, "{}");
    put(&new.certificate, &new.key);
    assert_eq!(said(&at_tomorrow, &tomorrow).await, "{}");
    assert_eq!(said(&at_today, &today).await, "remote error: tls: unknown certificate authority");
}
