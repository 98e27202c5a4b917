//! What other services say and show: reviews for the bind guard, answers of extenders, certificates, the way to a proxy.

use http::Uri;
use secondmate_framework::Timestamp;
use secondmate_load_aware::{NodeUse, Samples};
use secondmate_shell::fuzzing::{
    access_answer as read_access_answer, bind_review as read_review, certificate as read_certificate,
    extender_answer as read_answer, leases as read_leases, proxy as choose_proxy,
    server_metrics as read_metrics,
};
use serde_json::Value;
use std::time::Duration;

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

pub(super) fn leases(input: &[u8]) -> Result<bool, String> {
    match read_leases(input) {
        Ok(said) => {
            let again = read_leases(input);
            ensure(again.as_ref() == Ok(&said), "read again it is the same", || {
                format!("{said}\n{again:?}")
            })?;
            Ok(true)
        }
        Err(message) => ensure_told(&message).map(|()| false),
    }
}

pub(super) fn access_answer(input: &[u8]) -> Result<bool, String> {
    let answer: Value = serde_json::from_slice(input).unwrap_or_default();
    let mut taken = false;
    for (kind, said) in read_access_answer(input) {
        let said = match said {
            Ok(said) => said,
            Err(message) => {
                ensure_told(&message)?;
                continue;
            }
        };
        taken = true;
        let yes = match kind {
            "TokenReview" if said.starts_with("Some") => {
                ensure(said.contains("system:authenticated"), "whoever is known is said to be", || {
                    said.clone()
                })?;
                &answer["status"]["authenticated"]
            }
            "SubjectAccessReview" if said.starts_with("true") => &answer["status"]["allowed"],
            _ => continue,
        };
        // A name that stands twice is refused, so a tree has what was read; only what is nested too deep is no tree.
        ensure(answer.is_null() || *yes == true, "nobody is let in who is not said to be", || {
            format!("{kind}: {said} {answer}")
        })?;
    }
    Ok(taken)
}

pub(super) fn server_metrics(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let said = read_metrics(input);
    // Families come in any order. (A carriage return is part of a line's end only where a line feed follows.)
    if !input.contains('\r') {
        let turned: Vec<&str> = input.lines().rev().collect();
        let again = read_metrics(&turned.join("\n"));
        ensure(said == again, "the order of lines does not count", || format!("{said}\n{again}"))?;
    }
    Ok(said != "{}")
}

pub(super) fn usage(input: &[u8]) -> Result<bool, String> {
    let told_at = Timestamp::from_millis(NOW_S * 1000);
    let stale_after = Duration::from_secs(60);
    let nodes: Result<NodeUse, _> = serde_json::from_slice(input);
    let samples: Result<Samples, _> = serde_json::from_slice(input);
    if let Ok(list) = &nodes {
        for (name, used) in &list.nodes {
            let finite = used.milli_cpu.is_finite() && used.memory.is_finite();
            ensure(finite, "what a node uses is a number", || format!("{name}: {used:?}"))?;
        }
        let left_out = list.left_out(told_at, stale_after);
        ensure(left_out <= list.nodes.len() + list.misread, "no more is left out than there is", || {
            format!("{left_out} of {list:?}")
        })?;
    }
    if let Ok(samples) = &samples {
        for value in ["a", "n1", "10.0.0.1:9100"] {
            let number = samples.of("node", value).or_else(|| samples.of("instance", value));
            ensure(number.is_none_or(|sample| sample.value.is_finite()), "a sample is a number", || {
                format!("{number:?}")
            })?;
        }
        std::hint::black_box(samples.left_out(told_at, stale_after));
    }
    for message in [nodes.as_ref().err(), samples.as_ref().err()].into_iter().flatten() {
        ensure_told(&message.to_string())?;
    }
    Ok(nodes.is_ok() || samples.is_ok())
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
