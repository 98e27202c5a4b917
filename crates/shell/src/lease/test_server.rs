//! An API server for one Lease, with faults on demand, that detects every moment at which there are two leaders.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{CallError, LeaseApi, Term};

/// What happens to the calls of one candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Up,
    /// Nothing arrives, and nothing is answered.
    BlackHole,
    /// Every call is answered with 500.
    Error500,
    /// Calls take effect, but their answers are lost.
    LoseAnswers,
}

/// What happens to the calls of one candidate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub mode: Mode,
    /// Delay until the call takes effect. It does so even if the caller has given up.
    pub before: Duration,
    /// Delay from the effect to the answer.
    pub after: Duration,
}

#[derive(Debug, Default)]
struct State {
    lease: Option<Lease>,
    version: u64,
    candidates: Vec<(String, watch::Receiver<Option<Term>>)>,
    conflicts: u32,
    violations: Vec<String>,
}

/// The server. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(super) struct TestServer(Arc<Mutex<State>>);

impl TestServer {
    /// Registers a candidate with the server, so that the server can see which candidates believe that they lead.
    pub(super) fn register(&self, identity: &str, term: watch::Receiver<Option<Term>>) {
        self.0.lock().unwrap().candidates.push((identity.to_owned(), term));
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        self.0.lock().unwrap().lease.clone()
    }

    pub(super) fn holder(&self) -> String {
        self.lease().and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }

    pub(super) fn delete(&self) {
        self.0.lock().unwrap().lease = None;
    }

    /// The number of writes refused with 409 so far.
    pub(super) fn conflicts(&self) -> u32 {
        self.0.lock().unwrap().conflicts
    }

    /// The candidates that currently believe that they lead.
    pub(super) fn leaders(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let leads = |term: &watch::Receiver<Option<Term>>| term.borrow().as_ref().is_some_and(Term::is_valid);
        state
            .candidates
            .iter()
            .filter(|(_, term)| leads(term))
            .map(|(identity, _)| identity.clone())
            .collect()
    }

    /// Everything that happened and never should have.
    pub(super) fn violations(&self) -> Vec<String> {
        self.0.lock().unwrap().violations.clone()
    }

    fn store(&self, state: &mut State, mut lease: Lease) -> Lease {
        state.version += 1;
        lease.metadata.resource_version = Some(state.version.to_string());
        lease.metadata.uid.get_or_insert_with(|| format!("uid-{}", state.version));
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        for (identity, term) in &state.candidates {
            if *identity != holder && term.borrow().as_ref().is_some_and(Term::is_valid) {
                let violation = format!("{holder:?} got the Lease while {identity} leads");
                state.violations.push(violation);
            }
        }
        state.lease = Some(lease.clone());
        lease
    }

    fn get(&self) -> Result<Option<Lease>, CallError> {
        Ok(self.lease())
    }

    fn create(&self, lease: Lease) -> Result<Lease, CallError> {
        let mut state = self.0.lock().unwrap();
        if state.lease.is_some() {
            state.conflicts += 1;
            return Err(CallError::Conflict("already exists".to_owned()));
        }
        Ok(self.store(&mut state, lease))
    }

    fn replace(&self, lease: Lease) -> Result<Lease, CallError> {
        let mut state = self.0.lock().unwrap();
        let Some(version) = lease.metadata.resource_version.clone() else {
            state.violations.push("a write without resourceVersion".to_owned());
            return Err(CallError::Other("400".to_owned()));
        };
        let Some(stored) = &state.lease else { return Err(CallError::NotFound("deleted".to_owned())) };
        if stored.metadata.resource_version.as_ref() != Some(&version) {
            state.conflicts += 1;
            return Err(CallError::Conflict("the object has been modified".to_owned()));
        }
        Ok(self.store(&mut state, lease))
    }
}

/// A candidate's connection to the server.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub server: TestServer,
    pub faults: Arc<Mutex<Faults>>,
}

impl Connection {
    pub(super) fn new(server: &TestServer) -> Self {
        Self { server: server.clone(), faults: Arc::default() }
    }

    pub(super) fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(TestServer) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let faults = *self.faults.lock().unwrap();
        let server = self.server.clone();
        // In its own task: a request in flight arrives whether its sender is waiting or not.
        let effect = tokio::spawn(async move {
            sleep(faults.before).await;
            match faults.mode {
                Mode::BlackHole => std::future::pending().await,
                Mode::Error500 => Err(CallError::Other("500 InternalError".to_owned())),
                Mode::Up | Mode::LoseAnswers => call(server),
            }
        });
        let answer = effect.await.expect("the server does not panic");
        if faults.mode == Mode::LoseAnswers {
            std::future::pending::<()>().await;
        }
        sleep(faults.after).await;
        answer
    }
}

impl LeaseApi for Connection {
    async fn get(&self) -> Result<Option<Lease>, CallError> {
        self.call(|server| server.get()).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, CallError> {
        let lease = lease.clone();
        self.call(move |server| server.create(lease)).await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, CallError> {
        let lease = lease.clone();
        self.call(move |server| server.replace(lease)).await
    }
}
