use super::*;
use http::Uri;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secondmate_sandbox::Sandbox;
use std::path::Path;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const NAME: &str = "guard.ns.svc";

fn names() -> BTreeSet<String> {
    BTreeSet::from([NAME.to_owned()])
}

fn registration(
    server: Uri,
    source: CertificateSource,
    client_authority: Option<PathBuf>,
) -> (Registration, watch::Receiver<Option<Arc<ServerConfig>>>) {
    let client = kube_client::Client::try_from(kube_client::Config::new(server)).expect("a client");
    let caller = Caller::new(client, None, Duration::from_secs(10));
    let (tls, served) = watch::channel(None);
    (Registration { source, client_authority, caller, metrics: Metrics::new(), tls }, served)
}

/// An authority for client certificates, and a client's certificate and key.
fn client_of_an_authority() -> (String, [String; 2]) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("an authority").pem();
    let mut client = CertificateParams::default();
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let own = KeyPair::generate().expect("a key");
    let certificate = client.signed_by(&own, &Issuer::new(params, key)).expect("a certificate");
    (authority, [certificate.pem(), own.serialize_pem()])
}

/// Whether a client that trusts this authority is accepted, with its own certificate or none.
async fn comes_in(served: &Arc<ServerConfig>, authority: &str, own: Option<&[String; 2]>) -> bool {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some([certificate, key]) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(vec![certificate], key).expect("they fit")
        }
    };
    let (client, server) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from(NAME).expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let acceptor = TlsAcceptor::from(Arc::clone(served));
    // In TLS 1.3, the client has finished before the server has judged its certificate.
    let (client, server) = tokio::join!(connector.connect(name, client), acceptor.accept(server));
    client.is_ok() && server.is_ok()
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a writable folder");
    path
}

#[tokio::test]
async fn a_certificate_in_files_is_read_again_and_only_clients_of_the_authority_come_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = || Material::new(&names(), Lives::default(), unix_now()).expect("a name");
    let (first, second) = (made(), made());
    let (clients, client) = client_of_an_authority();
    let (_, stranger) = client_of_an_authority();
    let certificate = write(folder.path(), "tls.crt", &first.certificate);
    let key = write(folder.path(), "tls.key", &first.key);
    let clients = write(folder.path(), "clients.crt", &clients);
    let source = CertificateSource::Files { certificate, key };
    let nowhere = "http://127.0.0.1:1".parse().expect("a URL");
    let (registration, tls) = registration(nowhere, source, Some(clients));
    let mut state = State::default();
    registration.look(&mut state).await.expect("the files are good");
    let config = tls.borrow().clone().expect("it is served");
    assert!(comes_in(&config, &first.authority, Some(&client)).await);
    assert!(!comes_in(&config, &first.authority, None).await);
    assert!(!comes_in(&config, &first.authority, Some(&stranger)).await);
    // Something renews it: one half of the pair cannot be served with, so the first pair stays.
    write(folder.path(), "tls.crt", &second.certificate);
    registration.look(&mut state).await.expect_err("they do not fit");
    assert!(comes_in(&tls.borrow().clone().expect("served"), &first.authority, Some(&client)).await);
    write(folder.path(), "tls.key", &second.key);
    registration.look(&mut state).await.expect("the files are good");
    let config = tls.borrow().clone().expect("it is served");
    assert!(comes_in(&config, &second.authority, Some(&client)).await);
    assert!(!comes_in(&config, &first.authority, Some(&client)).await);
}

#[tokio::test]
async fn a_certificate_in_files_that_is_not_valid_now_is_served_and_said() {
    let nowhere: Uri = "http://127.0.0.1:1".parse().expect("a URL");
    let of_a_day = Lives { certificate: Duration::from_secs(86400), ..Lives::default() };
    for (made_at, said) in [(-2 * 86400, "it has expired"), (2 * 86400, "it is not valid yet")] {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Material::new(&names(), of_a_day, unix_now() + made_at).expect("a name");
        let certificate = write(folder.path(), "tls.crt", &made.certificate);
        let key = write(folder.path(), "tls.key", &made.key);
        let (registration, tls) =
            registration(nowhere.clone(), CertificateSource::Files { certificate, key }, None);
        let error = registration.look(&mut State::default()).await.expect_err(said);
        assert!(error.to_string().starts_with(said), "{error}");
        assert!(tls.borrow().is_some(), "it is served all the same");
    }
}

const WEBHOOK: &str = "guard";

/// A cluster in which the guard is registered.
async fn registered() -> Sandbox {
    let sandbox = Sandbox::start(secondmate_sandbox::Options::default()).await.expect("it starts");
    let create = |object| sandbox.objects().create(object).expect("a valid object");
    create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ns" } }));
    create(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": WEBHOOK },
        "webhooks": [{
            "name": "guard.secondmate.dev", "clientConfig": { "url": "https://guard.ns.svc/bind" },
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }],
    }));
    sandbox
}

fn own() -> CertificateSource {
    CertificateSource::Own {
        namespace: "ns".to_owned(),
        secret: "tls".to_owned(),
        webhook: WEBHOOK.to_owned(),
        names: names(),
    }
}

/// The authorities published to the API server.
fn told(sandbox: &Sandbox) -> String {
    let found = sandbox.objects().get("validatingwebhookconfigurations", "", WEBHOOK).expect("registered");
    let bundle = found["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned();
    String::from_utf8(STANDARD.decode(bundle).expect("base64")).expect("PEM")
}

/// Another instance makes a new authority before this one has checked: until then, this one serves with a certificate from the old
/// authority.
#[tokio::test]
async fn after_the_secret_was_deleted_the_old_authority_is_told_for_a_while() {
    let sandbox = registered().await;
    let start = || registration(sandbox.url().parse().expect("a URL"), own(), None);
    let ((leader, served), (standby, _)) = (start(), start());
    let (mut leads, mut stands_by) = (State::default(), State::default());
    leader.look(&mut leads).await.expect("it makes one");
    let old = served.borrow().clone().expect("it is served");
    let authority = told(&sandbox);
    standby.look(&mut stands_by).await.expect("it reads");
    assert_eq!((told(&sandbox), stands_by.displaced), (authority.clone(), None));

    sandbox.objects().delete("secrets", "ns", "tls", None).expect("it is there");
    standby.look(&mut stands_by).await.expect("it makes another one");
    assert!(told(&sandbox).ends_with(authority.trim()) && told(&sandbox) != authority);
    assert!(comes_in(&old, &told(&sandbox), None).await);
    leader.look(&mut leads).await.expect("it reads");
    let new = served.borrow().clone().expect("it is served");
    assert!(comes_in(&new, &told(&sandbox), None).await && comes_in(&old, &told(&sandbox), None).await);

    leads.displaced = Instant::now().checked_sub(DISPLACED_STAYS);
    leader.look(&mut leads).await.expect("it drops the old one");
    assert!(comes_in(&new, &told(&sandbox), None).await && !comes_in(&old, &told(&sandbox), None).await);
    standby.look(&mut stands_by).await.expect("it is as it should be");
    assert_eq!((leads.displaced, stands_by.displaced), (None, None));
}

#[tokio::test]
async fn a_renewed_authority_goes_through_the_secret_to_the_api_server_before_it_is_served() {
    let sandbox = registered().await;
    let (old_life, now) = (Duration::from_secs(300 * 86400), unix_now());
    let lives = Lives { authority: old_life, certificate: old_life };
    let old = Material::new(&names(), lives, now - 250 * 86400).expect("a name");
    sandbox.objects().create(secret("ns", "tls", None, &old)).expect("a valid Secret");
    let (registration, mut tls) = registration(sandbox.url().parse().expect("a URL"), own(), None);
    // Until now it was serving with the old one.
    let old_config = server_config(&old.certificate, &old.key, None).expect("they fit");
    let served = Served { certificate: old.certificate.clone(), key: old.key.clone(), clients: None };
    let mut state = State { served: Some(served), ..State::default() };
    let told = || told(&sandbox);
    let renewed = async {
        timeout(Duration::from_secs(60), tls.changed()).await.expect("it is renewed").expect("it is served");
        told()
    };
    let (looked, told_when_served) = tokio::join!(registration.look(&mut state), renewed);
    looked.expect("it is renewed");
    let config = tls.borrow().clone().expect("it is served");
    assert!(comes_in(&config, &told_when_served, None).await, "the API server was told before");
    assert!(
        comes_in(&old_config, &told_when_served, None).await,
        "another instance may still show the old one"
    );
    assert!(!comes_in(&config, &old.authority, None).await);
    let kept = sandbox.objects().get("secrets", "ns", "tls").expect("it is there");
    let kept: Secret = serde_json::from_value(kept).expect("a Secret");
    assert_eq!(kept.material().authority, told_when_served);
    assert!(state.served.is_some_and(|served| served.certificate == kept.material().certificate));
}
