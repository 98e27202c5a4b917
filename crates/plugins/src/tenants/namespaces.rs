//! TenantNamespaces: only pods of the tenant's namespaces may use its scheduler name.

use crate::arguments::{parse, refused};
use secondmate_framework::{
    ActionType, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Handle, Hint,
    NodeParts, ObjectChange, Plugin, PluginError, PodParts, PreFilter, PreFilterOutcome, Status,
};
use secondmate_model::objects::{Object, ObjectKind};
use secondmate_model::{Atom, LabelSelector, Labels, NodeInfo, Pod, wire};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "TenantNamespaces";

/// Maximum number of names in a message.
const NAMES_MAX: usize = 5;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    /// Who may use the profile's name.
    allowed: Allowed,
    /// The other tenants.
    others: Vec<Other>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Allowed {
    names: Vec<String>,
    selector: Option<wire::LabelSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Other {
    scheduler_name: String,
    /// Who may use its name; unset: everybody.
    allowed: Option<Allowed>,
}

/// Namespaces by name or by label.
#[derive(Debug)]
struct Namespaces {
    names: Vec<Atom>,
    selector: LabelSelector,
}

impl Namespaces {
    fn new(allowed: &Allowed) -> Result<Self, PluginError> {
        let selector = LabelSelector::optional(allowed.selector.as_ref())
            .map_err(|error| refused(NAME, format!("selector: {error}")))?;
        Ok(Self { names: allowed.names.iter().map(|name| Atom::new(name)).collect(), selector })
    }

    /// Whether the namespace is one of them; `labels` are its labels, if known.
    fn contain(&self, namespace: &Atom, labels: Option<&Labels>) -> bool {
        self.names.contains(namespace) || labels.is_some_and(|labels| self.selector.matches(labels))
    }

    /// As described in a message.
    fn text(&self) -> String {
        let mut parts: Vec<String> =
            self.names.iter().take(NAMES_MAX).map(|name| format!("{:?}", name.as_str())).collect();
        if let more @ 1.. = self.names.len().saturating_sub(NAMES_MAX) {
            parts.push(format!("{more} more"));
        }
        if !self.selector.is_nothing() {
            parts.push(format!("those labelled {}", self.selector));
        }
        match parts.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => "none".to_owned(),
        }
    }
}

/// The plugin.
#[derive(Debug)]
pub struct TenantNamespaces {
    scheduler: Atom,
    allowed: Namespaces,
    /// Who may use the name, in words.
    text: String,
    /// The other tenants, by scheduler name; `None`: everybody may use it.
    others: Vec<(String, Option<Namespaces>)>,
}

/// Creates the plugin from the tenants in the configuration.
///
/// # Errors
/// The arguments are not valid for the plugin, or a selector is invalid.
pub fn new(args: &Value, handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let args: Args = parse(NAME, args)?;
    let allowed = Namespaces::new(&args.allowed)?;
    let others = args
        .others
        .into_iter()
        .map(|other| {
            let allowed = other.allowed.as_ref().map(Namespaces::new).transpose()?;
            Ok((other.scheduler_name, allowed))
        })
        .collect::<Result<_, PluginError>>()?;
    Ok(Arc::new(TenantNamespaces {
        scheduler: handle.profile.clone(),
        text: allowed.text(),
        allowed,
        others,
    }))
}

impl TenantNamespaces {
    /// The message for a pod whose namespace may not use the name.
    fn refusal(&self, namespace: &Atom, labels: Option<&Labels>) -> String {
        let mut text = format!(
            "namespace {:?} may not use scheduler {:?}, which is for {}",
            namespace.as_str(),
            self.scheduler.as_str(),
            self.text
        );
        let open = self
            .others
            .iter()
            .filter(|(_, allowed)| allowed.as_ref().is_none_or(|allowed| allowed.contain(namespace, labels)));
        let open: Vec<String> = open.take(NAMES_MAX).map(|(name, _)| format!("{name:?}")).collect();
        if !open.is_empty() {
            text.push_str("; it may use ");
            text.push_str(&open.join(", "));
        }
        text
    }
}

fn labels<'a>(cx: &Context<'a>, namespace: &Atom) -> Option<&'a Labels> {
    cx.snapshot.objects().namespaces.get(namespace)
}

impl Plugin for TenantNamespaces {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::LABELS, NodeParts::NONE).with_objects(&[ObjectKind::Namespace])
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(EventResource::Namespace, ActionType::ADD | ActionType::UPDATE)]
    }

    fn hint(&self, pod: &Pod, change: &ObjectChange) -> Hint {
        match change.new.as_ref().and_then(|new| new.other()).map(AsRef::as_ref) {
            Some(Object::Namespace(name, labels))
                if *name == pod.namespace && self.allowed.contain(name, Some(labels)) =>
            {
                Hint::Queue
            }
            _ => Hint::Skip,
        }
    }

    fn facts(
        &self,
        cx: &Context<'_>,
        _state: &CycleState,
        pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let labels = labels(cx, &pod.namespace);
        if node.is_some()
            || self.allowed.contain(&pod.namespace, labels)
            || self.allowed.selector.is_nothing()
        {
            return Vec::new();
        }
        let selector = &self.allowed.selector;
        let text = match labels {
            None => format!("namespace {} is not known", pod.namespace),
            Some(_) => format!("namespace {} is not labelled {selector}", pod.namespace),
        };
        vec![
            Fact::new(text).helped_by(format!("labels on namespace {} that match {selector}", pod.namespace)),
        ]
    }
}

impl PreFilter for TenantNamespaces {
    fn pre_filter(&self, cx: &Context<'_>, _state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        let labels = labels(cx, &pod.namespace);
        if self.allowed.contain(&pod.namespace, labels) {
            // There is no filter.
            return Status::skip().into();
        }
        Status::unresolvable(self.refusal(&pod.namespace, labels)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{changed, context, pod, snapshot};
    use secondmate_framework::Parity;
    use serde_json::json;

    fn plugin(args: Value) -> Arc<dyn Plugin> {
        new(&args, &Handle::new(Atom::new("red-scheduler"), Parity::Strict)).expect("sound arguments")
    }

    fn namespace(name: &str, tenant: &str) -> Value {
        json!({"kind": "Namespace", "metadata": {"name": name, "labels": {"tenant": tenant}}})
    }

    fn by_label(tenant: &str) -> Value {
        json!({"selector": {"matchLabels": {"tenant": tenant}}})
    }

    fn verdict(args: Value, namespaces: Vec<Value>, namespace: &str) -> Status {
        let pod = pod(json!({"metadata": {"name": "p", "namespace": namespace}, "spec": {"containers": []}}));
        let snapshot = snapshot(namespaces);
        let point = plugin(args).as_pre_filter().expect("it acts at PreFilter");
        point.pre_filter(&context(&snapshot), &mut CycleState::new(), &pod).status
    }

    #[test]
    fn namespaces_are_allowed_by_name_or_by_label() {
        let both = || json!({"allowed": {"names": ["red"], "selector": {"matchLabels": {"tenant": "red"}}}});
        let namespaces = || vec![namespace("red-dev", "red"), namespace("shop", "blue")];
        for allowed in ["red", "red-dev"] {
            assert_eq!(verdict(both(), namespaces(), allowed), Status::skip(), "{allowed}");
        }
        let may =
            r#"may not use scheduler "red-scheduler", which is for "red" and those labelled tenant=red"#;
        for refused in ["shop", "unknown"] {
            let expected = Status::unresolvable(format!("namespace {refused:?} {may}"));
            assert_eq!(verdict(both(), namespaces(), refused), expected);
        }
    }

    #[test]
    fn the_refusal_names_whom_the_name_is_for_and_which_names_are_open() {
        let many: Vec<String> = (0..7).map(|at| format!("n{at}")).collect();
        let others = json!([
            {"schedulerName": "blue-scheduler", "allowed": by_label("blue")},
            {"schedulerName": "green-scheduler", "allowed": {"names": ["green"]}},
            {"schedulerName": "common-scheduler"},
        ]);
        let args = json!({"allowed": {"names": many}, "others": others});
        assert_eq!(
            verdict(args, vec![namespace("shop", "blue")], "shop").message(),
            r#"namespace "shop" may not use scheduler "red-scheduler", which is for "n0", "n1", "n2", "n3", "n4" and 2 more; it may use "blue-scheduler", "common-scheduler""#
        );
    }

    #[test]
    fn the_pod_is_woken_when_its_namespace_is_allowed() {
        let plugin = plugin(json!({"allowed": by_label("red")}));
        let waiting =
            pod(json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"containers": []}}));
        let (blue, red) = (namespace("shop", "blue"), namespace("shop", "red"));
        for (change, expected) in [
            (changed(None, Some(red.clone())), Hint::Queue),
            (changed(Some(blue.clone()), Some(red.clone())), Hint::Queue),
            (changed(Some(red.clone()), Some(blue)), Hint::Skip),
            (changed(None, Some(namespace("other", "red"))), Hint::Skip),
            (changed(Some(red), None), Hint::Skip),
        ] {
            assert_eq!(plugin.hint(&waiting, &change), expected, "{change:?}");
        }
    }

    #[test]
    fn a_wrong_selector_is_refused() {
        let wrong =
            json!({"allowed": {"selector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}});
        let error = new(&wrong, &Handle::default()).err().expect("refused").to_string();
        assert!(error.contains("selector: \"Near\" is not a valid label selector operator"), "{error}");
    }
}
