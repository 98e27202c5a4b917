//! What other services say and show: reviews for the bind guard, answers of extenders, certificates, the way to a proxy.

use http::Uri;
use secondmate_shell::fuzzing::{
    bind_review as read_review, certificate as read_certificate, extender_answer as read_answer,
    proxy as choose_proxy,
};
use serde_json::Value;

use super::{ensure, ensure_told, text};

pub(super) fn bind_review(input: &[u8]) -> Result<bool, String> {
    let (bind, approval) = match read_review(input) {
        Ok(read) => read,
        Err(message) => return ensure_told(&message).map(|()| false),
    };
    ensure(!bind.node.as_str().is_empty(), "a bind names its node", || format!("{bind:?}"))?;
    let approval: Value = serde_json::from_slice(&approval).unwrap_or_default();
    let response = &approval["response"];
    ensure(response["allowed"] == true, "an approval approves", || approval.to_string())?;
    // An API server takes no answer that has another request's UID.
    let review: Value = serde_json::from_slice(input).unwrap_or_default();
    let asked = &review["request"]["uid"];
    ensure(!asked.is_string() || response["uid"] == *asked, "an answer has the request's UID", || {
        format!("{asked} {approval}")
    })?;
    Ok(true)
}

pub(super) fn extender_answer(input: &[u8]) -> Result<bool, String> {
    let mut taken = false;
    // Only the first value of an answer counts.
    let more = [input, b"\n[}"].concat();
    for ((verb, said), (_, with_more)) in read_answer(input).into_iter().zip(read_answer(&more)) {
        match said {
            Ok(said) => {
                ensure(with_more.as_ref() == Ok(&said), "what follows an answer changes nothing", || {
                    format!("{verb}: {said} {with_more:?}")
                })?;
                taken = true;
            }
            Err(message) => ensure_told(&message)?,
        }
    }
    Ok(taken)
}

/// Some day on which the certificates of the seeds are valid, in seconds since 1970.
const NOW_S: i64 = 1_800_000_000;

pub(super) fn certificate(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let read = read_certificate(input, NOW_S);
    for part in &read {
        if let Err(message) = part {
            ensure_told(message)?;
        }
    }
    Ok(read.iter().all(Result::is_ok))
}

/// Lines: the server, `proxy-url`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
pub(super) fn proxy(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let mut lines = input.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (server, configured) = (next(), next());
    let Ok(server) = server.parse::<Uri>() else { return Ok(false) };
    let configured = configured.parse::<Uri>().ok();
    match choose_proxy(&server, configured.as_ref(), [next(), next(), next()]) {
        Ok(chosen) => {
            if let Some(proxy) = &chosen {
                let usable = proxy.scheme_str().is_some() && proxy.host().is_some();
                ensure(usable, "a proxy has a scheme and a host", || proxy.to_string())?;
            }
            Ok(true)
        }
        Err(error) => ensure_told(&error.to_string()).map(|()| false),
    }
}
