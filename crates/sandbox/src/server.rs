//! What the handlers share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::access::Access;
use crate::api::Api;
use crate::faults::Faults;
use crate::history::History;
use crate::list::Pagings;
use crate::webhooks::Webhooks;

/// The state of one API server.
#[derive(Debug)]
pub(crate) struct Server {
    pub api: Arc<Api>,
    pub faults: Arc<Faults>,
    pub history: Arc<History>,
    pub access: Arc<Access>,
    pub pagings: Pagings,
    pub webhooks: Webhooks,
    pub version: String,
    pub bookmark_interval: Duration,
    pub shutdown: watch::Sender<bool>,
}

/// Waits for shutdown, or until the sandbox is dropped.
pub(crate) async fn until_down(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|down| *down).await;
}
