//! The bind guard, if the cluster has one: whether it would answer the API server, and whether it has done so.
//!
//! The guard itself is not asked anything, and no bind is attempted: with the policy `Ignore`, the API server's answer to a bind does not
//! show whether the guard approved it or was not reached. But the API server counts the latter.

mod calls;

pub(crate) use calls::understood;

use super::{Doctor, GuardsService, Severity, check};
use crate::call::{Call, CallError};
use crate::dump::percent_encoded;
use crate::guard::certificate::{Facts, verify};
use crate::holders::Observed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use calls::Counted;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// A certificate is renewed in the last third of its life of 90 days, so one that expires this soon was not renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(14 * 86400);
/// What to do about the Secret if the guard is given its certificate in files: nothing keeps the Secret up to date any more.
const LEFT_OVER: &str = "if the guard serves with files (--guard-tls-cert-file) that do not come from this Secret, delete it: it is left over";
/// What to do if there is a guard and no webhook configuration.
const REGISTER: &str = "install it as docs/guard.md says (or name another configuration by --guard-webhook)";

pub(super) use crate::guard::is_lease as is_guards;

/// The parts of a ValidatingWebhookConfiguration that are read.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Configuration {
    webhooks: Vec<Webhook>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Webhook {
    name: String,
    client_config: ClientConfig,
    failure_policy: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClientConfig {
    ca_bundle: String,
    service: Option<Service>,
    url: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Service {
    namespace: String,
    name: String,
}

impl ClientConfig {
    /// The name or address that the guard's certificate must be valid for.
    fn host(&self) -> String {
        match &self.service {
            Some(service) => service.host(),
            None => {
                let url =
                    self.url.as_deref().and_then(|url| url.parse::<http::Uri>().ok()).unwrap_or_default();
                let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
                host.parse::<IpAddr>()
                    .map_or_else(|_| host.to_ascii_lowercase(), |address| address.to_string())
            }
        }
    }
}

impl Service {
    fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

/// The parts of a Service's spec that are read.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceSpec {
    r#type: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
}

impl ServiceSpec {
    /// Whether it refers to an external name, and so needs no endpoints.
    fn is_external(&self) -> bool {
        self.r#type == "ExternalName"
    }

    fn has(&self, address: IpAddr) -> bool {
        self.cluster_ips.iter().any(|own| own.parse() == Ok(address))
    }
}

/// What was found before the Leases were watched, which takes a while.
pub(super) struct Before {
    configuration: Configuration,
    counted: Result<Counted, CallError>,
}

impl Before {
    /// The Service through which the API server is configured to reach the guard; `None`: it has a URL.
    pub fn service(&self) -> Option<GuardsService> {
        let mut services =
            self.configuration.webhooks.iter().filter_map(|hook| hook.client_config.service.as_ref());
        services.next().map(|Service { namespace, name }| GuardsService {
            namespace: namespace.clone(),
            name: name.clone(),
        })
    }

    /// A registration, without anything that an API server has counted.
    #[cfg(test)]
    pub fn uncounted(configuration: Configuration) -> Self {
        Self { configuration, counted: Ok(Counted::default()) }
    }
}

impl Doctor {
    fn webhook(&self) -> String {
        format!("ValidatingWebhookConfiguration {}", self.options.webhook)
    }

    /// The guard's registration, and what has been counted so far; `None`: there is no guard to examine.
    pub(super) async fn guard_before(&mut self) -> Option<Before> {
        let name = &self.options.webhook;
        let path = format!("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{name}");
        let configuration = match self.caller.read(&Call::get(path)).await {
            Ok(body) => serde_json::from_slice(&body).unwrap_or_default(),
            Err(CallError::Answered { code: 404, .. }) => return None,
            Err(error) => {
                self.unknown(check::GUARD, self.webhook(), &error);
                return None;
            }
        };
        Some(Before { configuration, counted: self.counted().await })
    }

    pub(super) async fn guard(&mut self, before: Option<Before>, seen: Option<&Observed>) {
        let live = seen.is_some_and(|seen| seen.live.keys().any(|holder| is_guards(&holder.lease)));
        let Some(Before { configuration, counted }) = before else {
            let unknown = self.findings.iter().any(|finding| finding.check == check::GUARD);
            if !unknown {
                self.unregistered(live).await;
            }
            return;
        };
        let counted = self.counted_since(counted).await;
        let mut ready = false;
        for webhook in &configuration.webhooks {
            self.policy(webhook);
            let leads = match self.service(webhook).await {
                Some(service) => self.endpoints(&service).await,
                None => false,
            };
            ready |= leads;
            let is_answered = |(before, after): &(Counted, Counted)| after.is_answered(before, &webhook.name);
            let works = live && leads && counted.as_ref().is_some_and(is_answered);
            let now = self.now();
            if self.authority(webhook, now) {
                self.certificate(webhook, now, works).await;
            }
            if let Some((before, after)) = &counted {
                self.reached(webhook, before, after);
            }
        }
        match seen {
            None => self.not_judged(
                check::GUARD,
                self.webhook(),
                "whether a guard is there to decide",
                "the Leases",
            ),
            Some(_) if !live => self.without_lease(ready),
            Some(_) => {}
        }
    }

    /// There is no configuration. A guard that has never found one takes no Lease, and is known only by its Service. Its Secret says nothing:
    /// it stays when the guard is uninstalled.
    async fn unregistered(&mut self, live: bool) {
        let GuardsService { namespace, name } = self.options.guard.clone();
        let installed = Service { namespace, name };
        let (problem, remedy) = if live {
            (
                "it is not there, while a bind guard runs: the API server asks it about nothing".to_owned(),
                REGISTER.to_owned(),
            )
        } else if self.spec(&installed).await.is_ok() {
            let Service { namespace, name } = installed;
            (
                format!(
                    "it is not there, while the bind guard's Service {namespace}/{name} is: the API server asks no guard, and binds pass unseen"
                ),
                format!("{REGISTER}; if no guard is wanted, delete its Service and its Deployment"),
            )
        } else {
            return;
        };
        self.found(Severity::Fault, check::GUARD, self.webhook(), problem, remedy);
    }

    /// No live process holds the guard's Lease. A guard that runs without leader election has no Lease, and is known only by its endpoint.
    fn without_lease(&mut self, ready: bool) {
        let (severity, problem, remedy) = if ready {
            (
                Severity::Warning,
                "no live process holds the guard's Lease, while its Service has a ready endpoint: either the guard runs with --leader-elect=false, or nobody decides and binds pass unseen",
                "where secondmate guard runs with --leader-elect=false, let it be one process; otherwise see why none runs, and delete the EndpointSlice that is left",
            )
        } else {
            (
                Severity::Fault,
                "no live process holds the guard's Lease: nobody decides, and every bind passes unseen",
                "see why no secondmate guard runs or is ready, or delete the configuration",
            )
        };
        self.found(severity, check::GUARD, self.webhook(), problem, remedy);
    }

    fn policy(&mut self, webhook: &Webhook) {
        if webhook.failure_policy == "Fail" {
            self.found(
                Severity::Warning,
                check::GUARD,
                self.webhook(),
                format!(
                    "the failurePolicy of {} is Fail: while no guard answers, no pod is bound",
                    webhook.name
                ),
                "set failurePolicy: Ignore, as in manifests/overlays/guard/webhook.yaml",
            );
        }
    }

    /// Whether the certificate authority that the API server was given can be used.
    fn authority(&mut self, webhook: &Webhook, now: Timestamp) -> bool {
        let fault = |problem: String| (Severity::Fault, problem);
        let restart = "see the guard's log: it writes the caBundle, and needs get and update on this configuration; with --guard-tls-cert-file it does not, and the caBundle must be that of the authority of the file";
        let told = match decoded(&webhook.client_config.ca_bundle) {
            // An authority that the API server's machine trusts anyway.
            bundle if bundle.is_empty() && webhook.client_config.service.is_none() => Ok(()),
            bundle if bundle.is_empty() => Err(fault(format!(
                "{} has no caBundle: the API server trusts none of the guard's certificates, and binds pass unseen",
                webhook.name
            ))),
            bundle => match Facts::of(&bundle) {
                Err(error) => Err(fault(format!("the caBundle of {} cannot be used: {error}", webhook.name))),
                Ok(facts) => {
                    lasts(&format!("the authority in the caBundle of {}", webhook.name), &facts, now)
                        .map_err(unseen)
                }
            },
        };
        match told {
            Ok(()) => true,
            Err((severity, problem)) => {
                self.found(severity, check::GUARD, self.webhook(), problem, restart);
                severity == Severity::Warning
            }
        }
    }

    /// The certificate in the guard's Secret, as the API server will judge it. If the guard works all the same, it serves with another one.
    async fn certificate(&mut self, webhook: &Webhook, now: Timestamp, works: bool) {
        let namespace = match &webhook.client_config.service {
            Some(service) => &service.namespace,
            None => &self.options.guard.namespace,
        };
        let object = format!("Secret {namespace}/{}", self.options.secret);
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{}", self.options.secret);
        let body = match self.caller.read(&Call::get(path)).await {
            Ok(body) => body,
            // Its certificate comes from elsewhere.
            Err(CallError::Answered { code: 404, .. }) => return,
            Err(error) => return self.unknown(check::GUARD, object, &error),
        };
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Secret {
            data: BTreeMap<String, String>,
        }
        let secret: Secret = serde_json::from_slice(&body).unwrap_or_default();
        let served = decoded(secret.data.get("tls.crt").map_or("", String::as_str));
        let host = webhook.client_config.host();
        let bundle = decoded(&webhook.client_config.ca_bundle);
        let judged = Facts::of(&served).and_then(|facts| {
            // Without a bundle, the authority is one that only the API server's machine knows.
            if !bundle.is_empty() {
                verify(&served, &bundle, &host, now)?;
            }
            Ok(facts)
        });
        let renews = "see the guard's log: it renews the certificate by itself; or delete the Secret, so that it makes another one";
        let (told, remedy) = match judged {
            Err(error) if error.is_about_the_name() => {
                let problem =
                    format!("the API server asks {host}, which this certificate of the guard does not name");
                let remedy =
                    format!("start the guard with --guard-name={host}, or mend the webhook's clientConfig");
                ((Severity::Fault, problem), remedy)
            }
            Err(error) => {
                let why = crate::call::chain(&error);
                let problem = format!("the API server does not accept this certificate of the guard ({why})");
                ((Severity::Fault, problem), renews.to_owned())
            }
            Ok(facts) => match lasts("the guard's certificate", &facts, now) {
                Ok(()) => return,
                Err(told) => (told, renews.to_owned()),
            },
        };
        let ((severity, problem), remedy) = match told {
            (Severity::Fault, problem) if works => {
                let problem =
                    format!("{problem}, but the guard answers the API server, so it serves with another one");
                ((Severity::Warning, problem), format!("{LEFT_OVER}; otherwise {remedy}"))
            }
            told => (unseen(told), format!("{remedy}; {LEFT_OVER}")),
        };
        self.found(severity, check::GUARD, object, problem, remedy);
    }

    /// The Service through which the API server reaches the guard, if it can be determined: from its name, or from the address in a URL.
    async fn service(&mut self, webhook: &Webhook) -> Option<Service> {
        if let Some(service) = &webhook.client_config.service {
            return Some(service.clone());
        }
        let service = self.options.guard.clone();
        let service = Service { namespace: service.namespace, name: service.name };
        let host = webhook.client_config.host();
        let Ok(address) = host.parse::<IpAddr>() else {
            // Any other name may lead anywhere.
            return (host == service.host()).then_some(service);
        };
        let spec = match self.spec(&service).await {
            Ok(spec) => spec,
            Err(error) => {
                let Service { namespace, name } = service;
                self.found(
                    Severity::Unknown,
                    check::GUARD,
                    format!("Service {namespace}/{name}"),
                    format!("it cannot be read: {error}, so that it is not known whether {address} leads to the guard"),
                    "name the guard's Service by --guard-namespace and --guard-service, or ask with a user who may read it",
                );
                return None;
            }
        };
        if spec.has(address) {
            return Some(service);
        }
        let Service { namespace, name } = service;
        self.found(
            Severity::Warning,
            check::GUARD,
            self.webhook(),
            format!(
                "the API server asks {address}, and the guard's Service {namespace}/{name} has {}",
                spec.cluster_ips.join(", ")
            ),
            "unless something else leads from there to the guard, name the Service in the webhook's clientConfig instead of a URL",
        );
        None
    }

    async fn spec(&self, Service { namespace, name }: &Service) -> Result<ServiceSpec, CallError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Object {
            spec: ServiceSpec,
        }
        let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
        let body = self.caller.read(&Call::get(path)).await?;
        Ok(serde_json::from_slice::<Object>(&body).unwrap_or_default().spec)
    }

    /// Whether the Service has a ready endpoint. If it has none, that is a fault.
    async fn endpoints(&mut self, service: &Service) -> bool {
        let Service { namespace, name } = service;
        let selector = percent_encoded(&format!("kubernetes.io/service-name={name}"));
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={selector}"
        );
        let object = format!("Service {namespace}/{name}");
        match self.caller.read(&Call::get(path)).await {
            Ok(body) if leads_somewhere(&body) => return true,
            // If its spec cannot be read, it is assumed not to be an ExternalName Service.
            Ok(_) if self.spec(service).await.is_ok_and(|spec| spec.is_external()) => {}
            Ok(_) => {
                self.found(
                    Severity::Fault,
                    check::GUARD,
                    object,
                    "it has no ready endpoint: the API server reaches no guard, and binds pass unseen",
                    "see the log of the guard that holds the Lease: it writes the EndpointSlice, and needs --guard-address (POD_IP) for it",
                );
            }
            Err(error) => self.unknown(check::GUARD, object, &error),
        }
        false
    }

    /// What was counted before and is counted now.
    async fn counted_since(&mut self, before: Result<Counted, CallError>) -> Option<(Counted, Counted)> {
        let counted = match before {
            Ok(before) => self.counted().await.map(|after| (before, after)),
            Err(error) => Err(error),
        };
        let object = "API server's count of unanswered calls (/metrics)";
        counted.map_err(|error| self.unknown(check::GUARD, object, &error)).ok()
    }

    /// Whether the API server has received answers.
    fn reached(&mut self, webhook: &Webhook, before: &Counted, after: &Counted) {
        if let Some((severity, problem)) = after.judged(before, &webhook.name) {
            let remedy = "see whether the API server's machine reaches the guard's Service (network policy, host network), and secondmate_guard_connections_failed_total";
            let object = format!("webhook {}", webhook.name);
            self.found(severity, check::GUARD, object, problem, remedy);
        }
    }

    async fn counted(&self) -> Result<Counted, CallError> {
        let body = self.caller.read(&Call::get("/metrics".to_owned())).await?;
        Ok(Counted::read(&String::from_utf8_lossy(&body)))
    }
}

/// Decodes base64; empty if it cannot be decoded.
fn decoded(text: &str) -> String {
    STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Whether a certificate remains valid for some time.
fn lasts(what: &str, facts: &Facts, now: Timestamp) -> Result<(), (Severity, String)> {
    let at = |second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
    let soon = now.checked_add(RENEWED_BEFORE).unwrap_or(Timestamp::MAX);
    let (begin, end) = (at(facts.not_before), at(facts.not_after));
    if end < now {
        return Err((Severity::Fault, format!("{what} has expired at {end}")));
    }
    if begin > now {
        return Err((Severity::Fault, format!("{what} is not valid before {begin}")));
    }
    if end < soon {
        return Err((Severity::Warning, format!("{what} expires at {end}, and should have been renewed")));
    }
    Ok(())
}

/// Adds what follows from a fault of a certificate.
fn unseen((severity, problem): (Severity, String)) -> (Severity, String) {
    match severity {
        Severity::Fault => (severity, format!("{problem}: binds pass unseen")),
        Severity::Unknown | Severity::Warning => (severity, problem),
    }
}

/// Whether a list of EndpointSlices has an endpoint that is not marked as unready.
fn leads_somewhere(list: &[u8]) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct List {
        items: Vec<Slice>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Slice {
        endpoints: Option<Vec<Endpoint>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Endpoint {
        conditions: Conditions,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Conditions {
        ready: Option<bool>,
    }
    let list: List = serde_json::from_slice(list).unwrap_or_default();
    let mut endpoints = list.items.into_iter().flat_map(|slice| slice.endpoints.unwrap_or_default());
    endpoints.any(|endpoint| endpoint.conditions.ready != Some(false))
}

#[cfg(test)]
mod tests {
    use super::super::stub;
    use super::*;
    use crate::holders::Holder;
    use crate::lease::LeaseName;
    use serde_json::json;
    use std::collections::BTreeSet;

    /// A certificate (PEM) of an authority of its own.
    fn self_signed() -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    }

    /// What is told of a Secret whose certificate is not from the authority that the API server was given, as severity and remedy.
    /// `answered` is the number of binds that the API server has had an answer for, `missed` that of the others; each before and after.
    async fn of_another_secret(is_live: bool, answered: [u64; 2], missed: [u64; 2]) -> (Severity, String) {
        const NAME: &str = "guard.secondmate.dev";
        let metrics = |answered: u64, missed: u64| {
            format!(
                "process_start_time_seconds 1\n\
                 apiserver_admission_webhook_fail_open_count{{name=\"{NAME}\",type=\"validating\"}} {missed}\n\
                 apiserver_admission_webhook_request_total{{name=\"{NAME}\",type=\"validating\"}} {}\n",
                answered + missed
            )
        };
        let configuration = json!({ "webhooks": [{ "name": NAME, "failurePolicy": "Ignore", "clientConfig": {
            "caBundle": STANDARD.encode(self_signed()), "service": { "namespace": "ns", "name": "guard" },
        } }] });
        let configuration = serde_json::from_value(configuration).expect("a configuration");
        let before = Before { configuration, counted: Ok(Counted::read(&metrics(answered[0], missed[0]))) };
        let after = metrics(answered[1], missed[1]);
        let secret = json!({ "data": { "tls.crt": STANDARD.encode(self_signed()) } }).to_string();
        let slices = json!({ "items": [{ "endpoints": [{ "conditions": { "ready": true } }] }] }).to_string();
        let mut doctor = stub::doctor(move |path, _| match path.rsplit('/').next() {
            Some("metrics") => (200, after.clone()),
            Some("secondmate-guard-tls") => (200, secret.clone()),
            Some("endpointslices") => (200, slices.clone()),
            _ => (404, String::new()),
        });
        let holder = Holder {
            lease: LeaseName { namespace: "kube-system".to_owned(), name: "secondmate-guard".to_owned() },
            identity: "host_1".to_owned(),
            names: Vec::new(),
            may_not_list: false,
            program: None,
        };
        let times = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let live = is_live.then_some((holder, times)).into_iter().collect();
        doctor.guard(Some(before), Some(&Observed { live, dead: BTreeSet::new() })).await;
        let of_secret =
            doctor.findings.into_iter().filter(|found| found.object == "Secret ns/secondmate-guard-tls");
        let [found] = <[_; 1]>::try_from(of_secret.collect::<Vec<_>>()).expect("one finding");
        (found.severity, found.remedy)
    }

    #[tokio::test]
    async fn a_secret_that_the_guard_no_longer_uses_is_no_fault_while_the_guard_answers() {
        let (severity, remedy) = of_another_secret(true, [40, 41], [3, 3]).await;
        assert_eq!(severity, Severity::Warning);
        assert!(remedy.starts_with(LEFT_OVER), "{remedy}");
        for (is_live, answered, missed, why) in [
            (false, [40, 41], [0, 0], "no guard holds the Lease"),
            (true, [40, 41], [0, 1], "it has missed one just now"),
            (true, [40, 40], [3, 3], "it may have stopped answering since its last answer"),
            (true, [0, 0], [0, 0], "nothing shows that it answers"),
        ] {
            let (severity, remedy) = of_another_secret(is_live, answered, missed).await;
            assert_eq!(severity, Severity::Fault, "{why}");
            assert!(remedy.ends_with(LEFT_OVER), "{why}: {remedy}");
        }
    }

    #[tokio::test]
    async fn a_guard_that_is_installed_and_not_registered_is_told() {
        let told = async |of_configuration: u16, of_service: u16| {
            let mut doctor = stub::doctor(move |path, _| {
                if path.contains("/validatingwebhookconfigurations/") {
                    (of_configuration, String::new())
                } else if path == "/api/v1/namespaces/secondmate-guard/services/secondmate-guard" {
                    (of_service, "{}".to_owned())
                } else {
                    (404, String::new())
                }
            });
            let before = doctor.guard_before().await;
            assert!(before.is_none());
            let nobody = Observed { live: BTreeMap::new(), dead: BTreeSet::new() };
            doctor.guard(before, Some(&nobody)).await;
            let findings = doctor.findings.into_iter();
            findings.map(|found| (found.severity, found.problem)).collect::<Vec<_>>()
        };
        let missing = "it is not there, while the bind guard's Service secondmate-guard/secondmate-guard is: the API server asks no guard, and binds pass unseen";
        assert_eq!(told(404, 200).await, [(Severity::Fault, missing.to_owned())]);
        assert!(told(404, 404).await.is_empty(), "there is no guard");
        assert!(told(404, 403).await.is_empty(), "whether there is one is not known");
        let severities: Vec<Severity> = told(403, 200).await.into_iter().map(|found| found.0).collect();
        assert_eq!(severities, [Severity::Unknown], "the configuration may be there");
    }

    #[test]
    fn a_service_leads_to_endpoints_that_are_not_unready() {
        let leads = |endpoints: &str| {
            leads_somewhere(format!("{{\"items\": [{{\"endpoints\": {endpoints}}}]}}").as_bytes())
        };
        assert!(leads(r#"[{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]"#));
        assert!(leads(r#"[{"addresses": ["10.0.0.1"]}]"#));
        assert!(!leads(r#"[{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]"#));
        assert!(!leads("null") && !leads_somewhere(b"{}"));
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_before_it_does() {
        let now = Timestamp::from_second(1_000_000_000).expect("a time");
        let day = 86_400;
        let severity = |from: i64, to: i64| {
            let facts = Facts {
                not_before: 1_000_000_000 + from * day,
                not_after: 1_000_000_000 + to * day,
                names: Default::default(),
            };
            lasts("it", &facts, now).err().map(|(severity, _)| severity)
        };
        assert_eq!(severity(-60, 30), None);
        assert_eq!(severity(-80, 10), Some(Severity::Warning));
        assert_eq!(severity(-91, -1), Some(Severity::Fault));
        assert_eq!(severity(1, 91), Some(Severity::Fault));
    }
}
