//! A profile: a scheduler name and its plugins, created once at startup.

use crate::panics::{self, points};
use crate::probe::Probe;
use secondmate_framework::{
    ActionType, Bind, ClusterEvent, Declaration, EXTENDER_NAME, EventRegistration, EventResource, Extenders,
    ExtensionPoint, Filter, Handle, Hint, Identity, ObjectChange, PerPoint, Permit, Plugin, PluginError,
    PostBind, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, QueuedPod, Registry, Reserve,
    Score,
};
use secondmate_model::{Atom, Pod};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Resources whose events may help a pod that an extender rejected: the list of upstream's `UnrollWildCardResource`.
const OF_EXTENDERS: [EventResource; 12] = [
    EventResource::AssignedPod,
    EventResource::UnscheduledPod,
    EventResource::TargetPod,
    EventResource::Node,
    EventResource::PersistentVolume,
    EventResource::PersistentVolumeClaim,
    EventResource::CsiNode,
    EventResource::CsiDriver,
    EventResource::CsiStorageCapacity,
    EventResource::StorageClass,
    EventResource::ResourceClaim,
    EventResource::DeviceClass,
];

/// Names of the plugins at each extension point, in the order in which they run, with the weights of the score plugins (the
/// weight has no meaning elsewhere).
pub type PluginLists = PerPoint<Vec<(String, i64)>>;

/// Enables each plugin at every extension point that it implements, in the given order, like `multiPoint`. A score plugin with
/// weight 0 gets 1.
///
/// # Errors
/// If a plugin is unknown or has invalid arguments.
pub fn multi_point(
    plugins: &[(&str, i64)],
    registry: &Registry,
    args: &BTreeMap<String, serde_json::Value>,
) -> Result<PluginLists, PluginError> {
    let mut lists = PluginLists::default();
    let handle = Handle::default();
    for (name, weight) in plugins {
        let plugin = registry.make(name, args.get(*name).unwrap_or(&serde_json::Value::Null), &handle)?;
        for point in ExtensionPoint::ALL.into_iter().filter(|point| point.is_point_of(&plugin)) {
            lists.at_mut(point).push(((*name).to_owned(), (*weight).max(1)));
        }
    }
    Ok(lists)
}

/// The input from which a profile is created.
#[derive(Clone, Debug, Default)]
pub struct ProfileSpec {
    /// `schedulerName`.
    pub scheduler_name: String,
    /// Share of the nodes to look at, in percent; 0 adapts to the size of the cluster as upstream does.
    pub percentage_of_nodes_to_score: u8,
    /// Plugins of each extension point.
    pub plugins: PluginLists,
    /// Arguments by plugin.
    pub args: BTreeMap<String, serde_json::Value>,
    /// Schedulers whose pods preemption may evict; `None`: all.
    pub victims_of: Option<Vec<String>>,
}

/// A plugin of a profile.
#[derive(Clone)]
pub struct PluginRef {
    /// Its name, as an atom.
    pub name: Atom,
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Its number in the profile, counted from 0.
    pub number: usize,
}

impl std::fmt::Debug for PluginRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// A plugin at an extension point that it implements: its identity and the trait object to call.
pub struct At<P: ?Sized> {
    whom: PluginRef,
    /// The plugin as a trait object of that point.
    pub point: Arc<P>,
}

impl<P: ?Sized> std::ops::Deref for At<P> {
    type Target = PluginRef;
    fn deref(&self) -> &PluginRef {
        &self.whom
    }
}

impl<P: ?Sized> Clone for At<P> {
    fn clone(&self) -> Self {
        Self { whom: self.whom.clone(), point: Arc::clone(&self.point) }
    }
}

impl<P: ?Sized> std::fmt::Debug for At<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.whom.fmt(f)
    }
}

/// A profile that cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A plugin cannot be created.
    #[error("profile {profile:?}: {error}")]
    Plugin {
        /// Profile.
        profile: String,
        /// What is wrong.
        error: PluginError,
    },
    /// A plugin is listed at a point that it does not implement.
    #[error("profile {profile:?}: plugin {plugin:?} does not extend {point}: remove it from that list")]
    WrongPoint {
        /// Profile.
        profile: String,
        /// Plugin.
        plugin: String,
        /// Extension point.
        point: &'static str,
    },
    /// There must be exactly one queue sort plugin.
    #[error(
        "profile {profile:?}: {count} queueSort plugins are enabled: enable exactly one, such as PrioritySort"
    )]
    QueueSort {
        /// Profile.
        profile: String,
        /// How many are enabled.
        count: usize,
    },
    /// There must be a bind plugin.
    #[error("profile {profile:?}: no bind plugin is enabled: enable one, such as DefaultBinder")]
    NoBind {
        /// Profile.
        profile: String,
    },
}

/// A profile, ready to run.
#[derive(Debug)]
pub struct Profile {
    name: Atom,
    percentage: u8,
    handle: HandleBox,
    probe: ProbeBox,
    extenders: Extenders,
    ignores_nominations_of_others: bool,
    weight: Option<u32>,
    all: Vec<PluginRef>,
    identity: Identity,
    /// What each plugin declares, by its number.
    declarations: Vec<Declaration>,
    registrations: BTreeMap<Atom, Vec<EventRegistration>>,
    /// Those of [`Self::filter`] that run again before a pod is bound.
    guards: Vec<At<dyn Filter>>,
    /// Those of the others that also run again if the node's object has changed.
    admission: Vec<At<dyn Filter>>,
    evicts_pods: bool,
    /// Whether all plugins at PostFilter fail alike for pods that are alike.
    fails_alike: bool,
    /// Plugins at PreEnqueue, in order.
    pub pre_enqueue: Vec<At<dyn PreEnqueue>>,
    /// The plugin that orders the queue.
    pub queue_sort: At<dyn QueueSort>,
    /// Plugins at PreFilter, in order.
    pub pre_filter: Vec<At<dyn PreFilter>>,
    /// Plugins at Filter, in order.
    pub filter: Vec<At<dyn Filter>>,
    /// Plugins at PostFilter, in order.
    pub post_filter: Vec<At<dyn PostFilter>>,
    /// Plugins at PreScore, in order.
    pub pre_score: Vec<At<dyn PreScore>>,
    /// Plugins at Score with their weights, in order.
    pub score: Vec<(At<dyn Score>, i64)>,
    /// Plugins at Reserve, in order.
    pub reserve: Vec<At<dyn Reserve>>,
    /// Plugins at Permit, in order.
    pub permit: Vec<At<dyn Permit>>,
    /// Plugins at PreBind, in order.
    pub pre_bind: Vec<At<dyn PreBind>>,
    /// Plugins at Bind, in order.
    pub bind: Vec<At<dyn Bind>>,
    /// Plugins at PostBind, in order.
    pub post_bind: Vec<At<dyn PostBind>>,
}

struct HandleBox(Handle);
impl std::fmt::Debug for HandleBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

struct ProbeBox(Arc<dyn Probe>);
impl std::fmt::Debug for ProbeBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Probe")
    }
}

impl Profile {
    /// Creates the plugins and checks that each implements the points where it is listed.
    ///
    /// # Errors
    /// If a plugin is unknown, has invalid arguments, or does not implement a point where it is listed; if there is not exactly
    /// one queue sort plugin; if there is no bind plugin.
    pub fn new(
        spec: &ProfileSpec,
        registry: &Registry,
        parity: secondmate_framework::Parity,
    ) -> Result<Self, ProfileError> {
        let mut handle = Handle::new(Atom::new(&spec.scheduler_name), parity);
        handle.victims_of =
            spec.victims_of.as_ref().map(|names| names.iter().map(|n| Atom::new(n)).collect());
        let mut made = Maker { spec, registry, handle: &handle, made: BTreeMap::new() };
        let pre_enqueue = made.list(ExtensionPoint::PreEnqueue, |p| p.as_pre_enqueue())?;
        let mut queue_sort = made.list(ExtensionPoint::QueueSort, |p| p.as_queue_sort())?;
        let pre_filter = made.list(ExtensionPoint::PreFilter, |p| p.as_pre_filter())?;
        let filter = made.list(ExtensionPoint::Filter, |p| p.as_filter())?;
        let post_filter = made.list(ExtensionPoint::PostFilter, |p| p.as_post_filter())?;
        let pre_score = made.list(ExtensionPoint::PreScore, |p| p.as_pre_score())?;
        let score = made.list(ExtensionPoint::Score, |p| p.as_score())?;
        let weights = spec.plugins.score.iter().map(|(_, weight)| *weight);
        let reserve = made.list(ExtensionPoint::Reserve, |p| p.as_reserve())?;
        let permit = made.list(ExtensionPoint::Permit, |p| p.as_permit())?;
        let pre_bind = made.list(ExtensionPoint::PreBind, |p| p.as_pre_bind())?;
        let bind = made.list(ExtensionPoint::Bind, |p| p.as_bind())?;
        let post_bind = made.list(ExtensionPoint::PostBind, |p| p.as_post_bind())?;
        let profile = || spec.scheduler_name.clone();
        if queue_sort.len() != 1 {
            return Err(ProfileError::QueueSort { profile: profile(), count: queue_sort.len() });
        }
        if bind.is_empty() {
            return Err(ProfileError::NoBind { profile: profile() });
        }
        let all: Vec<PluginRef> = made.made.into_values().collect();
        let mut declarations = vec![Declaration::unknown(); all.len()];
        for plugin in &all {
            declarations[plugin.number] = plugin.plugin.declaration();
        }
        let registrations: BTreeMap<_, _> = all.iter().map(|p| (p.name.clone(), p.plugin.events())).collect();
        let evicts_pods = post_filter.iter().any(|p| declarations[p.number].evicts_pods());
        let fails_alike = post_filter.iter().all(|plugin| plugin.point.fails_alike());
        let (guards, others): (Vec<_>, Vec<_>) =
            filter.iter().cloned().partition(|p| declarations[p.number].guards_the_node());
        let admission = others.into_iter().filter(|p| declarations[p.number].judged_at_admission).collect();
        Ok(Self {
            name: Atom::new(&spec.scheduler_name),
            percentage: spec.percentage_of_nodes_to_score,
            handle: HandleBox(handle),
            probe: ProbeBox(Arc::new(())),
            extenders: Extenders::default(),
            ignores_nominations_of_others: false,
            weight: None,
            all,
            identity: Identity::default(),
            declarations,
            registrations,
            guards,
            admission,
            evicts_pods,
            fails_alike,
            pre_enqueue,
            queue_sort: queue_sort.remove(0),
            pre_filter,
            filter,
            post_filter,
            pre_score,
            score: score.into_iter().zip(weights).collect(),
            reserve,
            permit,
            pre_bind,
            bind,
            post_bind,
        })
    }

    /// `schedulerName`.
    #[must_use]
    pub fn name(&self) -> &Atom {
        &self.name
    }

    /// Share of the nodes to look at, in percent; 0 adapts to the size of the cluster.
    #[must_use]
    pub fn percentage_of_nodes_to_score(&self) -> u8 {
        self.percentage
    }

    /// The handle that the plugins received.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle.0
    }

    /// Sets the probe that measures the profile.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = ProbeBox(probe);
        self
    }

    /// Sets the extenders. Any event of the kinds that kube-scheduler uses for them (`UnrollWildCardResource`) may help a pod
    /// that they rejected; VolumeAttachments are not among these.
    #[must_use]
    pub fn with_extenders(mut self, extenders: Extenders) -> Self {
        if !extenders.is_empty() {
            let any = OF_EXTENDERS.map(|resource| EventRegistration::new(resource, ActionType::ALL));
            self.registrations.insert(Atom::new(EXTENDER_NAME), any.to_vec());
        }
        self.extenders = extenders;
        self
    }

    /// Makes the profile ignore nominations of other schedulers' pods, which then hold no room on their nodes, as in
    /// kube-scheduler.
    #[must_use]
    pub fn ignoring_nominations_of_others(mut self) -> Self {
        self.ignores_nominations_of_others = true;
        self
    }

    /// Whether nominated pods of other schedulers hold no room on their nodes.
    #[must_use]
    pub fn ignores_nominations_of_others(&self) -> bool {
        self.ignores_nominations_of_others
    }

    /// Sets the profile's weight: its pods' share of the attempts while pods of other profiles with the same priority wait.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// The weight of its pods in the queue, if set.
    #[must_use]
    pub fn weight(&self) -> Option<u32> {
        self.weight
    }

    /// The extenders, in the order in which they are called.
    #[must_use]
    pub fn extenders(&self) -> &Extenders {
        &self.extenders
    }

    /// Whether extenders influence the choice of the node, for any pod: then finding one feasible node is not enough.
    #[must_use]
    pub fn extenders_choose(&self) -> bool {
        self.extenders.iter().any(|extender| extender.verbs.filter || extender.verbs.prioritize)
    }

    /// The probe that measures its plugins.
    #[must_use]
    pub fn probe(&self) -> &dyn Probe {
        &*self.probe.0
    }

    /// Distinguishes it from every other profile.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The declaration of one of its plugins.
    #[must_use]
    pub fn declaration(&self, plugin: &PluginRef) -> &Declaration {
        &self.declarations[plugin.number]
    }

    /// All plugins, by name.
    #[must_use]
    pub fn plugins(&self) -> &[PluginRef] {
        &self.all
    }

    /// Whether a PostFilter plugin may evict pods.
    #[must_use]
    pub fn evicts_pods(&self) -> bool {
        self.evicts_pods
    }

    /// Whether a rejection is valid for all equivalent pods, as long as nothing changes that the plugins declare to read.
    #[must_use]
    pub fn rejects_alike(&self) -> bool {
        let tell = |plugin: &PluginRef| self.declaration(plugin).tells_what_it_reads();
        self.extenders().is_empty()
            && self.pre_filter.iter().all(|plugin| tell(plugin))
            && self.filter.iter().all(|plugin| tell(plugin))
            && self.fails_alike
    }

    /// Whether pods that are alike have one answer: no plugin that is asked before a node is chosen may tell them apart by what it does
    /// not declare to read, such as their names, and no extender, which is sent the whole pod.
    #[must_use]
    pub fn answers_alike(&self) -> bool {
        let tell = |plugin: &PluginRef| self.declaration(plugin).tells_what_it_reads();
        self.rejects_alike()
            && self.pre_enqueue.iter().all(|plugin| tell(plugin))
            && self.pre_score.iter().all(|plugin| tell(plugin))
            && self.score.iter().all(|(plugin, _)| tell(plugin))
    }

    /// The filters that are asked once more before a pod is bound, in order.
    #[must_use]
    pub fn guards(&self) -> &[At<dyn Filter>] {
        &self.guards
    }

    /// Further filters that run again if the node's object has changed meanwhile, in order, because their rule must hold when the
    /// pod is bound.
    #[must_use]
    pub fn admission(&self) -> &[At<dyn Filter>] {
        &self.admission
    }

    /// A plugin of the profile, by name.
    #[must_use]
    pub fn plugin(&self, name: &Atom) -> Option<&Arc<dyn Plugin>> {
        self.all.iter().find(|p| p.name == *name).map(|p| &p.plugin)
    }

    /// Whether any plugin registered the event.
    #[must_use]
    pub fn registers(&self, event: &ClusterEvent) -> bool {
        self.registrations.values().flatten().any(|r| event.is_named_by(r))
    }

    /// Whether the plugin registered the event.
    #[must_use]
    pub fn plugin_registers(&self, plugin: &Atom, event: &ClusterEvent) -> bool {
        self.registrations.get(plugin).is_some_and(|list| list.iter().any(|r| event.is_named_by(r)))
    }

    /// Whether the plugin registered any event of the resource.
    #[must_use]
    pub fn names_resource(&self, plugin: &Atom, resource: EventResource) -> bool {
        let event = ClusterEvent::new(resource, ActionType::ADD, "");
        let any_action = |r: &EventRegistration| EventRegistration::new(r.resource, ActionType::ALL);
        self.registrations
            .get(plugin)
            .is_some_and(|list| list.iter().any(|r| event.is_named_by(&any_action(r))))
    }

    /// The order of two pods in the active queue. If the plugin panics, they compare as equal and are ordered by arrival.
    #[must_use]
    pub fn compare(&self, a: &QueuedPod, b: &QueuedPod) -> Ordering {
        let ask = || self.queue_sort.point.compare(a, b);
        panics::ask(self, &self.queue_sort, points::QUEUE_SORT, &a.pod, ask).unwrap_or(Ordering::Equal)
    }

    /// What an event means for a pod that the plugin rejected. The hint of a plugin that did not register the event is always
    /// [`Hint::Skip`].
    #[must_use]
    pub fn hint(&self, plugin: &Atom, event: &ClusterEvent, pod: &Pod, change: &ObjectChange) -> Hint {
        if !self.plugin_registers(plugin, event) {
            return Hint::Skip;
        }
        let Some(plugin) = self.all.iter().find(|p| p.name == *plugin) else {
            // Registered, but not a plugin: the extenders.
            return Hint::Queue;
        };
        let began = self.probe().now();
        // Upstream treats an error the same way: better one attempt too many.
        let hint = panics::ask(self, plugin, points::QUEUEING_HINT, pod, || plugin.plugin.hint(pod, change))
            .unwrap_or(Hint::Queue);
        self.probe().hint_given(plugin, event, hint, self.probe().now().since(began));
        hint
    }
}

struct Maker<'a> {
    spec: &'a ProfileSpec,
    registry: &'a Registry,
    handle: &'a Handle,
    made: BTreeMap<String, PluginRef>,
}

impl Maker<'_> {
    /// The plugins that are listed at a point, as trait objects of that point.
    fn list<P: ?Sized>(
        &mut self,
        point: ExtensionPoint,
        accessor: fn(Arc<dyn Plugin>) -> Option<Arc<P>>,
    ) -> Result<Vec<At<P>>, ProfileError> {
        let spec = self.spec;
        let listed = |(name, _): &(String, i64)| {
            let plugin = self.plugin(name)?;
            match accessor(Arc::clone(&plugin.plugin)) {
                Some(point) => Ok(At { whom: plugin, point }),
                None => Err(ProfileError::WrongPoint {
                    profile: spec.scheduler_name.clone(),
                    plugin: name.clone(),
                    point: point.field(),
                }),
            }
        };
        spec.plugins.at(point).iter().map(listed).collect()
    }

    fn plugin(&mut self, name: &str) -> Result<PluginRef, ProfileError> {
        if let Some(plugin) = self.made.get(name) {
            return Ok(plugin.clone());
        }
        let args = self.spec.args.get(name).unwrap_or(&serde_json::Value::Null);
        let plugin = self
            .registry
            .make(name, args, self.handle)
            .map_err(|error| ProfileError::Plugin { profile: self.spec.scheduler_name.clone(), error })?;
        let plugin = PluginRef { name: Atom::new(name), plugin, number: self.made.len() };
        self.made.insert(name.to_owned(), plugin.clone());
        Ok(plugin)
    }
}
