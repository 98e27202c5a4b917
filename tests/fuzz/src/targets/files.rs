//! Files: configurations, kubeconfigs, manifests and dumps.

use std::cell::OnceCell;

use secondmate_config::{Configuration, make_profiles};
use secondmate_cycle::Profile;
use secondmate_documents::{documents as split, mistake};
use secondmate_explain::{Cluster, Explainer, Keep, gaps, read};
use secondmate_framework::Registry;
use secondmate_shell::ConnectError;
use secondmate_shell::fuzzing::kubeconfig as read_kubeconfig;
use serde_json::{Value, json};

use super::{ensure, ensure_told, text};

/// Pods of a file that are explained: each costs a look at every node.
const EXPLAINED_MAX: usize = 3;

/// What is made once a thread.
struct Made {
    registry: Registry,
    profiles: Vec<Profile>,
    runtime: tokio::runtime::Runtime,
}

thread_local! {
    static MADE: OnceCell<Made> = const { OnceCell::new() };
}

/// # Panics
/// The default profile, or a runtime, cannot be made.
fn with_made<T>(run: impl FnOnce(&Made) -> T) -> T {
    MADE.with(|made| {
        run(made.get_or_init(|| {
            let registry = secondmate_plugins::registry().expect("the names of the in-tree plugins differ");
            let configuration = Configuration::for_scheduler_names(&["my-scheduler"]).expect("a valid name");
            let profiles = make_profiles(&configuration, &registry).expect("the default profile");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            Made { registry, profiles, runtime }
        }))
    })
}

pub(super) fn configuration(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let configuration = match input.parse::<Configuration>() {
        Ok(configuration) => configuration,
        Err(error) => {
            ensure(!error.problems.is_empty(), "a refusal says why", || error.to_string())?;
            let lines = lines(input).max(1);
            for problem in &error.problems {
                ensure_told(&problem.message)?;
                let line = problem.line.map_or(1, |line| line as usize);
                ensure((1..=lines + 1).contains(&line), "a line of the text is named", || {
                    problem.to_string()
                })?;
            }
            return Ok(false);
        }
    };
    let value = configuration.to_whole_value();
    match exported(&value).parse::<Configuration>() {
        Ok(again) => {
            ensure(again.to_whole_value() == value, "exported and read again it is the same", || {
                format!("{value}\n{}", again.to_whole_value())
            })?
        }
        Err(error) => return Err(format!("what is exported can be read: {error}\n{value}")),
    }
    ensure(configuration.fingerprint().len() == 16, "the fingerprint has its length", || {
        configuration.fingerprint()
    })?;
    let notices = configuration.notices().iter().map(ToString::to_string);
    let unsupported = configuration.unsupported().iter().map(ToString::to_string);
    notices.chain(unsupported).try_for_each(|said| ensure_told(&said))?;
    with_made(|made| match make_profiles(&configuration, &made.registry) {
        Ok(profiles) => {
            ensure(profiles.len() == configuration.profiles.len(), "each profile is made", String::new)
        }
        Err(error) => ensure_told(&error.to_string()),
    })?;
    Ok(true)
}

/// As two documents, which is how a user writes it.
fn exported(value: &Value) -> String {
    let mut main = value.clone();
    let own = main.as_object_mut().and_then(|fields| fields.remove("secondmate")).unwrap_or_default();
    let mut document = json!({
        "apiVersion": secondmate_config::OWN_API_VERSION,
        "kind": secondmate_config::OWN_KIND,
    });
    if let (Some(document), Value::Object(own)) = (document.as_object_mut(), own) {
        document.extend(own);
    }
    format!("{main}\n---\n{document}\n")
}

pub(super) fn kubeconfig(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    match with_made(|made| made.runtime.block_on(read_kubeconfig(input))) {
        Ok(config) => {
            // The client panics at a URL with a host and without a scheme.
            let url = &config.cluster_url;
            let usable = matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty());
            ensure(usable, "a cluster has a scheme and a host", || url.to_string())?;
            Ok(true)
        }
        Err(error) => {
            let what = error.to_string();
            ensure_told(&what)?;
            if let ConnectError::Kubeconfig { reason, .. } = &error {
                ensure_told(reason)?;
            }
            Ok(false)
        }
    }
}

pub(super) fn documents(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let lines = lines(input);
    let found = split(input);
    let mut taken = !found.is_empty();
    let mut before = 0;
    for document in &found {
        ensure((1..=lines).contains(&document.line), "a document begins on a line of the text", || {
            format!("line {} of {lines}", document.line)
        })?;
        ensure(document.line >= before, "documents are in their order", || {
            format!("{} {before}", document.line)
        })?;
        before = document.line;
        ensure(document.first_line() <= lines.max(1), "a document begins on a line of the text", || {
            format!("line {} of {lines}", document.first_line())
        })?;
        match document.value() {
            Ok(value) => {
                let again = value.to_string();
                let reread = split(&again);
                let same = match reread.as_slice() {
                    // Fractions are not read to their last digit.
                    _ if holds_fraction(&value) => true,
                    [one] => one.value().as_ref() == Ok(&value),
                    _ => !again.starts_with(['{', '[']),
                };
                ensure(same, "written as JSON and read again it is the same", || {
                    format!("{again}\n{reread:?}")
                })?;
            }
            Err(error) => {
                ensure_told(&error.cause)?;
                let line = error.line.unwrap_or(1);
                ensure((1..=lines + 1).contains(&line), "a line of the text is named", || {
                    format!("{error} at {line} of {lines}")
                })?;
                taken = false;
            }
        }
    }
    std::hint::black_box(mistake(input));
    Ok(taken)
}

/// The lines of a text. In YAML a carriage return ends one, too (1.2, 5.4).
fn lines(text: &str) -> usize {
    let ends = |text: &str| text.matches(['\n', '\r']).count() - text.matches("\r\n").count();
    ends(text) + usize::from(!text.is_empty() && !text.ends_with(['\n', '\r']))
}

fn holds_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(holds_fraction),
        Value::Object(fields) => fields.values().any(holds_fraction),
        _ => false,
    }
}

pub(super) fn dump(input: &[u8]) -> Result<bool, String> {
    let Some(input) = text(input) else { return Ok(false) };
    let reading = match read(input, "cluster.yaml", Keep::WHOLE) {
        Ok(reading) => reading,
        Err(errors) => {
            ensure(!errors.errors.is_empty(), "a refusal says why", || errors.to_string())?;
            errors.errors.iter().try_for_each(|error| ensure_told(&error.to_string()))?;
            ensure(errors.to_string().starts_with("cluster.yaml"), "the file is named", || {
                errors.to_string()
            })?;
            return Ok(false);
        }
    };
    let again = read(input, "cluster.yaml", Keep::COMPILED)
        .map(|again| titles(&again.items))
        .map_err(|e| e.to_string());
    ensure(again.as_ref() == Ok(&titles(&reading.items)), "read again it is the same", || {
        format!("{again:?}")
    })?;
    with_made(|made| {
        let cluster = Cluster::load(reading.items, &made.profiles);
        let pods = cluster.select(&[]).map_err(|error| format!("all pods can be asked for: {error}"))?;
        let pods = &pods[..pods.len().min(EXPLAINED_MAX)];
        let explainer = Explainer::new(&cluster, &made.profiles);
        for pod in pods {
            let answer = explainer.explain(pod).to_json();
            ensure(serde_json::from_str::<Value>(&answer).is_ok(), "an answer is JSON", || answer.clone())?;
        }
        gaps(&cluster, &made.profiles, pods).iter().try_for_each(|gap| ensure_told(gap))
    })?;
    Ok(true)
}

fn titles(items: &[secondmate_explain::Item]) -> Vec<String> {
    items.iter().map(secondmate_explain::Item::title).collect()
}
