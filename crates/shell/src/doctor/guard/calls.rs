//! What an API server counts of the binds that a webhook was to be asked about: each API server its own, since it started.

use crate::doctor::Severity;
use std::collections::BTreeMap;

/// What one API server has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// When its process started. Of several API servers behind one address, it tells one from another.
    started: Option<String>,
    /// Calls of validating webhooks, by the webhook's name.
    by_webhook: BTreeMap<String, Calls>,
}

/// What one API server has counted of a webhook since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Calls {
    /// Binds that passed without an answer from the webhook.
    unanswered: u64,
    /// All binds that the webhook was to be asked about.
    all: u64,
}

impl Counted {
    /// What an API server's metrics say.
    pub fn read(metrics: &str) -> Self {
        let mut counted = Self::default();
        for line in metrics.lines() {
            if let Some(second) = line.strip_prefix("process_start_time_seconds ") {
                counted.started = counted.started.max(Some(second.trim().to_owned()));
                continue;
            }
            let Some((family, rest)) = line.split_once('{') else { continue };
            let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
            let label = |name: &str| {
                labels
                    .split(',')
                    .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
            };
            if label("type") != Some("validating") {
                continue;
            }
            let (Some(name), Ok(value)) = (label("name"), value.parse::<f64>()) else { continue };
            let value = value as u64;
            let of = counted.by_webhook.entry(name.to_owned()).or_default();
            let sum = match family {
                "apiserver_admission_webhook_fail_open_count" => &mut of.unanswered,
                "apiserver_admission_webhook_request_total" => &mut of.all,
                _ => continue,
            };
            *sum = sum.saturating_add(value);
        }
        counted
    }

    fn of(&self, webhook: &str) -> Calls {
        self.by_webhook.get(webhook).copied().unwrap_or_default()
    }

    /// What the same API server had counted before; `None` if it was another one, or has restarted, or if that is not known.
    fn earlier(&self, before: &Self, webhook: &str) -> Option<Calls> {
        let is_same = self.started.is_some() && self.started == before.started;
        is_same.then(|| before.of(webhook))
    }

    /// Whether the webhook answers this API server: there were binds during the examination, and it answered them all. Older answers show
    /// nothing about now.
    pub fn is_answered(&self, before: &Self, webhook: &str) -> bool {
        let after = self.of(webhook);
        self.earlier(before, webhook)
            .is_some_and(|before| after.all > before.all && after.unanswered == before.unanswered)
    }

    /// What follows for a webhook, given what was counted before the examination.
    pub fn judged(&self, before: &Self, webhook: &str) -> Option<(Severity, String)> {
        let after = self.of(webhook);
        let now = self
            .earlier(before, webhook)
            .map_or(0, |before| after.unanswered.saturating_sub(before.unanswered));
        if now > 0 {
            return Some((
                Severity::Fault,
                format!(
                    "the API server did not reach it for {now} binds during this examination: they passed unseen"
                ),
            ));
        }
        if after.unanswered > 0 && after.unanswered >= after.all {
            return Some((
                Severity::Fault,
                format!(
                    "the API server has never been answered by it: {} binds passed unseen since it started",
                    after.unanswered
                ),
            ));
        }
        (after.unanswered > 0).then(|| {
            (
                Severity::Warning,
                format!(
                    "the API server was not answered for {} of {} binds since it started; how many of them lately is not known",
                    after.unanswered, after.all
                ),
            )
        })
    }
}

/// What is read from an API server's metrics.
pub(crate) fn understood(metrics: &str) -> String {
    let Counted { started, by_webhook } = Counted::read(metrics);
    match started {
        None => format!("{by_webhook:?}"),
        Some(second) => format!("{by_webhook:?} since {second:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: &str = "guard.secondmate.dev";

    /// The metrics of an API server that started at this second.
    fn counted(started: &str, unanswered: u64, all: u64) -> Counted {
        Counted::read(&format!(
            "apiserver_admission_webhook_fail_open_count{{name=\"{GUARD}\",type=\"validating\"}} {unanswered}\n\
             apiserver_admission_webhook_request_total{{code=\"200\",name=\"{GUARD}\",operation=\"CREATE\",rejected=\"false\",type=\"validating\"}} {all}\n\
             process_start_time_seconds {started}\n"
        ))
    }

    #[test]
    fn what_the_api_server_counted() {
        let metrics = r#"# HELP apiserver_admission_webhook_fail_open_count [ALPHA] ...
apiserver_admission_webhook_fail_open_count{name="guard.secondmate.dev",type="validating"} 3
apiserver_admission_webhook_request_total{code="200",name="guard.secondmate.dev",operation="CREATE",rejected="false",type="validating"} 40
apiserver_admission_webhook_request_total{code="500",name="guard.secondmate.dev",operation="CREATE",rejected="false",type="validating"} 3
apiserver_admission_webhook_request_total{code="200",name="x",operation="CREATE",rejected="false",type="admit"} 7
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.7e+09
"#;
        let calls = Calls { unanswered: 3, all: 43 };
        let expected = Counted {
            started: Some("1.7e+09".to_owned()),
            by_webhook: BTreeMap::from([(GUARD.to_owned(), calls)]),
        };
        assert_eq!(Counted::read(metrics), expected);
        assert_eq!(understood(""), "{}");
    }

    #[test]
    fn what_follows_from_the_counts() {
        let severity = |before: Counted, after: Counted| after.judged(&before, GUARD).map(|judged| judged.0);
        let then = |unanswered, all| counted("1.7e+09", unanswered, all);
        assert_eq!(severity(then(0, 0), then(0, 9)), None);
        assert_eq!(severity(then(1, 9), then(1, 10)), Some(Severity::Warning));
        assert_eq!(severity(then(1, 9), then(2, 10)), Some(Severity::Fault));
        assert_eq!(severity(then(4, 4), then(4, 4)), Some(Severity::Fault));
    }

    #[test]
    fn counts_of_two_api_servers_are_not_compared() {
        let severity = |before: &Counted, after: &Counted| after.judged(before, GUARD).map(|judged| judged.0);
        let one = counted("1.7e+09", 1, 9);
        let other = counted("1.70000000042e+09", 5, 90);
        assert_eq!(severity(&one, &other), Some(Severity::Warning));
        // An API server that does not say when it started may be another one.
        let silent = |counted: &Counted| Counted { started: None, ..counted.clone() };
        assert_eq!(severity(&silent(&one), &silent(&other)), Some(Severity::Warning));
        let never = counted("1.70000000042e+09", 5, 5);
        assert_eq!(severity(&one, &never), Some(Severity::Fault));
    }
}
