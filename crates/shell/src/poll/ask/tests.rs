//! Polls over HTTPS.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An endpoint that answers with the token presented to it. Returns its URL, and a file with the authority for its certificate.
async fn serve(folder: &std::path::Path) -> (String, PathBuf) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let own = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&own, &issuer).unwrap();
    let own = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], own).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/value", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((connection, _)) = listener.accept().await {
            // A client that does not trust the certificate disconnects.
            let Ok(mut stream) = acceptor.accept(connection).await else { continue };
            let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(read @ 1..) => head.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let token = head.split("authorization: bearer ").nth(1).and_then(|rest| rest.lines().next());
            let body = format!("{:?}", token.unwrap_or_default());
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, file)
}

fn asker(endpoint: Endpoint) -> Asker {
    let mut nowhere = Config::new("http://127.0.0.1:1".parse().unwrap());
    nowhere.root_cert = Some(Vec::new());
    Asker::new(endpoint, Client::try_from(nowhere).unwrap(), Duration::from_secs(30))
}

#[tokio::test]
async fn https_is_asked_by_who_trusts_the_authority_and_with_the_token_of_the_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (url, ca) = serve(folder.path()).await;
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let token = folder.path().join("token");
    std::fs::write(&token, "first").unwrap();
    let url = |ca_file| Endpoint::Url { url: url.clone(), ca_file, token_file: Some(text(token.clone())) };
    let trusting = asker(url(Some(text(ca))));
    assert_eq!(trusting.ask().await, Ok("\"first\"".to_owned()));
    std::fs::write(&token, "second").unwrap();
    assert_eq!(trusting.ask().await, Ok("\"second\"".to_owned()));

    // The system does not trust this authority, and neither does a client that has a different one.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let (_, other) = serve(&other).await;
    for ca in [None, Some(text(other))] {
        let Err(Failure::Error(reason)) = asker(url(ca)).ask().await else { panic!("it was asked") };
        assert!(reason.contains("certificate"), "{reason}");
    }
    let missing = text(folder.path().join("missing"));
    let Err(Failure::Error(reason)) = asker(url(Some(missing.clone()))).ask().await else { panic!() };
    assert!(reason.contains(&format!("cannot read {missing}")), "{reason}");
}
