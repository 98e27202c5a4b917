//! One watch, from its first list to the end of the process.

use super::compiled::{Compiled, Key, Unfit, Watched};
use super::currency::Currency;
use super::discovery::{self, Discovered};
use super::needs::{Subject, Watch};
use super::originals::Originals;
use super::unfit::UnfitObjects;
use crate::call::{Caller, chain};
use crate::connect;
use crate::heartbeat::{WATCH_SILENCE_MAX, WatchHeartbeats};
use crate::inbox::{Closed, Inbox, Message};
use crate::outage::Outage;
use crate::tasks::Tasks;
use futures::StreamExt;
use kube_client::{Api, Client};
use kube_runtime::watcher::{self, Event};
use rustc_hash::{FxHashMap, FxHashSet};
use secondmate_core::port::{Input, PodWatch};
use secondmate_model::objects::ObjectKind;
use secondmate_telemetry::Metrics;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

/// The API server ends a watch after this time, and a connection on which nothing arrives for 5 s longer is given up: this is how a dead
/// one is noticed. Resuming costs one request.
const WATCH_SECONDS: u32 = 45;
/// Objects per page of a list. A page is held in memory as a whole, twice while it is being read.
const PAGE_OBJECTS: u32 = 250;
/// Maximum wait for a page of a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(90);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A watch without trouble for so long is in order, even if it has shown nothing.
const IN_ORDER_AFTER: Duration = Duration::from_secs(30);
/// Between two looks whether a kind is served that was not.
const ABSENT_PAUSE: Duration = Duration::from_secs(60);
// The watch of a kind that is not served waits without a request, and one check may fail: it must not be considered dead.
const _: () = assert!(2 * ABSENT_PAUSE.as_secs() < WATCH_SILENCE_MAX.as_secs());
/// How long lists have to be answered with 404 and nothing else before a kind that was served may be taken as not served, or one that never
/// was is taken so although discovery does not confirm it.
const REMOVED_AFTER: Duration = Duration::from_secs(300);
/// Maximum wait for what the API server says that it serves.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// A watcher that is refused so often in a row is replaced by a fresh one, which lists anew.
const REFUSALS_MAX: u32 = 5;

/// What all watches share.
#[derive(Clone)]
pub(crate) struct Context {
    pub client: Client,
    pub inbox: Inbox,
    pub metrics: Metrics,
    pub unfit: Arc<UnfitObjects>,
    pub tasks: Tasks,
    pub heartbeats: WatchHeartbeats,
    pub outage: Outage,
    /// What is kept in full, whatever the watch is about.
    pub originals: Originals,
    pub currency: Currency,
}

impl Context {
    /// For watches that keep nothing in full and share nothing with others.
    pub fn new(
        client: Client,
        inbox: Inbox,
        metrics: Metrics,
        tasks: Tasks,
        heartbeats: WatchHeartbeats,
    ) -> Self {
        Self {
            client,
            inbox,
            metrics,
            unfit: Arc::default(),
            tasks,
            heartbeats,
            outage: Outage::default(),
            originals: Originals::default(),
            currency: Currency::default(),
        }
    }
}

/// Starts a watch as a task.
pub(crate) fn spawn(mut context: Context, watch: Watch, number: usize) {
    let heartbeat = context.heartbeats.add(watch.to_string());
    let (outage, name) = (context.outage.clone(), watch.to_string());
    let currency = context.currency.clone();
    currency.add(number, name.clone());
    context.client = connect::observed(context.client, move |answer| {
        let status = answer.status();
        heartbeat.beat();
        if status.is_success() {
            currency.answered(number);
        }
        if !status.is_server_error() {
            outage.answered(&name);
        }
    });
    context.originals = context.originals.or_all(watch.whole);
    let caller = Caller::new(context.client.clone(), None, DISCOVERY_TIMEOUT);
    let tasks = context.tasks.clone();
    tasks.spawn_lasting(format!("watch of {watch}"), async move {
        let source = Source {
            context,
            caller,
            watch,
            number,
            known: FxHashMap::default(),
            versions: FxHashMap::default(),
            synced: false,
            served: false,
            missing_since: None,
            pause: PAUSE_MIN,
            quiet_since: None,
            said: None,
        };
        let Err(Closed) = source.run().await;
    });
}

struct Source {
    context: Context,
    /// Asks what the API server serves.
    caller: Caller,
    watch: Watch,
    number: usize,
    /// What the core has been told of and has not been told is gone; for a pod, in which role.
    known: FxHashMap<Key, Option<PodWatch>>,
    /// For objects other than pods and nodes, the version that the core knows: an object that a relist shows unchanged is not an event
    /// here, since nothing has happened to it; kube-scheduler retries the pods that wait for such events. For pods and nodes, the core
    /// itself compares.
    versions: FxHashMap<Key, u64>,
    synced: bool,
    /// A list was answered: the API server serves the kind.
    served: bool,
    /// Since when lists have been answered with 404.
    missing_since: Option<Instant>,
    /// The next pause after a failure. It is short again once the watch has shown something, or was in order for a while: a list alone is
    /// no success, as one list after the other would be all that there is.
    pause: Duration,
    /// The end of the list, or of the pause after the last failure; `None` while a list is under way.
    quiet_since: Option<Instant>,
    /// The trouble that was said last; it is not repeated until all is well.
    said: Option<String>,
}

/// What to do after a failure.
enum After {
    Continue,
    StartOver,
    Absent,
}

impl Source {
    async fn run(mut self) -> Result<std::convert::Infallible, Closed> {
        let api: Api<Watched> = Api::all_with(self.context.client.clone(), &self.watch.subject.api());
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE_OBJECTS);
        if let Some(fields) = self.watch.fields {
            config = config.fields(fields);
        }
        loop {
            self.follow(api.clone(), config.clone()).await?;
        }
    }

    /// Runs one watcher until it has to be replaced.
    async fn follow(&mut self, api: Api<Watched>, config: watcher::Config) -> Result<(), Closed> {
        let mut stream = pin!(watcher::watcher(api, config));
        // What the list that is under way has shown so far, where something was known before that it may lack; what cannot be understood is
        // known, too.
        let mut seen: Option<FxHashSet<Key>> = None;
        let mut lists = false;
        let mut refusals = 0;
        loop {
            let next = if lists || !self.synced {
                match timeout(LIST_TIMEOUT, stream.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        warn!(watch = %self.watch, "the list took longer than {LIST_TIMEOUT:?}, trying again");
                        self.count_restart("timeout");
                        return Ok(());
                    }
                }
            } else {
                stream.next().await
            };
            let Some(event) = next else { return Ok(()) };
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    refusals += u32::from(is_refusal(&error));
                    match self.failed(&error).await? {
                        After::Continue if refusals < REFUSALS_MAX => continue,
                        After::Continue | After::StartOver => return Ok(()),
                        After::Absent => {
                            self.listed(Some(FxHashSet::default())).await?;
                            sleep(ABSENT_PAUSE).await;
                            return Ok(());
                        }
                    }
                }
            };
            refusals = 0;
            if !matches!(event, Event::Init) {
                self.served = true;
                self.missing_since = None;
            }
            if matches!(event, Event::Apply(_) | Event::Delete(_)) {
                self.in_order();
            }
            match event {
                Event::Init => {
                    self.context.currency.listing(self.number);
                    // One that failed and is asked for again is the same list.
                    if self.synced && !lists {
                        info!(watch = %self.watch, "listing anew");
                        self.count_restart("gone");
                        self.tell_listing(true).await?;
                    }
                    lists = true;
                    self.quiet_since = None;
                    let knows_any = !self.known.is_empty() || !self.context.unfit.is_empty();
                    seen = knows_any.then(FxHashSet::default);
                }
                Event::InitApply(object) => {
                    let key = match self.unchanged(&object) {
                        Some(key) => key,
                        None => self.apply(&object).await?,
                    };
                    if let Some(seen) = &mut seen {
                        seen.insert(key);
                    }
                }
                Event::InitDone => {
                    lists = false;
                    self.quiet_since = Some(Instant::now());
                    self.listed(seen.take()).await?;
                }
                Event::Apply(object) => {
                    self.apply(&object).await?;
                }
                Event::Delete(object) => {
                    let key = object.key(self.watch.subject);
                    self.context.unfit.remove(&key);
                    self.deleted(key).await?;
                }
            }
        }
    }

    /// The key of an object that the core already knows as the list shows it.
    fn unchanged(&self, object: &Watched) -> Option<Key> {
        let version = object.version()?;
        // Before the first list nothing can be unchanged, and versions of pods and nodes are not recorded here.
        if self.versions.is_empty() {
            return None;
        }
        let key = object.key(self.watch.subject);
        (self.versions.get(&key) == Some(&version)).then_some(key)
    }

    async fn apply(&mut self, object: &Watched) -> Result<Key, Closed> {
        let version = object.version();
        let (key, object) = object.compile(self.watch.subject, &self.watch.roles, &self.context.originals);
        let (role, input) = match object {
            Ok(Compiled::Pod(role, pod)) => (Some(role), Input::Pod(role, pod)),
            Ok(Compiled::Node(node)) => (None, Input::Node(node)),
            Ok(Compiled::Object(object)) => (None, Input::Object(*object)),
            Ok(Compiled::Nothing) => {
                self.context.unfit.remove(&key);
                self.gone(key.clone()).await?;
                return Ok(key);
            }
            Err(unfit) => {
                self.versions.remove(&key);
                self.reject(key.clone(), *unfit).await?;
                return Ok(key);
            }
        };
        self.context.unfit.remove(&key);
        let before = self.known.insert(key.clone(), role).flatten();
        if let (Key::Object(..), Some(version)) = (&key, version) {
            self.versions.insert(key.clone(), version);
        }
        self.tell(Message::Watched(input)).await?;
        // A pod that was bound is first reported as assigned, so that its room is never free in between.
        if let (Key::Pod(uid), Some(before)) = (&key, before.filter(|_| before != role)) {
            self.tell(Message::Watched(Input::PodGone(before, uid.clone()))).await?;
        }
        Ok(key)
    }

    /// Handles an object that cannot be understood: what was known of it before remains, except for a pod without a node.
    async fn reject(&mut self, key: Key, unfit: Unfit) -> Result<(), Closed> {
        self.context.metrics.object_rejected(unfit.api.kind).inc();
        warn!(
            kind = unfit.api.kind,
            object = unfit.full_name(),
            "this object is left out of scheduling, as it cannot be understood: {}; correct it or delete it",
            unfit.reason
        );
        self.context.unfit.add(key.clone(), unfit);
        match self.known.get(&key) {
            Some(Some(PodWatch::Pending | PodWatch::ForeignNominated | PodWatch::ForeignWaiting)) => {
                self.gone(key).await
            }
            _ => Ok(()),
        }
    }

    /// A list is complete: what was known before and is not in it is gone.
    async fn listed(&mut self, seen: Option<FxHashSet<Key>>) -> Result<(), Closed> {
        if let Some(seen) = seen {
            self.context.unfit.listed(self.watch.subject, &seen);
            let mut vanished: Vec<Key> =
                self.known.keys().filter(|key| !seen.contains(key)).cloned().collect();
            vanished.sort_unstable();
            for key in vanished {
                self.deleted(key).await?;
            }
        }
        self.context.currency.listed(self.number);
        if self.synced {
            return self.tell_listing(false).await;
        }
        self.synced = true;
        debug!(watch = %self.watch, objects = self.known.len(), "listed");
        self.tell(Message::Synced(self.number)).await
    }

    /// Reports that the pods are being listed anew, or that the list is complete.
    async fn tell_listing(&self, listing: bool) -> Result<(), Closed> {
        match self.watch.subject {
            Subject::Pods => self.tell(Message::ListingPods(listing)).await,
            Subject::Nodes | Subject::Objects(_) => Ok(()),
        }
    }

    /// Reports that the object is gone. A pod may have been found on its node by a read after a lost answer before the watch saw it there,
    /// and now the watch will never show it there: so it is reported as gone from there as well, or its room would be taken for ever.
    async fn deleted(&mut self, key: Key) -> Result<(), Closed> {
        let was_pending = self.known.get(&key) == Some(&Some(PodWatch::Pending));
        self.gone(key.clone()).await?;
        match key {
            Key::Pod(uid) if was_pending => {
                self.tell(Message::Watched(Input::PodGone(PodWatch::Assigned, uid))).await
            }
            _ => Ok(()),
        }
    }

    async fn gone(&mut self, key: Key) -> Result<(), Closed> {
        self.versions.remove(&key);
        let Some(role) = self.known.remove(&key) else { return Ok(()) };
        let input = match key {
            Key::Pod(uid) => Input::PodGone(role.unwrap_or(PodWatch::Assigned), uid),
            Key::Node(name) => Input::NodeGone(name),
            Key::Object(kind, name) => Input::ObjectGone(kind, name),
        };
        self.tell(Message::Watched(input)).await
    }

    async fn tell(&self, message: Message) -> Result<(), Closed> {
        self.context.inbox.send(message).await
    }

    async fn failed(&mut self, error: &watcher::Error) -> Result<After, Closed> {
        self.context.currency.failed(self.number);
        use kube_client::Error as Client;
        use watcher::Error as E;
        let missing = matches!(error, E::InitialListFailed(Client::Api(status)) if status.code == 404)
            && !self.watch.is_essential();
        if !missing {
            self.missing_since = None;
        } else if self.is_absent().await {
            return Ok(After::Absent);
        }
        let after = if must_list_anew(error) { After::StartOver } else { After::Continue };
        if self.quiet_since.is_some_and(|since| since.elapsed() >= IN_ORDER_AFTER) {
            self.in_order();
        }
        if matches!(error, E::WatchError(status) if status.code == 410) {
            // The watcher lists anew by itself, which is counted and told then.
            self.wait().await?;
            return Ok(After::Continue);
        }
        let reason = if matches!(after, After::StartOver) { "gone" } else { "error" };
        self.count_restart(reason);
        self.say(error);
        self.wait().await?;
        Ok(after)
    }

    /// Whether a list that was answered with 404 means that the kind is not served. A gateway in front of the API server may give that
    /// answer, so the API server's discovery is asked. If it does not confirm it, a lasting 404 is believed only of a kind that was never
    /// served, and of a plugin's own, whose definition may have been deleted. In any case a kind that was served keeps its objects for
    /// [`REMOVED_AFTER`]; client-go keeps them for ever.
    async fn is_absent(&mut self) -> bool {
        let lasts = self.missing_since.get_or_insert_with(Instant::now).elapsed() >= REMOVED_AFTER;
        if self.served && !lasts {
            return false;
        }
        let is_own = matches!(self.watch.subject, Subject::Objects(ObjectKind::Own(_)));
        let may_be_believed = !self.served || is_own;
        let absent = match discovery::ask(&self.caller, self.watch.subject.api()).await {
            Discovered::NotServed => true,
            Discovered::MayNotAsk => may_be_believed,
            Discovered::Served | Discovered::Unknown => may_be_believed && lasts,
        };
        if !absent {
            return false;
        }
        if self.served {
            warn!(
                watch = %self.watch,
                objects = self.known.len(),
                "the API server has not served this kind for {REMOVED_AFTER:?}: taken as none there"
            );
        } else if !self.synced {
            warn!(watch = %self.watch, "the API server does not serve this kind: taken as none there");
        }
        self.served = false;
        true
    }

    fn in_order(&mut self) {
        self.pause = PAUSE_MIN;
        self.said = None;
    }

    /// The pause after a failure; the next one is longer.
    async fn wait(&mut self) -> Result<(), Closed> {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.quiet_since = self.quiet_since.map(|_| Instant::now());
        // A closed inbox is noticed here too: an API server that is away must not keep the task.
        if self.context.inbox.is_closed() { Err(Closed) } else { Ok(()) }
    }

    /// Logs what went wrong: an outage once for all watches, and anything else if it has not been logged yet.
    fn say(&mut self, error: &watcher::Error) {
        let text = chain(error);
        if is_outage(error) {
            let told = self.context.outage.failed(&self.watch.to_string(), &text);
            if !told {
                debug!(watch = %self.watch, "{text}; trying again in {:?}", self.pause);
            }
            return;
        }
        if self.said.as_ref() == Some(&text) {
            debug!(watch = %self.watch, "{text}; trying again in {:?}", self.pause);
        } else {
            warn!(watch = %self.watch, "{text}; trying again, the first time in {:?}", self.pause);
            self.said = Some(text);
        }
    }

    fn count_restart(&self, reason: &str) {
        self.context.metrics.watch_restarts(self.watch.subject.api().plural, reason).inc();
    }
}

/// Whether the watcher has to be replaced by a fresh one, which relists.
pub(crate) fn must_list_anew(error: &watcher::Error) -> bool {
    use kube_client::Error as Client;
    use watcher::Error as E;
    match error {
        // In answer to the request itself, not in the stream: the watcher would send the same request for ever.
        E::WatchStartFailed(Client::Api(status)) => status.code == 410,
        // A line that is not an event: its content is lost, so only a relist helps.
        E::WatchFailed(Client::SerdeError(_)) | E::NoResourceVersion => true,
        _ => false,
    }
}

/// Whether the API server did not answer, or answered that it is temporarily unable to.
fn is_outage(error: &watcher::Error) -> bool {
    use kube_client::Error as Client;
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => match error {
            Client::Api(status) => status.code >= 500,
            Client::SerdeError(_) | Client::Auth(_) => false,
            _ => true,
        },
        watcher::Error::WatchError(status) => status.code >= 500,
        _ => false,
    }
}

/// Whether the API server rejected the request. If it is unavailable or busy, that is no reason not to resume the watch where it was: a
/// relist of everything would be the last thing it needs.
fn is_refusal(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube_client::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube_client::Error::Api(status))
        | watcher::Error::WatchFailed(kube_client::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        _ => return false,
    };
    (400..500).contains(&code) && code != 429
}
