//! What the parts of a shell share, and how each of them is started.

use super::CALL_TIMEOUT;
use crate::call::Caller;
use crate::clock::Clock;
use crate::compare::{self, Comparer};
use crate::debug;
use crate::engine::Writers;
use crate::extender::{self, ExtenderBinder};
use crate::heartbeat::{Heartbeat, WatchHeartbeats};
use crate::inbox::{Inbox, Message};
use crate::kubelets::Rejections;
use crate::limit::RateLimit;
use crate::options::Options;
use crate::outage::Outage;
use crate::owners;
use crate::poll::Polls;
use crate::requests::server_host;
use crate::resources;
use crate::tasks::Tasks;
use crate::unserved::report::Report;
use crate::watch::{self, Currency, Originals, UnfitObjects, Watch};
use crate::write::{
    Binder, BudgetReader, EventSink, EventSinkConfig, Evictor, Leading, NodeReader, PluginWriter,
    StatusWriter, Verifier,
};
use secondmate_framework::{Extenders, Parity};
use secondmate_telemetry::{Admin, Metrics, Probe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tracing::info;

/// What the parts of a shell share.
pub(super) struct Parts {
    pub metrics: Metrics,
    /// For reads, which the limit on writes must not delay.
    pub reader: Caller,
    pub leading: Leading,
    pub inbox: Inbox,
    pub tasks: Tasks,
    pub stopping: Arc<AtomicBool>,
    pub unfit: Arc<UnfitObjects>,
    pub outage: Outage,
    pub currency: Currency,
    /// The core's.
    pub clock: Clock,
}

impl Parts {
    /// Starts the watches and polls: at once, or when leadership begins.
    pub fn start_watches(&self, context: watch::Context, watches: Vec<Watch>, polls: Polls, delayed: bool) {
        let start = move || {
            polls.start();
            for (number, watch) in watches.into_iter().enumerate() {
                watch::spawn(context.clone(), watch, number);
            }
        };
        if !delayed {
            return start();
        }
        let mut leading = self.leading.clone();
        self.tasks.spawn("start of the watches", async move {
            if !leading.may_write() {
                info!("caches are filled when this process leads (delayCacheUntilActive)");
            }
            while !leading.may_write() {
                leading.changed().await;
            }
            start();
        });
    }

    pub fn start_writers(
        &self,
        client: &kube_client::Client,
        options: &Options,
        bindings: &Arc<AtomicUsize>,
        (clients, heartbeat): (Vec<extender::Client>, &Heartbeat),
    ) -> (Writers, Extenders) {
        let limit = || {
            let limit = options.write_limit?;
            RateLimit::new(limit.per_second, limit.burst).map(Arc::new)
        };
        // As in kube-scheduler, events have their own limit, so that they take nothing from bindings.
        let server = server_host(&options.cluster.cluster_url);
        let calls =
            |limit, timeout| Caller::new(client.clone(), limit, timeout).telling(&self.metrics, server);
        let event_caller = calls(limit(), CALL_TIMEOUT);
        let limit = limit();
        let binding_caller = calls(limit.clone(), options.bind_timeout);
        let caller = calls(limit, CALL_TIMEOUT);
        // All profiles come from one configuration, and have the same parity.
        let parity = options.profiles.first().map_or_else(Parity::default, |profile| profile.handle().parity);
        let (leading, inbox, tasks) = (&self.leading, &self.inbox, &self.tasks);
        let status = StatusWriter::start(
            caller.clone(),
            leading.clone(),
            &self.metrics,
            tasks.clone(),
            self.outage.clone(),
        );
        let events = EventSink::start(
            event_caller,
            leading.clone(),
            &self.metrics,
            EventSinkConfig { parity, host: host(), outage: self.outage.clone() },
            Arc::clone(bindings),
            tasks.clone(),
        );
        let context = extender::Context {
            runtime: tokio::runtime::Handle::current(),
            heartbeat: heartbeat.clone(),
            metrics: self.metrics.clone(),
            events: Some(events.clone()),
        };
        let (extenders, binder) = extender::extenders(clients, &context);
        let writers = Writers {
            binder: Binder::new(
                binding_caller,
                leading.clone(),
                inbox.clone(),
                self.metrics.clone(),
                tasks.clone(),
                status.clone(),
                options.bind_concurrency,
            ),
            extender_binder: ExtenderBinder::new(
                binder,
                leading.clone(),
                inbox.clone(),
                tasks.clone(),
                status.clone(),
                options.bind_concurrency,
            ),
            plugin_writer: PluginWriter::new(caller.clone(), leading.clone(), inbox.clone(), tasks.clone()),
            verifier: Verifier::new(self.reader.clone(), inbox.clone(), tasks.clone()),
            node_reader: NodeReader::new(
                self.reader.clone(),
                inbox.clone(),
                tasks.clone(),
                Originals::for_extenders(extenders.clone())
                    .or_all(watch::reads_whole_objects(&options.profiles)),
            ),
            evictor: Evictor::new(
                caller,
                leading.clone(),
                inbox.clone(),
                tasks.clone(),
                BudgetReader::new(self.reader.clone(), self.metrics.clone()),
            ),
            status,
            events,
        };
        (writers, extenders)
    }

    /// Starts what is not part of a pod's way: owners of unfit pods are informed, changes of leadership wake the thread, the cache is
    /// compared, the debug endpoints are mounted.
    pub fn start_helpers(&self, options: &Options, writers: &Writers) -> Comparer {
        let (leading, inbox) = (&self.leading, &self.inbox);
        self.tasks.spawn_lasting(
            "owners of unfit pods",
            owners::tell(
                Arc::clone(&self.unfit),
                leading.clone(),
                writers.status.clone(),
                writers.events.clone(),
            ),
        );
        self.tasks.spawn("wake-up at elections", wake_on_change(leading.clone(), inbox.clone()));
        let comparer = Comparer {
            caller: self.reader.clone(),
            inbox: inbox.clone(),
            metrics: self.metrics.clone(),
            currency: self.currency.clone(),
            unfit: Arc::clone(&self.unfit),
        };
        if let Some(every) = options.compare_every {
            let (comparer, mut leading) = (comparer.clone(), self.leading.clone());
            let delayed = options.delay_watches;
            self.tasks.spawn("cache comparer", async move {
                // Before the watches begin, there is no cache to compare.
                while delayed && !leading.may_write() {
                    leading.changed().await;
                }
                compare::periodically(comparer, every).await;
            });
        }
        debug::mount(&options.admin, inbox, &comparer, &self.unfit);
        resources::mount(&options.admin, self.reader.clone(), leading.clone());
        comparer
    }

    /// Watches for pods of ours that kubelets rejected, with one task for each scheduler name.
    pub fn look_for_rejections(&self, client: &kube_client::Client, options: &Options, events: &EventSink) {
        for profile in &options.profiles {
            let rejections = Rejections {
                client: client.clone(),
                leading: self.leading.clone(),
                events: events.clone(),
                inbox: self.inbox.clone(),
                metrics: self.metrics.clone(),
                name: profile.name().clone(),
            };
            self.tasks.spawn_lasting(format!("rejected pods of {}", profile.name()), rejections.run());
        }
    }

    /// Looks for pods whose scheduler name nobody serves, while this process leads.
    pub fn look_for_unserved(&self, options: &Options, events: &EventSink) {
        let Some(first) = options.profiles.first() else { return };
        let election = options.election.as_ref();
        let report = Report {
            caller: self.reader.clone(),
            leading: self.leading.clone(),
            events: events.clone(),
            own: election.map(|election| election.lease.clone()),
            may_not_list: election.map(|election| election.may_not_list.clone()).unwrap_or_default(),
            names: options.profiles.iter().map(|profile| profile.name().to_string()).collect(),
            controller: first.name().clone(),
            gauge: self.metrics.pods_unserved.clone(),
            pace: options.unserved,
        };
        self.tasks.spawn("look for unserved scheduler names", report.run());
    }

    /// Registers the checks that kube-scheduler has too, and one for each part that could get stuck.
    pub fn register_checks(
        &self,
        admin: &Admin,
        heartbeat: &Heartbeat,
        watches: &WatchHeartbeats,
        writers: &Writers,
    ) {
        let (heartbeat, watches) = (heartbeat.clone(), watches.clone());
        let (leading, stopping) = (self.leading.clone(), Arc::clone(&self.stopping));
        let (status, events) = (writers.status.clone(), writers.events.clone());
        admin.health.register("scheduling-thread", Probe::Live, move || heartbeat.check_thread());
        admin.health.register("watches", Probe::Live, move || watches.check());
        admin.health.register("writers", Probe::Live, move || status.check().and_then(|()| events.check()));
        admin.health.register("leaderElection", Probe::Live, move || {
            if leading.is_overdue() {
                return Err("the lease has run out and was not given up".to_owned());
            }
            Ok(())
        });
        admin.health.register("shutdown", Probe::Ready, move || {
            if stopping.load(Ordering::Acquire) {
                Err("the scheduler is stopping".to_owned())
            } else {
                Ok(())
            }
        });
    }
}

async fn wake_on_change(mut leading: Leading, inbox: Inbox) {
    loop {
        leading.changed().await;
        if leading.may_write() {
            info!("became leader; scheduling started");
        }
        if inbox.send(Message::Wake).await.is_err() {
            return;
        }
    }
}

/// The name of this machine, as client-go puts it into `reportingInstance`.
fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}
