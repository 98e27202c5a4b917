//! HTTP extenders: decoded and validated here, called elsewhere.

use std::fmt;
use std::time::Duration;

use http::Uri;
use rustls_pki_types::ServerName;
use secondmate_model::{duration, url};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::names;
use crate::object::{Object, to_duration};
use crate::problem::{Path, ProblemKind, Problems, quoted};

/// The address of an HTTP extender, and how it is called.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Extender {
    /// The URL prefix of every verb. It may contain credentials, which are never shown.
    #[serde(serialize_with = "without_credentials")]
    pub url_prefix: String,
    /// Verb of the filter call; empty: not called.
    pub filter_verb: String,
    /// Verb of the preempt call; empty: not called.
    pub preempt_verb: String,
    /// Verb of the prioritize call; empty: not called.
    pub prioritize_verb: String,
    /// Factor of the extender's scores.
    pub weight: i64,
    /// Verb of the bind call; empty: not called.
    pub bind_verb: String,
    /// Whether TLS is enabled.
    #[serde(rename = "enableHTTPS")]
    pub enable_https: bool,
    /// The TLS settings.
    pub tls_config: Option<ExtenderTls>,
    /// Maximum time to wait for a response; `None`: 5 seconds.
    #[serde(serialize_with = "as_text")]
    pub http_timeout: Option<Duration>,
    /// The extender has its own cache of nodes, so only their names are sent.
    pub node_cache_capable: bool,
    /// Only pods that request one of these are sent; empty: all pods.
    pub managed_resources: Vec<ManagedResource>,
    /// Failures of the extender are ignored.
    pub ignorable: bool,
}

impl Extender {
    /// The URL without credentials, as it is called and shown.
    #[must_use]
    pub fn bare_url(&self) -> String {
        url::bare(&self.url_prefix)
    }

    /// `NAME:PASSWORD` in the URL, percent-encoded as given.
    #[must_use]
    pub fn credentials(&self) -> Option<&str> {
        url::credentials(&self.url_prefix)
    }

    /// As configured, including secrets.
    pub(crate) fn to_whole_value(&self) -> Value {
        let mut value = json!(self);
        value["urlPrefix"] = json!(self.url_prefix);
        if let Some(tls) = &self.tls_config {
            for (field, data) in
                [("certData", &tls.cert_data), ("keyData", &tls.key_data), ("caData", &tls.ca_data)]
            {
                value["tlsConfig"][field] = json!(data);
            }
        }
        value
    }
}

impl fmt::Debug for Extender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In the form that is used elsewhere: without secrets.
        let value = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        write!(f, "Extender {value}")
    }
}

fn without_credentials<S: Serializer>(prefix: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&url::bare(prefix))
}

fn as_text<S: Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    timeout.map(duration::format).serialize(serializer)
}

/// TLS settings of an extender. The data fields take precedence over the file fields.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtenderTls {
    /// The server's certificate is not verified.
    pub insecure: bool,
    /// The name that the server's certificate must have.
    pub server_name: String,
    /// File with the client certificate.
    pub cert_file: String,
    /// File with the client key.
    pub key_file: String,
    /// File with the trusted certificates.
    #[serde(rename = "caFile")]
    pub ca_file: String,
    /// The client certificate, base64.
    #[serde(skip)]
    pub cert_data: String,
    /// The client key, base64. Never shown.
    #[serde(skip)]
    pub key_data: String,
    /// The trusted certificates, base64.
    #[serde(skip)]
    pub ca_data: String,
}

impl std::fmt::Debug for ExtenderTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the data fields: the key is a secret.
        f.debug_struct("ExtenderTls")
            .field("insecure", &self.insecure)
            .field("server_name", &self.server_name)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl ExtenderTls {
    /// Whether a certificate authority is given.
    #[must_use]
    pub fn has_authority(&self) -> bool {
        !(self.ca_file.is_empty() && self.ca_data.is_empty())
    }

    /// Whether verification is turned off although an authority is given.
    #[must_use]
    pub fn contradicts_itself(&self) -> bool {
        self.insecure && self.has_authority()
    }

    /// Whether there is a client certificate with its key.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.certificate_parts() == (true, true)
    }

    /// Whether there is only one of the two, which is useless.
    #[must_use]
    pub fn has_half_a_certificate(&self) -> bool {
        let (certificate, key) = self.certificate_parts();
        certificate != key
    }

    fn certificate_parts(&self) -> (bool, bool) {
        let given = |file: &str, data: &str| !(file.is_empty() && data.is_empty());
        (given(&self.cert_file, &self.cert_data), given(&self.key_file, &self.key_data))
    }

    /// Whether the client certificate and its key come only from files, which may be renewed.
    #[must_use]
    pub fn certificate_is_in_files(&self) -> bool {
        let data = !(self.cert_data.is_empty() && self.key_data.is_empty());
        self.has_certificate() && !data
    }
}

/// A resource that an extender manages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedResource {
    /// Name of the extended resource.
    pub name: String,
    /// The scheduler itself does not check it.
    pub ignored_by_scheduler: bool,
}

pub(crate) fn read(object: Object<'_>, problems: &Problems) -> Extender {
    let extender = Extender {
        url_prefix: object.text("urlPrefix"),
        filter_verb: object.text("filterVerb"),
        preempt_verb: object.text("preemptVerb"),
        prioritize_verb: object.text("prioritizeVerb"),
        weight: object.int64("weight").unwrap_or(0),
        bind_verb: object.text("bindVerb"),
        enable_https: object.boolean("enableHTTPS").unwrap_or(false),
        tls_config: object.object("tlsConfig").map(|tls| read_tls(tls, problems)),
        // Go's client waits forever if it is negative, which is not done here.
        http_timeout: object.duration("httpTimeout").filter(|timeout| *timeout > 0).map(to_duration),
        node_cache_capable: object.boolean("nodeCacheCapable").unwrap_or(false),
        managed_resources: object
            .list("managedResources", |node, path| {
                let object = Object::open(node, path, problems)?;
                let resource = ManagedResource {
                    name: object.text("name"),
                    ignored_by_scheduler: object.boolean("ignoredByScheduler").unwrap_or(false),
                };
                object.close();
                Some(resource)
            })
            .unwrap_or_default(),
        ignorable: object.boolean("ignorable").unwrap_or(false),
    };
    object.close();
    extender
}

fn read_tls(object: Object<'_>, problems: &Problems) -> ExtenderTls {
    let data = |name| {
        // Go's decoder ignores line breaks, so wrapped data is accepted.
        let text = object.text(name).replace(['\r', '\n'], "");
        if !is_base64(&text) {
            problems.report(ProblemKind::Decoding, &object.path.child(name), "Invalid value: must be base64");
        }
        text
    };
    let tls = ExtenderTls {
        insecure: object.boolean("insecure").unwrap_or(false),
        server_name: object.text("serverName"),
        cert_file: object.text("certFile"),
        key_file: object.text("keyFile"),
        ca_file: object.text("caFile"),
        cert_data: data("certData"),
        key_data: data("keyData"),
        ca_data: data("caData"),
    };
    object.close();
    tls
}

fn is_base64(text: &str) -> bool {
    let data = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - data.len() <= 2
        && data.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

/// Whether an HTTP client can be made for its URL.
fn has_url(extender: &Extender) -> bool {
    let url = extender.bare_url().parse::<Uri>();
    url.is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some())
}

/// kube-scheduler's rules for `extenders`, and one more: each must have a usable URL and server name. kube-scheduler starts without them,
/// and each call fails.
pub(crate) fn validate(extenders: &[Extender], path: &Path, problems: &Problems) {
    let mut managed: Vec<&str> = Vec::new();
    for (index, extender) in extenders.iter().enumerate() {
        let path = path.index(index);
        if !has_url(extender) {
            problems.invalid(
                &path.child("urlPrefix"),
                quoted(extender.bare_url()),
                "must be a URL with http:// or https:// and a host (e.g. http://gpu-extender.kube-system:8080/scheduler)",
            );
        }
        if let Some(tls) = &extender.tls_config
            && !tls.server_name.is_empty()
            && ServerName::try_from(tls.server_name.as_str()).is_err()
        {
            problems.invalid(
                &path.child("tlsConfig").child("serverName"),
                quoted(&tls.server_name),
                "is neither a DNS name nor an address",
            );
        }
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            problems.invalid(
                &path.child("weight"),
                extender.weight,
                "must have a positive weight applied to it",
            );
        }
        // kube-scheduler notices this when it creates the client, and fails to start.
        if extender.tls_config.as_ref().is_some_and(ExtenderTls::contradicts_itself) {
            problems.forbidden(
                &path.child("tlsConfig").child("insecure"),
                "insecure and a certificate authority (caFile, caData) exclude each other; remove one",
            );
        }
        for (index, resource) in extender.managed_resources.iter().enumerate() {
            let path = path.child("managedResources").index(index).child("name");
            let wrong = names::is_label_key(&resource.name);
            if wrong.is_empty() && !names::is_extended_resource(&resource.name) {
                problems.invalid(&path, quoted(&resource.name), "is an invalid extended resource name");
            }
            for message in wrong {
                problems.invalid(&path, quoted(&resource.name), message);
            }
            if managed.contains(&resource.name.as_str()) {
                problems.invalid(&path, quoted(&resource.name), "duplicate extender managed resource name");
            }
            managed.push(&resource.name);
        }
    }
    let binders = extenders.iter().filter(|extender| !extender.bind_verb.is_empty()).count();
    if binders > 1 {
        problems.invalid(
            path,
            quoted(format!("found {binders} extenders implementing bind")),
            "only one extender can implement bind",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_a_url_are_shown_nowhere() {
        for (url, credentials, bare) in [
            ("https://me:se%20cret@host:8443/p", Some("me:se%20cret"), "https://host:8443/p"),
            ("http://me@host", Some("me"), "http://host"),
            ("http://host/a@b", None, "http://host/a@b"),
            ("http://host", None, "http://host"),
        ] {
            let extender = Extender { url_prefix: url.to_owned(), ..Extender::default() };
            assert_eq!((extender.credentials(), &*extender.bare_url()), (credentials, bare));
            let shown = [format!("{extender:?}"), serde_json::to_string(&extender).expect("JSON")];
            assert!(shown.iter().all(|text| text.contains(bare) && !text.contains("cret")), "{shown:?}");
        }
    }
}
