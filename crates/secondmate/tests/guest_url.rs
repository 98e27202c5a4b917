//! Guests loaded from their `guestURL`, over TLS.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Lets every node pass.
const GUEST: &str =
    r#"(module (memory (export "memory") 1) (func (export "filter") (result i32) (i32.const 0)))"#;

/// A server with a certificate from its own authority, and the file with that authority.
async fn serve(folder: &Path, guest: Vec<u8>) -> (String, PathBuf) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let file = folder.join("ca.pem");
    std::fs::write(&file, authority.self_signed(&key).expect("an authority").pem()).expect("ours");
    let issuer = Issuer::new(authority, key);
    let own = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned()];
    let certificate =
        CertificateParams::new(names).expect("a name").signed_by(&own, &issuer).expect("signed");
    let own = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], own)
        .expect("they fit");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let (acceptor, guest) = (acceptor.clone(), guest.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate disconnects.
                let Ok(mut stream) = acceptor.accept(connection).await else { return };
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
                        _ => return,
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let (head, body, endless) = match request.split(' ').nth(1).unwrap_or_default() {
                    "/guest.wasm" => (format!("200 OK\r\nContent-Length: {}", guest.len()), guest, false),
                    "/moved" => (
                        "302 Found\r\nLocation: /guest.wasm\r\nContent-Length: 0".to_owned(),
                        Vec::new(),
                        false,
                    ),
                    "/round" => {
                        ("302 Found\r\nLocation: /round\r\nContent-Length: 0".to_owned(), Vec::new(), false)
                    }
                    "/endless" => ("200 OK".to_owned(), vec![0; 1 << 20], true),
                    "/half" => (format!("200 OK\r\nContent-Length: {}", guest.len() + 1), guest, false),
                    _ => ("404 Not Found\r\nContent-Length: 0".to_owned(), Vec::new(), false),
                };
                let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
                let mut sent = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                while endless && sent.is_ok() {
                    sent = stream.write_all(&body).await;
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    (url, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_loaded_over_https_from_a_server_that_is_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = wat::parse_str(GUEST).expect("text");
    let checksum = format!("sha256:{:x}", Sha256::digest(&guest));
    let (url, authority) = serve(folder.path(), guest).await;
    let check = |path: &str, checksum: Option<&str>, trusted: Option<&Path>| {
        let mut args = json!({ "guestURL": format!("{url}{path}") });
        if let Some(checksum) = checksum {
            args["guestChecksum"] = checksum.into();
        }
        let text = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "profiles": [{
                "schedulerName": "mine",
                "plugins": { "multiPoint": { "enabled": [{ "name": "Far" }] } },
                "pluginConfig": [{ "name": "Far", "args": args }],
            }],
        });
        let file = folder.path().join("config.json");
        std::fs::write(&file, text.to_string()).expect("ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_secondmate"));
        command
            .args(["config", "check"])
            .arg(file)
            .env("SECONDMATE_GUEST_CACHE", folder.path().join("cache"));
        // Without the machine's authorities, which a machine may not have.
        let nobody = folder.path().join("config.json");
        command.env("SSL_CERT_FILE", trusted.unwrap_or(&nobody)).env_remove("SSL_CERT_DIR");
        let output = command.output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    };
    let trusted = Some(authority.as_path());
    let valid = Ok("valid: a profile for mine\n".to_owned());
    for (path, checksum) in
        [("/guest.wasm", None), ("/guest.wasm", Some(&*checksum)), ("/moved", Some(&*checksum))]
    {
        assert_eq!(check(path, checksum, trusted), valid, "{path}");
    }
    let zeros = format!("sha256:{}", "0".repeat(64));
    for (path, checksum, trusted, part) in [
        ("/gone.wasm", None, trusted, "received 404 status code"),
        ("/guest.wasm", Some(&*zeros), trusted, &*format!("its checksum is {checksum}, not {zeros}")),
        ("/round", None, trusted, "redirects"),
        ("/endless", None, trusted, "it has more than 64 MiB"),
        ("/half", None, trusted, "error reading guestURL"),
        ("/guest.wasm", None, None, "error reading guestURL"),
    ] {
        let error = check(path, checksum, trusted).expect_err(path);
        let told = format!("plugin \"Far\": wasm: error reading guestURL {url}{path}: ");
        assert!(error.contains(&told) && error.contains(part), "{path}: {error}");
    }
}
