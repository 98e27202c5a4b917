//! Whether the API server serves a kind, according to its discovery. A list that is answered with 404 is no proof: a gateway in front of
//! the API server may have given that answer.

use crate::call::{Call, CallError, Caller};
use secondmate_model::objects::ApiResource;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What the API server says about a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discovered {
    Served,
    NotServed,
    /// This process lacks permission to ask.
    MayNotAsk,
    /// There was no answer, or none that an API server would give.
    Unknown,
}

/// `v1.APIGroupList`.
#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// `v1.APIResourceList`.
#[derive(Deserialize)]
struct Resources {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
}

/// Asks the API server whether it serves a kind.
pub(super) async fn ask(caller: &Caller, api: ApiResource) -> Discovered {
    match serves(caller, api).await {
        Ok(true) => Discovered::Served,
        Ok(false) => Discovered::NotServed,
        Err(CallError::Answered { code: 401 | 403, .. }) => Discovered::MayNotAsk,
        Err(_) => Discovered::Unknown,
    }
}

async fn serves(caller: &Caller, api: ApiResource) -> Result<bool, CallError> {
    if api.group.is_empty() {
        return has_kind(caller, format!("/api/{}", api.version), api).await;
    }
    let Groups { groups } = read(caller, "/apis".to_owned()).await?;
    // Every API server has some.
    if groups.is_empty() {
        return Err(CallError::Lost("the list of API groups is empty".to_owned()));
    }
    let has_version = |group: &Group| group.versions.iter().any(|known| known.version == api.version);
    if !groups.iter().any(|group| group.name == api.group && has_version(group)) {
        return Ok(false);
    }
    has_kind(caller, format!("/apis/{}/{}", api.group, api.version), api).await
}

async fn has_kind(caller: &Caller, path: String, api: ApiResource) -> Result<bool, CallError> {
    let Resources { resources } = read(caller, path).await?;
    Ok(resources.iter().any(|resource| resource.name == api.plural))
}

async fn read<T: DeserializeOwned>(caller: &Caller, path: String) -> Result<T, CallError> {
    let body = caller.read(&Call::get(path)).await?;
    serde_json::from_slice(&body)
        .map_err(|error| CallError::Lost(format!("not an answer of discovery: {error}")))
}
