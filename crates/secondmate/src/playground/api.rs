//! The requests that the playground sends to its API server, over HTTP like any client.

use super::manifests::Manifest;
use anyhow::Context;
use http::Request;
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Client, Config, Error};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

/// Objects in a page of a list.
const PAGE_OBJECTS: u32 = 1000;
/// Maximum time to wait for a response.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The cluster that a kubeconfig points to.
pub(super) async fn cluster(kubeconfig: &str) -> anyhow::Result<Config> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).context("the sandbox's kubeconfig")?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .context("the sandbox's kubeconfig")
}

/// A client of that cluster.
pub(super) async fn connect(kubeconfig: &str) -> anyhow::Result<Client> {
    Client::try_from(cluster(kubeconfig).await?).context("cannot make a client for the sandbox")
}

async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> anyhow::Result<T> {
    let request = Request::get(path).body(Vec::new())?;
    tokio::time::timeout(CALL_TIMEOUT, client.request(request))
        .await
        .with_context(|| format!("GET {path}: no answer within {CALL_TIMEOUT:?}"))?
        .with_context(|| format!("GET {path}"))
}

/// Why an object was not created.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The API server rejected it.
    Answered { code: u16, reason: String, message: String },
    /// It did not answer.
    Other(anyhow::Error),
}

/// Posts an object.
pub(super) async fn create(client: &Client, path: &str, object: &Value) -> Result<(), Refusal> {
    let other = |error: anyhow::Error| Refusal::Other(error.context(format!("POST {path}")));
    let body = serde_json::to_vec(object).map_err(|error| other(error.into()))?;
    let request = Request::post(format!("{path}?fieldManager=secondmate-playground&fieldValidation=Strict"))
        .header("content-type", "application/json")
        .body(body)
        .map_err(|error| other(error.into()))?;
    match tokio::time::timeout(CALL_TIMEOUT, client.request_text(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Error::Api(status))) => Err(Refusal::Answered {
            code: status.code,
            reason: status.reason.clone(),
            message: status.message.clone(),
        }),
        Ok(Err(error)) => Err(other(error.into())),
        Err(_) => Err(other(anyhow::anyhow!("no answer within {CALL_TIMEOUT:?}"))),
    }
}

/// What discovery says about the kinds, queried once for each group version.
#[derive(Default)]
pub(super) struct Kinds {
    served: HashMap<String, Vec<ServedKind>>,
}

#[derive(Clone, Debug, Deserialize)]
struct ServedKind {
    name: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ServedKinds {
    resources: Vec<ServedKind>,
}

/// What to do with an object of the user.
pub(super) enum Place {
    /// Post it to this path.
    Path(String),
    /// Skip it: neither a scheduler nor anything else in the playground reads it.
    Skipped,
    /// Reject it, for this reason: it would matter, but is not available here.
    Refused(String),
}

/// Groups whose kinds schedulers read, so that a kind that is not served would be missing.
const SCHEDULING_GROUPS: [&str; 3] = ["scheduling.k8s.io", "resource.k8s.io", "storage.k8s.io"];

impl Kinds {
    /// Where to post an object of the manifest, or why it is not posted.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn place(&mut self, client: &Client, manifest: &Manifest) -> anyhow::Result<Place> {
        let (api_version, kind, title) = (&manifest.api_version, &manifest.kind, manifest.title());
        let base = if api_version.contains('/') {
            format!("/apis/{api_version}")
        } else {
            format!("/api/{api_version}")
        };
        if !self.served.contains_key(api_version) {
            let kinds = discover(client, &base).await.with_context(|| title.clone())?;
            self.served.insert(api_version.clone(), kinds);
        }
        let of_kind = |served: &&ServedKind| served.kind == *kind && !served.name.contains('/');
        let Some(served) = self.served[api_version].iter().find(of_kind) else {
            return Ok(unserved(manifest));
        };
        if !served.verbs.iter().any(|verb| verb == "create") {
            return Ok(Place::Refused(format!(
                "{title}: objects of kind {kind:?} can be read in the playground but not created, as no controller acts on them: \
                 use a Deployment, a ReplicaSet or pods"
            )));
        }
        if !served.namespaced {
            return Ok(Place::Path(format!("{base}/{}", served.name)));
        }
        let namespace = manifest.object["metadata"]["namespace"].as_str().filter(|n| !n.is_empty());
        let namespace = namespace.unwrap_or("default");
        let problems = secondmate_config::is_subdomain(namespace);
        if !problems.is_empty() {
            let problems = problems.join("; ");
            return Ok(Place::Refused(format!(
                "{title}: metadata.namespace {namespace:?} is no name: {problems}"
            )));
        }
        Ok(Place::Path(format!("{base}/namespaces/{namespace}/{}", served.name)))
    }
}

/// A kind that the API server does not have is skipped, unless pods, or objects that schedulers read, would be missing.
fn unserved(manifest: &Manifest) -> Place {
    let (api_version, kind, title) = (&manifest.api_version, &manifest.kind, manifest.title());
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let remedy = "take it out of the file (`kubectl api-resources` on a playground with --keep lists what is served), or try it on a \
                  real cluster with `secondmate run`";
    if makes_pods(&manifest.object) {
        return Place::Refused(format!(
            "{title}: it has a pod template, and no controller of the playground makes pods for kind {kind:?} of {api_version:?}: {remedy}"
        ));
    }
    if SCHEDULING_GROUPS.contains(&group) {
        return Place::Refused(format!(
            "{title}: the playground's API server does not serve kind {kind:?} of {api_version:?}, which a scheduler may read: {remedy}"
        ));
    }
    Place::Skipped
}

/// Whether something in the object looks like a pod template.
fn makes_pods(value: &Value) -> bool {
    match value {
        Value::Object(map) => {
            let template =
                map.get("template").is_some_and(|template| template["spec"]["containers"].is_array());
            template || map.values().any(makes_pods)
        }
        Value::Array(items) => items.iter().any(makes_pods),
        _ => false,
    }
}

async fn discover(client: &Client, base: &str) -> anyhow::Result<Vec<ServedKind>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./-".contains(c);
    if !base.chars().all(plain) {
        return Ok(Vec::new());
    }
    match get::<ServedKinds>(client, base).await {
        Ok(list) => Ok(list.resources),
        Err(error) => match error.downcast_ref::<Error>() {
            Some(Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            _ => Err(error),
        },
    }
}

/// A value as it is written in a query.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(one).collect()
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// Lists all objects below a path, page by page, and returns the list's resourceVersion.
pub(super) async fn list<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    fields: &str,
    mut each: impl FnMut(T),
) -> anyhow::Result<String> {
    let mut next = String::new();
    loop {
        let mut query = format!("{path}?limit={PAGE_OBJECTS}");
        for (key, value) in [("fieldSelector", fields), ("continue", next.as_str())] {
            if !value.is_empty() {
                query = format!("{query}&{key}={}", encoded(value));
            }
        }
        let page: Page<T> = get(client, &query).await?;
        page.items.into_iter().for_each(&mut each);
        if page.metadata.next.is_empty() {
            return Ok(page.metadata.resource_version);
        }
        next = page.metadata.next;
    }
}
