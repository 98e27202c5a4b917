//! Errors of the API, in the words and with the `Status` body of a real API server.

use serde_json::{Value, json};

/// An error, which becomes an HTTP code and a `v1.Status` body.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, for example `NotFound`.
    pub reason: &'static str,
    /// The message for people.
    pub message: String,
    /// `Status.details`, or null.
    pub details: Value,
    /// Seconds for the `Retry-After` header.
    pub retry_after_s: Option<u32>,
}

impl ApiError {
    /// An error without details.
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { code, reason, message: message.into(), details: Value::Null, retry_after_s: None }
    }

    fn with_details(mut self, group: &str, kind: &str, name: &str) -> ApiError {
        let mut details = json!({ "kind": kind });
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        self.details = details;
        self
    }

    /// 400.
    pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "BadRequest", message)
    }

    /// 404 for an object. `resource` is the plural name, `group` may be empty.
    pub(crate) fn not_found(group: &str, resource: &str, name: &str) -> ApiError {
        let qualified = qualified(group, resource);
        ApiError::new(404, "NotFound", format!("{qualified} \"{name}\" not found"))
            .with_details(group, resource, name)
    }

    /// 404 for a path at which nothing is served.
    pub(crate) fn no_such_path() -> ApiError {
        let mut error = ApiError::new(404, "NotFound", "the server could not find the requested resource");
        error.details = json!({});
        error
    }

    /// 409 for a name that is taken.
    pub(crate) fn already_exists(group: &str, resource: &str, name: &str) -> ApiError {
        let qualified = qualified(group, resource);
        ApiError::new(409, "AlreadyExists", format!("{qualified} \"{name}\" already exists"))
            .with_details(group, resource, name)
    }

    /// 409 for a write that lost a race or a precondition.
    pub(crate) fn conflict(group: &str, resource: &str, name: &str, why: &str) -> ApiError {
        let qualified = qualified(group, resource);
        ApiError::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {qualified} \"{name}\": {why}"),
        )
        .with_details(group, resource, name)
    }

    /// 409 for a stale resourceVersion.
    pub(crate) fn modified(group: &str, resource: &str, name: &str) -> ApiError {
        ApiError::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422 with the list of field errors.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> ApiError {
        let qualified = qualified(group, kind);
        let mut texts: Vec<String> = Vec::new();
        for error in errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut error = ApiError::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {list}"))
            .with_details(group, kind, name);
        error.details["causes"] = errors
            .iter()
            .map(|e| json!({ "reason": e.kind.cause(), "message": e.body(), "field": e.field }))
            .collect();
        error
    }

    /// 403.
    pub(crate) fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> ApiError {
        let qualified = qualified(group, resource);
        let object = if name.is_empty() { qualified } else { format!("{qualified} \"{name}\"") };
        ApiError::new(403, "Forbidden", format!("{object} is forbidden: {why}"))
            .with_details(group, resource, name)
    }

    /// 405.
    pub(crate) fn method_not_allowed(group: &str, resource: &str, action: &str) -> ApiError {
        let qualified = qualified(group, resource);
        ApiError::new(
            405,
            "MethodNotAllowed",
            format!("{action} is not supported on resources of kind \"{qualified}\""),
        )
        .with_details(group, resource, "")
    }

    /// 405 for a method that no verb has.
    pub(crate) fn no_such_method() -> ApiError {
        let mut error = ApiError::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        error.details = json!({});
        error
    }

    /// 504 for a resourceVersion that does not exist yet; clients look at the cause.
    pub(crate) fn too_large_version(asked: u64, current: u64) -> ApiError {
        let mut error = ApiError::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        );
        let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
        error.details = json!({ "causes": [cause], "retryAfterSeconds": 1 });
        error
    }

    /// 410 for a resourceVersion or continue token that is outside of the window.
    pub(crate) fn expired(message: impl Into<String>) -> ApiError {
        ApiError::new(410, "Expired", message)
    }

    /// 415 for a content type that is not supported here.
    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> ApiError {
        ApiError::new(415, "UnsupportedMediaType", message)
    }

    /// 429 with `Retry-After`.
    pub(crate) fn too_many_requests(retry_after_s: u32, message: impl Into<String>) -> ApiError {
        let mut error = ApiError::new(429, "TooManyRequests", message);
        error.details = json!({ "retryAfterSeconds": retry_after_s });
        error.retry_after_s = Some(retry_after_s);
        error
    }

    /// The `v1.Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// The kinds of field errors of upstream's `field.Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldErrorKind {
    Required,
    Invalid,
    Forbidden,
    NotSupported,
    Duplicate,
}

impl FieldErrorKind {
    fn text(self) -> &'static str {
        match self {
            FieldErrorKind::Required => "Required value",
            FieldErrorKind::Invalid => "Invalid value",
            FieldErrorKind::Forbidden => "Forbidden",
            FieldErrorKind::NotSupported => "Unsupported value",
            FieldErrorKind::Duplicate => "Duplicate value",
        }
    }

    fn cause(self) -> &'static str {
        match self {
            FieldErrorKind::Required => "FieldValueRequired",
            FieldErrorKind::Invalid => "FieldValueInvalid",
            FieldErrorKind::Forbidden => "FieldValueForbidden",
            FieldErrorKind::NotSupported => "FieldValueNotSupported",
            FieldErrorKind::Duplicate => "FieldValueDuplicate",
        }
    }
}

/// One field of an object that does not validate.
#[derive(Debug, Clone)]
pub(crate) struct FieldError {
    field: String,
    kind: FieldErrorKind,
    value: Option<Value>,
    detail: String,
}

impl FieldError {
    pub(crate) fn required(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), kind: FieldErrorKind::Required, value: None, detail: detail.into() }
    }

    pub(crate) fn invalid(
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> FieldError {
        FieldError {
            field: field.into(),
            kind: FieldErrorKind::Invalid,
            value: Some(value.into()),
            detail: detail.into(),
        }
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError {
            field: field.into(),
            kind: FieldErrorKind::Forbidden,
            value: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> FieldError {
        FieldError {
            field: field.into(),
            kind: FieldErrorKind::Duplicate,
            value: Some(value.into()),
            detail: String::new(),
        }
    }

    pub(crate) fn not_supported(field: impl Into<String>, value: &str, supported: &[&str]) -> FieldError {
        let quoted: Vec<String> = supported.iter().map(|s| format!("\"{s}\"")).collect();
        FieldError {
            field: field.into(),
            kind: FieldErrorKind::NotSupported,
            value: Some(Value::from(value)),
            detail: format!("supported values: {}", quoted.join(", ")),
        }
    }

    fn body(&self) -> String {
        let mut body = self.kind.text().to_owned();
        if let Some(value) = &self.value {
            body.push_str(": ");
            body.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            body.push_str(": ");
            body.push_str(&self.detail);
        }
        body
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}
