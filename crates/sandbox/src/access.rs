//! Access control: everybody may do everything, until a test denies something.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::request::RequestClass;

#[derive(Debug)]
struct Denial {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
}

/// The denials in force: answered by SelfSubjectAccessReview and enforced with 403.
#[derive(Debug, Default)]
pub struct Access {
    denials: Mutex<Vec<Denial>>,
}

impl Access {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Denial>> {
        self.denials.lock().expect("nothing panics while it holds the denials")
    }

    /// Denies requests from now on. `*` stands for any verb, group, resource or subresource; an empty group means core, an empty
    /// subresource the resource itself.
    pub fn deny(&self, verb: &str, group: &str, resource: &str, subresource: &str) {
        self.lock().push(Denial {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
        });
    }

    /// Allows everything again.
    pub fn allow_all(&self) {
        self.lock().clear();
    }

    fn is_denied(&self, verb: &str, group: &str, resource: &str, subresource: &str) -> bool {
        let matches = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        self.lock().iter().any(|d| {
            matches(&d.verb, verb)
                && matches(&d.group, group)
                && matches(&d.resource, resource)
                && matches(&d.subresource, subresource)
        })
    }

    pub(crate) fn check(&self, class: &RequestClass, namespace: &str, name: &str) -> Result<(), ApiError> {
        if !self.is_denied(class.verb.as_str(), &class.group, &class.resource, &class.subresource) {
            return Ok(());
        }
        let resource = match class.subresource.as_str() {
            "" => class.resource.clone(),
            sub => format!("{}/{sub}", class.resource),
        };
        let scope = match namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        Err(ApiError::forbidden(
            &class.group,
            &class.resource,
            name,
            &format!(
                "User \"sandbox\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
                class.verb.as_str(),
                class.group
            ),
        ))
    }

    /// Answers a SelfSubjectAccessReview.
    pub(crate) fn review(&self, mut review: Value) -> Value {
        let attributes = &review["spec"]["resourceAttributes"];
        let text = |field: &str| attributes[field].as_str().unwrap_or_default();
        let denied = self.is_denied(text("verb"), text("group"), text("resource"), text("subresource"));
        review["status"] = if denied {
            json!({ "allowed": false, "reason": "denied by the sandbox's configuration" })
        } else {
            json!({ "allowed": true })
        };
        review
    }
}
