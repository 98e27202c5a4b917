//! Makes the guard's Service lead to the deciding instance, by means of an EndpointSlice that the instance writes itself.
//!
//! The Service has no selector. If the readiness of the pods selected the leader, the other pods would never be ready: no rollout of the
//! Deployment would ever complete, and its disruption budget would never let the leader's node be drained.

use crate::call::{Call, CallError, Caller, Content};
use crate::write::Leading;
use http::Method;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{info, warn};

/// Interval between two checks that the slice still leads here.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Interval between two attempts.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Name of the Service's port.
const PORT_NAME: &str = "bind";

/// Where the Service should lead.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service, and of the EndpointSlice.
    pub service: String,
    /// Address of this instance.
    pub address: IpAddr,
}

impl Endpoint {
    fn slice(&self, port: u16) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.service,
                "namespace": self.namespace,
                "labels": {
                    "kubernetes.io/service-name": self.service,
                    "endpointslice.kubernetes.io/managed-by": "guard.secondmate.dev",
                },
            },
            "addressType": if self.address.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{ "addresses": [self.address], "conditions": { "ready": true } }],
            "ports": [{ "name": PORT_NAME, "port": port, "protocol": "TCP" }],
        })
    }

    /// The path of all slices, and of this one.
    fn paths(&self) -> (String, String) {
        let all = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", self.namespace);
        let one = format!("{all}/{}", self.service);
        (all, one)
    }

    /// Stops the Service from leading here, if it does: if no instance takes over, the API server should not wait for an address that is
    /// gone.
    pub(super) async fn withdraw(&self, caller: &Caller, port: u16) -> Result<(), CallError> {
        match self.withdraw_once(caller, port).await {
            // Something else has written it in the meantime: the next guard, or a last claim by this one.
            Err(CallError::Answered { code: 409, .. }) => self.withdraw_once(caller, port).await,
            answer => answer,
        }
    }

    async fn withdraw_once(&self, caller: &Caller, port: u16) -> Result<(), CallError> {
        let (_, one) = self.paths();
        let body = caller.read(&Call::get(one.clone())).await?;
        let mut slice: Value = serde_json::from_slice(&body).unwrap_or_default();
        let leads_here = slice["endpoints"][0]["addresses"] == json!([self.address])
            && slice["ports"][0]["port"] == json!(port);
        if !leads_here {
            return Ok(());
        }
        slice["endpoints"] = json!([]);
        // It contains the resource version, so an instance that has claimed it in the meantime keeps it.
        caller.write(&Call::new(Method::PUT, one, Content::Json, slice.to_string().into_bytes())).await
    }

    /// Makes the Service lead here; returns whether anything had to be written.
    async fn claim(&self, caller: &Caller, port: u16) -> Result<bool, CallError> {
        let (all, one) = self.paths();
        let mut slice = self.slice(port);
        let call = match caller.read(&Call::get(one.clone())).await {
            Ok(body) => {
                let found: Value = serde_json::from_slice(&body).unwrap_or_default();
                // The address family of a slice is immutable.
                if found["addressType"] != slice["addressType"] {
                    let of_this_one = json!({ "preconditions": { "uid": found["metadata"]["uid"] } });
                    let body = of_this_one.to_string().into_bytes();
                    caller.write(&Call::new(Method::DELETE, one, Content::Json, body)).await?;
                    let call = Call::new(Method::POST, all, Content::Json, slice.to_string().into_bytes());
                    return caller.write(&call).await.map(|()| true);
                }
                if ["endpoints", "ports"].iter().all(|field| is_within(&slice[field], &found[field])) {
                    return Ok(false);
                }
                slice["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
                Call::new(Method::PUT, one, Content::Json, slice.to_string().into_bytes())
            }
            Err(CallError::Answered { code: 404, .. }) => {
                Call::new(Method::POST, all, Content::Json, slice.to_string().into_bytes())
            }
            Err(error) => return Err(error),
        };
        caller.write(&call).await.map(|()| true)
    }
}

/// Whether what was written is there, apart from defaults that the API server fills in.
fn is_within(written: &Value, found: &Value) -> bool {
    match (written, found) {
        (Value::Object(written), Value::Object(found)) => {
            written.iter().all(|(key, value)| found.get(key).is_some_and(|found| is_within(value, found)))
        }
        (Value::Array(written), Value::Array(found)) => {
            written.len() == found.len()
                && written.iter().zip(found).all(|(one, other)| is_within(one, other))
        }
        _ => written == found,
    }
}

/// Makes the Service lead here whenever this instance leads.
pub(super) async fn keep(endpoint: Endpoint, port: u16, mut leading: Leading, caller: Caller) {
    loop {
        if !leading.may_write() {
            leading.changed().await;
            continue;
        }
        let pause = match endpoint.claim(&caller, port).await {
            Ok(changed) => {
                if changed {
                    info!(service = endpoint.service, address = %endpoint.address, "the Service leads here");
                }
                LOOK_EVERY
            }
            Err(error) => {
                warn!(service = endpoint.service, "cannot let the Service lead here: {error}; trying again");
                RETRY_AFTER
            }
        };
        // A change of leadership triggers a check at once; the end of the pause is not a failure.
        let _ = timeout(pause, leading.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_fills_in_is_no_difference() {
        let endpoint = Endpoint {
            namespace: "ns".to_owned(),
            service: "guard".to_owned(),
            address: IpAddr::from([10, 0, 0, 7]),
        };
        let slice = endpoint.slice(10362);
        assert_eq!(slice["addressType"], "IPv4");
        let mut stored = slice.clone();
        stored["endpoints"][0]["conditions"]["serving"] = true.into();
        stored["ports"][0]["appProtocol"] = Value::Null;
        assert!(is_within(&slice["endpoints"], &stored["endpoints"]));
        assert!(is_within(&slice["ports"], &stored["ports"]));
        stored["endpoints"][0]["addresses"][0] = "10.0.0.8".into();
        assert!(!is_within(&slice["endpoints"], &stored["endpoints"]));
        stored["endpoints"] = json!([]);
        assert!(!is_within(&slice["endpoints"], &stored["endpoints"]));
    }
}
