//! Validating admission webhooks, called before a pod is bound: over TLS, with the timeout and the failure policy of each.
//!
//! A webhook is reached by its URL, or through the EndpointSlice of its Service; HTTP/2 connections are kept open. Selectors and match
//! conditions are not evaluated: a configuration that has them is called for every binding.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::api::Api;
use crate::decode;
use crate::error::ApiError;
use crate::request::{ApiRequest, Verb};
use crate::resource::{ENDPOINT_SLICES, VALIDATING_WEBHOOKS};

/// The timeout if a webhook does not set one.
const TIMEOUT_DEFAULT_S: u64 = 10;

type Connection = http2::SendRequest<Full<Bytes>>;

/// Connections to webhooks, by their address and settings.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    open: Mutex<BTreeMap<Place, Connection>>,
}

/// The address of a webhook, and the certificate authority that it is verified with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    address: SocketAddr,
    server_name: String,
    authority: String,
}

/// The answer of a webhook.
enum Verdict {
    Allowed,
    Denied { code: u16, message: String },
}

/// Calls the webhooks whose rules match a request.
pub(crate) async fn review(
    webhooks: &Webhooks,
    api: &Api,
    request: &ApiRequest,
    body: &Bytes,
) -> Result<(), ApiError> {
    let is_bind = request.verb == Verb::Create
        && matches!((request.resource.kind, &*request.subresource), ("Pod", "binding") | ("Binding", ""));
    if !is_bind {
        return Ok(());
    }
    // A body that is not a Binding is rejected when it is carried out.
    let Some(binding) = binding_in(body, &request.namespace) else { return Ok(()) };
    let configurations = api.store.read(|tx| tx.snapshot(VALIDATING_WEBHOOKS, None, |_| true)).objects;
    for configuration in configurations {
        for webhook in configuration.value()["webhooks"].as_array().into_iter().flatten() {
            if wants(webhook, request) {
                webhooks.ask(api, webhook, request, &binding).await?;
            }
        }
    }
    Ok(())
}

/// A Binding as webhooks see it: in its namespace.
fn binding_in(body: &Bytes, namespace: &str) -> Option<Value> {
    let mut binding = decode::json(body).ok()?;
    let metadata = binding.as_object_mut()?.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata.as_object_mut()?.insert("namespace".to_owned(), namespace.into());
    Some(binding)
}

/// Whether a rule matches a request.
fn wants(webhook: &Value, request: &ApiRequest) -> bool {
    let has = |list: &Value, wanted: &str| {
        list.as_array().into_iter().flatten().any(|item| item == wanted || item == "*")
    };
    let resource = match &*request.subresource {
        "" => request.resource.plural.to_owned(),
        sub => format!("{}/{sub}", request.resource.plural),
    };
    webhook["rules"].as_array().into_iter().flatten().any(|rule| {
        has(&rule["operations"], "CREATE")
            && has(&rule["apiGroups"], "")
            && has(&rule["apiVersions"], "v1")
            && (has(&rule["resources"], &resource) || has(&rule["resources"], "*/*"))
    })
}

/// The address and path that a client configuration points to.
fn place(api: &Api, client: &Value) -> Result<(Place, String), String> {
    let bundle = STANDARD.decode(client["caBundle"].as_str().unwrap_or_default());
    let authority = String::from_utf8(bundle.unwrap_or_default()).unwrap_or_default();
    if let Some(url) = client["url"].as_str() {
        let url: http::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let host = url.host().unwrap_or_default();
        let address = format!("{host}:{}", url.port_u16().unwrap_or(443));
        let address = address.parse().map_err(|_| format!("dial tcp: lookup {host}: no such host"))?;
        let place = Place { address, server_name: host.to_owned(), authority };
        return Ok((place, url.path().to_owned()));
    }
    let text = |field: &str| client["service"][field].as_str().unwrap_or_default().to_owned();
    let (namespace, name, path) = (text("namespace"), text("name"), text("path"));
    let slices = api.store.read(|tx| tx.snapshot(ENDPOINT_SLICES, Some(&namespace), |_| true)).objects;
    let address = slices.iter().map(|slice| slice.value()).find_map(|slice| {
        let of_service = slice["metadata"]["labels"]["kubernetes.io/service-name"] == *name;
        let ip = slice["endpoints"][0]["addresses"][0].as_str().filter(|_| of_service)?;
        Some(SocketAddr::new(ip.parse().ok()?, u16::try_from(slice["ports"][0]["port"].as_u64()?).ok()?))
    });
    let address = address.ok_or_else(|| format!("no endpoints available for service \"{name}\""))?;
    Ok((Place { address, server_name: format!("{name}.{namespace}.svc"), authority }, path))
}

impl Webhooks {
    fn keep(&self, place: &Place, connection: &Connection) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // So that no closed connections are left behind when a certificate is renewed or a guard moves.
        open.retain(|_, connection| !connection.is_closed());
        open.insert(place.clone(), connection.clone());
    }

    async fn ask(
        &self,
        api: &Api,
        webhook: &Value,
        request: &ApiRequest,
        binding: &Value,
    ) -> Result<(), ApiError> {
        let name = webhook["name"].as_str().unwrap_or_default();
        let timeout = Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_DEFAULT_S));
        let answer = match tokio::time::timeout(timeout, self.send(api, webhook, request, binding)).await {
            Ok(answer) => answer,
            Err(_) => Err("context deadline exceeded".to_owned()),
        };
        match answer {
            Ok(Verdict::Allowed) => Ok(()),
            Ok(Verdict::Denied { code, message }) => Err(ApiError::new(
                code,
                "Forbidden",
                format!("admission webhook \"{name}\" denied the request: {message}"),
            )),
            Err(why) if webhook["failurePolicy"] == "Ignore" => {
                tracing::debug!(webhook = name, why, "a webhook failed and is ignored");
                Ok(())
            }
            Err(why) => {
                Err(ApiError::new(500, "InternalError", format!("failed calling webhook \"{name}\": {why}")))
            }
        }
    }

    async fn send(
        &self,
        api: &Api,
        webhook: &Value,
        request: &ApiRequest,
        binding: &Value,
    ) -> Result<Verdict, String> {
        let (place, path) = place(api, &webhook["clientConfig"])?;
        let uid = api.store.write(|tx| format!("{:016x}", tx.random().next()));
        let resource = json!({ "group": "", "version": "v1", "resource": request.resource.plural });
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": uid,
                "kind": { "group": "", "version": "v1", "kind": "Binding" },
                "resource": resource,
                "subResource": &*request.subresource,
                "name": &*request.name,
                "namespace": &*request.namespace,
                "operation": "CREATE",
                "userInfo": { "username": "system:anonymous" },
                "object": binding,
                "oldObject": null,
                "dryRun": request.query.filled("dryRun").is_some(),
                "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
            },
        });
        let answer = self.post(&place, &path, review.to_string().into()).await?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let response = &answer["response"];
        if response["uid"] != *uid {
            return Err(format!("expected response.uid=\"{uid}\", got {}", response["uid"]));
        }
        if response["allowed"] == true {
            return Ok(Verdict::Allowed);
        }
        let code = response["status"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        Ok(Verdict::Denied {
            code: code.unwrap_or(0).max(400),
            message: response["status"]["message"].as_str().unwrap_or("without explanation").to_owned(),
        })
    }

    async fn post(&self, place: &Place, path: &str, body: Bytes) -> Result<Bytes, String> {
        let request = |uri: String| {
            Request::builder()
                .method(Method::POST)
                .uri(uri)
                .header(header::HOST, &place.server_name)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(body.clone()))
                .map_err(|error| error.to_string())
        };
        let uri = format!("https://{}{path}", place.server_name);
        let kept = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned();
        let response = match kept.filter(|kept| !kept.is_closed()) {
            Some(mut kept) => kept.send_request(request(uri)?).await,
            None => match connect(place).await? {
                Opened::Http2(mut connection) => {
                    self.keep(place, &connection);
                    connection.send_request(request(uri)?).await
                }
                Opened::Http1(mut connection) => connection.send_request(request(path.to_owned())?).await,
            },
        };
        let response = response.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        if status.is_success() {
            Ok(body)
        } else {
            Err(format!("an error on the server (\"{}\")", String::from_utf8_lossy(&body).trim()))
        }
    }
}

enum Opened {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(Connection),
}

async fn connect(place: &Place) -> Result<Opened, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(place.authority.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("caBundle: {error}"))?;
        roots.add(certificate).map_err(|error| format!("caBundle: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(place.server_name.clone()).map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("tls: {error}");
    let stream = TcpStream::connect(place.address).await.map_err(|error| format!("dial tcp: {error}"))?;
    // Reviews are small and must be sent at once. A socket that rejects this is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2".as_slice());
    let stream = TokioIo::new(stream);
    // The connections end with their last sender, or when the peer closes them: a later send then fails.
    if is_http2 {
        let made = http2::handshake(TokioExecutor::new(), stream).await;
        let (sender, connection) = made.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        return Ok(Opened::Http2(sender));
    }
    let (sender, connection) = http1::handshake(stream).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(Opened::Http1(sender))
}
