//! The targets: each a parser that reads what others write, with the rules that it keeps for every input.

mod files;
mod guests;
mod model;
mod requests;
mod services;

use crate::mutate::Form;

/// A parser.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder of its seeds.
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    /// What its inputs look like.
    pub form: Form,
    /// Reads an input: whether it was taken.
    ///
    /// # Errors
    /// `RULE: what breaks it`.
    pub run: fn(&[u8]) -> Result<bool, String>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target_of("pod", "a pod, from an API server or a file", Form::Json, model::pod),
    target_of("node", "a node", Form::Json, model::node),
    target_of("object", "an object of any other kind that scheduling reads", Form::Json, model::object),
    target_of("watch-line", "a line of a watch", Form::Json, model::watch_line),
    target_of("quantity", "two quantities, a line each", Form::Text, model::quantity),
    target_of("duration", "a duration", Form::Text, model::duration),
    target_of("selector", "label and node selectors of objects", Form::Json, model::selector),
    target_of("query-selector", "label or field selectors of a query", Form::Text, requests::query_selector),
    target_of("configuration", "a scheduler configuration", Form::Text, files::configuration),
    target_of("kubeconfig", "a kubeconfig", Form::Text, files::kubeconfig),
    target_of(
        "proxy",
        "the way to a proxy, from a kubeconfig and the environment",
        Form::Text,
        services::proxy,
    ),
    target_of("documents", "a file of documents in YAML or JSON", Form::Text, files::documents),
    target_of("dump", "a dump or manifests for `explain --from`, as JSON", Form::Json, files::dump),
    target_of("manifests", "manifests for `explain --from`, as YAML", Form::Text, files::dump),
    target_of(
        "probe-request",
        "an HTTP request to the port for probes, and to that for debugging",
        Form::Text,
        requests::probe,
    ),
    target_of("sandbox-request", "a request to the sandbox", Form::Request, requests::sandbox),
    target_of(
        "patch",
        "a patch in the sandbox: its media type, its target and itself",
        Form::Json,
        requests::patch,
    ),
    target_of("bind-review", "a review that the bind guard is sent", Form::Json, services::bind_review),
    target_of(
        "certificate",
        "a certificate with its key, as the bind guard is given them",
        Form::Text,
        services::certificate,
    ),
    target_of("extender-answer", "an HTTP extender's answer", Form::Json, services::extender_answer),
    target_of("leases", "a list of Leases, which others hold", Form::Json, services::leases),
    target_of(
        "access-answer",
        "an API server's answer about a token or a right, and its authorities",
        Form::Json,
        services::access_answer,
    ),
    target_of(
        "server-metrics",
        "an API server's metrics, as `doctor` reads them",
        Form::Text,
        services::server_metrics,
    ),
    target_of("usage", "what metrics.k8s.io and Prometheus answer", Form::Json, services::usage),
    target_of("answers-record", "a record of guests' and extenders' answers", Form::Text, guests::record),
    target_of("guest-arguments", "the arguments of a WebAssembly guest", Form::Json, guests::arguments),
    target_of("guest-object", "a pod or a node that a guest is handed", Form::Json, guests::object),
    target_of("protobuf", "a request body in protobuf", Form::Binary, requests::protobuf),
];

const fn target_of(
    name: &'static str,
    what: &'static str,
    form: Form,
    run: fn(&[u8]) -> Result<bool, String>,
) -> Target {
    Target { name, what, form, run }
}

/// The target with this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Text of an input. Readers of files and sockets refuse what is no UTF-8 before any of ours sees it.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// A rule.
fn ensure(holds: bool, rule: &str, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{rule}: {}", what())) }
}

/// The rule for every refusal: it says something, and ends.
fn ensure_told(message: &str) -> Result<(), String> {
    ensure(!message.trim().is_empty(), "a refusal says why", String::new)?;
    ensure(message.len() <= MESSAGE_BYTES_MAX, "a refusal is bounded", || format!("{} bytes", message.len()))
}

/// A message may quote what it refuses, and that is bounded by the size of inputs.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
