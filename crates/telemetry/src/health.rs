//! Named checks behind `/healthz`, `/livez` and `/readyz`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::slis::Slis;

/// Which probes a check counts for. All checks count for `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Counts also for `/livez` and, as in kube-scheduler, for `/healthz`: while it fails, the process needs to be restarted.
    Live,
    /// While it fails, the process works, but is not ready.
    Ready,
}

type Check = dyn Fn() -> Result<(), String> + Send + Sync;

#[derive(Clone)]
struct NamedCheck {
    name: String,
    probe: Probe,
    check: Arc<Check>,
}

/// The checks of the process. Clones share them. Parts of the program register theirs during startup.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<RwLock<Vec<NamedCheck>>>,
    slis: Slis,
}

/// The endpoint that runs the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Healthz,
    Livez,
    Readyz,
}

impl Endpoint {
    fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

/// The answer of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub healthy: bool,
    pub text: String,
}

impl Health {
    /// Adds a check, or replaces the one with this name. It is called for each request and must return at once.
    pub fn register(
        &self,
        name: impl Into<String>,
        probe: Probe,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let added = NamedCheck { name: name.into(), probe, check: Arc::new(check) };
        let mut checks = self.checks.write().unwrap_or_else(PoisonError::into_inner);
        match checks.iter_mut().find(|check| check.name == added.name) {
            Some(check) => *check = added,
            None => checks.push(added),
        }
    }

    /// Adds a check that fails for `reason` until the flag says otherwise.
    pub fn flag(&self, name: impl Into<String>, probe: Probe, reason: impl Into<String>) -> HealthFlag {
        let flag = HealthFlag { state: Arc::new(Mutex::new(Err(reason.into()))) };
        let check = flag.clone();
        self.register(name, probe, move || check.get());
        flag
    }

    /// Whether all checks pass.
    ///
    /// # Errors
    /// The names and reasons of the checks that fail.
    pub fn ready(&self) -> Result<(), String> {
        let report = self.report_to(Endpoint::Readyz, &BTreeSet::new(), false, |_, _| ());
        if report.healthy { Ok(()) } else { Err(report.text) }
    }

    /// Runs the checks of an endpoint for a probe, in the format of Kubernetes' own components, and counts the results.
    pub(crate) fn report(&self, endpoint: Endpoint, excluded: &BTreeSet<String>, verbose: bool) -> Report {
        self.report_to(endpoint, excluded, verbose, |check, passed| {
            self.slis.observe(check, endpoint.name(), passed);
        })
    }

    /// The results of the checks that probes ran, as OpenMetrics text.
    pub(crate) fn slis(&self) -> String {
        self.slis.encode()
    }

    /// `observe` is called for each check that was run, with whether it passed.
    fn report_to(
        &self,
        endpoint: Endpoint,
        excluded: &BTreeSet<String>,
        verbose: bool,
        observe: impl Fn(&str, bool),
    ) -> Report {
        // A clone, so that no lock is held during a slow check.
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::from("[+]ping ok\n");
        observe("ping", true);
        let mut healthy = true;
        for NamedCheck { name, probe, check } in &checks {
            if endpoint != Endpoint::Readyz && *probe != Probe::Live {
                continue;
            }
            let outcome = if excluded.contains(name) {
                Ok("excluded: ok")
            } else {
                let outcome = check();
                observe(name, outcome.is_ok());
                outcome.map(|()| "ok")
            };
            let written = match outcome {
                Ok(word) => writeln!(text, "[+]{name} {word}"),
                Err(reason) => {
                    healthy = false;
                    writeln!(text, "[-]{name} failed: {reason}")
                }
            };
            written.expect("writing to a String does not fail");
        }
        if healthy && !verbose {
            return Report { healthy, text: "ok".to_owned() };
        }
        let verdict = if healthy { "passed" } else { "failed" };
        text.push_str(&format!("{} check {verdict}\n", endpoint.name()));
        Report { healthy, text }
    }

    /// Runs one check by name; `None` if there is none.
    pub(crate) fn report_one(&self, name: &str) -> Option<Report> {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        let check = checks.into_iter().find(|check| check.name == name)?;
        Some(match (check.check)() {
            Ok(()) => Report { healthy: true, text: "ok".to_owned() },
            Err(reason) => Report { healthy: false, text: reason },
        })
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(checks.iter().map(|check| (&check.name, check.probe))).finish()
    }
}

/// The settable state of a check.
#[derive(Clone, Debug)]
pub struct HealthFlag {
    state: Arc<Mutex<Result<(), String>>>,
}

impl HealthFlag {
    /// The current state of the check.
    ///
    /// # Errors
    /// The reason why it fails.
    pub fn get(&self) -> Result<(), String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The check passes from now on.
    pub fn pass(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Ok(());
    }

    /// The check fails from now on.
    pub fn fail(&self, reason: impl Into<String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Err(reason.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_run_their_checks() {
        let health = Health::default();
        let none = BTreeSet::new();
        assert_eq!(health.report(Endpoint::Healthz, &none, false).text, "ok");
        health.register("leader-election", Probe::Live, || Ok(()));
        let synced = health.flag("caches-synced", Probe::Ready, "waiting for nodes, pods");
        let report = health.report(Endpoint::Readyz, &none, false);
        assert_eq!(
            report.text,
            "[+]ping ok\n[+]leader-election ok\n[-]caches-synced failed: waiting for nodes, pods\nreadyz check failed\n"
        );
        assert!(!report.healthy);
        assert!(health.report(Endpoint::Livez, &none, false).healthy, "readiness is not liveness");
        assert!(
            health.report(Endpoint::Readyz, &BTreeSet::from(["caches-synced".to_owned()]), false).healthy
        );
        assert!(health.ready().is_err());
        synced.pass();
        assert_eq!(
            health.report(Endpoint::Healthz, &none, true).text,
            "[+]ping ok\n[+]leader-election ok\nhealthz check passed\n"
        );
        assert_eq!(health.ready(), Ok(()));
        // A check with the same name replaces the first.
        health.register("leader-election", Probe::Live, || Err("lost".to_owned()));
        assert_eq!(
            health.report(Endpoint::Livez, &none, false).text,
            "[+]ping ok\n[-]leader-election failed: lost\nlivez check failed\n"
        );
    }
}
