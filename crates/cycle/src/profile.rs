//! A profile: a scheduler name and its plugins, made once at start.

use crate::probe::Probe;
use secondmate_framework::{
    ActionType, ClusterEvent, EventRegistration, EventResource, Handle, Hint, ObjectChange, Plugin,
    PluginError, Registry,
};
use secondmate_model::{Atom, Pod};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Plugins of each extension point by name, in the order in which they run, with the weights of the score plugins.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "each field is the extension point of its name")]
pub struct PluginLists {
    pub pre_enqueue: Vec<String>,
    /// The plugin that orders the queue.
    pub queue_sort: Vec<String>,
    pub pre_filter: Vec<String>,
    pub filter: Vec<String>,
    pub post_filter: Vec<String>,
    pub pre_score: Vec<String>,
    pub score: Vec<(String, i64)>,
    pub reserve: Vec<String>,
    pub permit: Vec<String>,
    pub pre_bind: Vec<String>,
    pub bind: Vec<String>,
    pub post_bind: Vec<String>,
}

impl PluginLists {
    /// Puts each plugin at every extension point at which it acts, in the given order: what `multiPoint` means. A score plugin
    /// with weight 0 gets 1.
    ///
    /// # Errors
    /// A plugin that is unknown or has wrong arguments.
    pub fn multi_point(
        plugins: &[(&str, i64)],
        registry: &Registry,
        args: &BTreeMap<String, serde_json::Value>,
    ) -> Result<Self, PluginError> {
        let mut lists = Self::default();
        let handle = Handle::default();
        for (name, weight) in plugins {
            let plugin = registry.make(name, args.get(*name).unwrap_or(&serde_json::Value::Null), &handle)?;
            let put = |acts: bool, list: &mut Vec<String>| {
                if acts {
                    list.push((*name).to_owned());
                }
            };
            put(plugin.as_pre_enqueue().is_some(), &mut lists.pre_enqueue);
            put(plugin.as_queue_sort().is_some(), &mut lists.queue_sort);
            put(plugin.as_pre_filter().is_some(), &mut lists.pre_filter);
            put(plugin.as_filter().is_some(), &mut lists.filter);
            put(plugin.as_post_filter().is_some(), &mut lists.post_filter);
            put(plugin.as_pre_score().is_some(), &mut lists.pre_score);
            put(plugin.as_reserve().is_some(), &mut lists.reserve);
            put(plugin.as_permit().is_some(), &mut lists.permit);
            put(plugin.as_pre_bind().is_some(), &mut lists.pre_bind);
            put(plugin.as_bind().is_some(), &mut lists.bind);
            put(plugin.as_post_bind().is_some(), &mut lists.post_bind);
            if plugin.as_score().is_some() {
                lists.score.push(((*name).to_owned(), (*weight).max(1)));
            }
        }
        Ok(lists)
    }
}

/// What a profile is made from.
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

/// A plugin in its place at an extension point.
#[derive(Clone)]
pub struct PluginRef {
    /// Its name, as an atom.
    pub name: Atom,
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// Its number in the profile: they count from 0.
    pub number: usize,
}

impl std::fmt::Debug for PluginRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// A profile that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A plugin cannot be made.
    #[error("profile {profile:?}: {error}")]
    Plugin {
        /// Profile.
        profile: String,
        /// What is wrong.
        error: PluginError,
    },
    /// A plugin is listed at a point at which it does not act.
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
        /// How many there are.
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
    all: Vec<PluginRef>,
    registrations: BTreeMap<Atom, Vec<EventRegistration>>,
    /// Of [`Self::filter`], those that are asked once more before a pod is bound.
    guards: Vec<PluginRef>,
    /// Plugins at PreEnqueue, in order.
    pub pre_enqueue: Vec<PluginRef>,
    /// The plugin that orders the queue.
    pub queue_sort: PluginRef,
    /// Plugins at PreFilter, in order.
    pub pre_filter: Vec<PluginRef>,
    /// Plugins at Filter, in order.
    pub filter: Vec<PluginRef>,
    /// Plugins at PostFilter, in order.
    pub post_filter: Vec<PluginRef>,
    /// Plugins at PreScore, in order.
    pub pre_score: Vec<PluginRef>,
    /// Plugins at Score with their weights, in order.
    pub score: Vec<(PluginRef, i64)>,
    /// Plugins at Reserve, in order.
    pub reserve: Vec<PluginRef>,
    /// Plugins at Permit, in order.
    pub permit: Vec<PluginRef>,
    /// Plugins at PreBind, in order.
    pub pre_bind: Vec<PluginRef>,
    /// Plugins at Bind, in order.
    pub bind: Vec<PluginRef>,
    /// Plugins at PostBind, in order.
    pub post_bind: Vec<PluginRef>,
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
    /// Makes the plugins and checks that each acts where it is listed.
    ///
    /// # Errors
    /// A plugin that is unknown, has wrong arguments or does not act where it is listed; no or several queue sort plugins; no
    /// bind plugin.
    pub fn new(
        spec: &ProfileSpec,
        registry: &Registry,
        parity: secondmate_framework::Parity,
    ) -> Result<Self, ProfileError> {
        let mut handle = Handle::new(Atom::new(&spec.scheduler_name), parity);
        handle.victims_of =
            spec.victims_of.as_ref().map(|names| names.iter().map(|n| Atom::new(n)).collect());
        let mut made = Maker { spec, registry, handle: &handle, made: BTreeMap::new() };
        let lists = &spec.plugins;
        let pre_enqueue = made.list("preEnqueue", &lists.pre_enqueue, |p| p.as_pre_enqueue().is_some())?;
        let mut queue_sort = made.list("queueSort", &lists.queue_sort, |p| p.as_queue_sort().is_some())?;
        let pre_filter = made.list("preFilter", &lists.pre_filter, |p| p.as_pre_filter().is_some())?;
        let filter = made.list("filter", &lists.filter, |p| p.as_filter().is_some())?;
        let post_filter = made.list("postFilter", &lists.post_filter, |p| p.as_post_filter().is_some())?;
        let pre_score = made.list("preScore", &lists.pre_score, |p| p.as_pre_score().is_some())?;
        let (score_names, weights): (Vec<_>, Vec<_>) = lists.score.iter().cloned().unzip();
        let score = made.list("score", &score_names, |p| p.as_score().is_some())?;
        let reserve = made.list("reserve", &lists.reserve, |p| p.as_reserve().is_some())?;
        let permit = made.list("permit", &lists.permit, |p| p.as_permit().is_some())?;
        let pre_bind = made.list("preBind", &lists.pre_bind, |p| p.as_pre_bind().is_some())?;
        let bind = made.list("bind", &lists.bind, |p| p.as_bind().is_some())?;
        let post_bind = made.list("postBind", &lists.post_bind, |p| p.as_post_bind().is_some())?;
        let profile = || spec.scheduler_name.clone();
        if queue_sort.len() != 1 {
            return Err(ProfileError::QueueSort { profile: profile(), count: queue_sort.len() });
        }
        if bind.is_empty() {
            return Err(ProfileError::NoBind { profile: profile() });
        }
        let all: Vec<PluginRef> = made.made.into_values().collect();
        let registrations: BTreeMap<_, _> = all.iter().map(|p| (p.name.clone(), p.plugin.events())).collect();
        let guards = filter.iter().filter(|p| p.plugin.declaration().guards_the_node()).cloned().collect();
        Ok(Self {
            name: Atom::new(&spec.scheduler_name),
            percentage: spec.percentage_of_nodes_to_score,
            handle: HandleBox(handle),
            probe: ProbeBox(Arc::new(())),
            all,
            registrations,
            guards,
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

    /// The handle that the plugins were given.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle.0
    }

    /// The same profile, measured.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = ProbeBox(probe);
        self
    }

    /// Who measures what its plugins do.
    #[must_use]
    pub fn probe(&self) -> &dyn Probe {
        &*self.probe.0
    }

    /// All plugins, by name.
    #[must_use]
    pub fn plugins(&self) -> &[PluginRef] {
        &self.all
    }

    /// The filters that are asked once more before a pod is bound, in order.
    #[must_use]
    pub fn guards(&self) -> &[PluginRef] {
        &self.guards
    }

    /// A plugin of the profile.
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

    /// What an event means for a pod that the plugin rejected. A plugin that did not register the event has nothing to say.
    #[must_use]
    pub fn hint(&self, plugin: &Atom, event: &ClusterEvent, pod: &Pod, change: &ObjectChange) -> Hint {
        if !self.plugin_registers(plugin, event) {
            return Hint::Skip;
        }
        let Some(plugin) = self.all.iter().find(|p| p.name == *plugin) else { return Hint::Skip };
        let began = self.probe().now();
        let hint = plugin.plugin.hint(pod, change);
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
    fn list(
        &mut self,
        point: &'static str,
        names: &[String],
        acts: impl Fn(&dyn Plugin) -> bool,
    ) -> Result<Vec<PluginRef>, ProfileError> {
        names
            .iter()
            .map(|name| {
                let plugin = self.plugin(name)?;
                if acts(&*plugin.plugin) {
                    Ok(plugin)
                } else {
                    Err(ProfileError::WrongPoint {
                        profile: self.spec.scheduler_name.clone(),
                        plugin: name.clone(),
                        point,
                    })
                }
            })
            .collect()
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
