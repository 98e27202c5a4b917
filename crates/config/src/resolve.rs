//! From `plugins` as written to the list of plugins per extension point.
//!
//! Two steps, as in kube-scheduler: the written sets are merged over the default ones (`default_plugins.go`,
//! `mergePluginSet`), then `multiPoint` is expanded to the points that each plugin implements (`framework.go`,
//! `updatePluginList` and `expandMultiPointPlugins`). A specific point beats an explicit `multiPoint`, which beats the
//! default one.

use std::collections::BTreeSet;

use secondmate_framework::{ExtensionPoint, PerPoint};
use serde::Serialize;

use crate::plugins::{DEFAULT_MULTI_POINT, PluginCatalogue};
use crate::problem::{Path, ProblemKind, Problems, quoted};
use crate::v1::{GivenPlugin, GivenPlugins, GivenSet};

/// A plugin in the list of an extension point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnabledPlugin {
    /// The plugin's name.
    pub name: String,
    /// Factor of the plugin's normalised score. Only `Score` has weights: 0 at every other point.
    pub weight: i32,
}

/// What runs at each extension point of a profile, in order. Weights at Score are never 0.
pub type ResolvedPlugins = PerPoint<Vec<EnabledPlugin>>;

/// Every plugin that runs somewhere, sorted by name.
pub(crate) fn names(plugins: &ResolvedPlugins) -> BTreeSet<&str> {
    let all = ExtensionPoint::ALL.into_iter().flat_map(|point| plugins.at(point));
    all.map(|plugin| plugin.name.as_str()).collect()
}

/// `plugins` as merged over the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct MergedPlugins {
    pub multi_point: GivenSet,
    /// Only the points that the configuration names have any plugins: by default, all come from `multiPoint`.
    pub specific: GivenPlugins,
}

impl MergedPlugins {
    /// The names that kube-scheduler applies default arguments for.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let specific = ExtensionPoint::ALL.iter().flat_map(|point| &self.specific.at(*point).enabled);
        specific.chain(&self.multi_point.enabled).map(|plugin| plugin.name.clone()).collect()
    }
}

/// The default plugins of kube-scheduler 1.37 with the given ones merged in.
pub(crate) fn merge(given: &GivenPlugins) -> MergedPlugins {
    let defaults = DEFAULT_MULTI_POINT
        .iter()
        .map(|(name, weight)| GivenPlugin { name: (*name).to_owned(), weight: *weight })
        .collect();
    // The defaults have nothing at the specific points, so merging leaves those as written.
    MergedPlugins { multi_point: merge_set(defaults, &given.multi_point), specific: given.clone() }
}

fn merge_set(defaults: Vec<GivenPlugin>, custom: &GivenSet) -> GivenSet {
    let disabled = |name: &str| custom.disabled.iter().any(|plugin| plugin == name);
    let mut replaced = BTreeSet::new();
    let mut enabled = Vec::new();
    if !disabled("*") {
        for plugin in defaults {
            if disabled(&plugin.name) {
                continue;
            }
            // A default that is configured again keeps its place and takes the new weight. If there are several, the last one counts;
            // the others are appended below, where the expansion finds them registered twice.
            match custom.enabled.iter().rposition(|other| other.name == plugin.name) {
                Some(index) => {
                    replaced.insert(index);
                    enabled.push(custom.enabled[index].clone());
                }
                None => enabled.push(plugin),
            }
        }
    }
    let added = custom.enabled.iter().enumerate().filter(|(index, _)| !replaced.contains(index));
    enabled.extend(added.map(|(_, plugin)| plugin.clone()));
    GivenSet { enabled, disabled: custom.disabled.clone() }
}

/// Expands a profile's plugins; reports every reason why they do not make a profile. A point that is reported is left empty.
pub(crate) fn expand(
    merged: &MergedPlugins,
    catalogue: &PluginCatalogue,
    scheduler_name: &str,
    profile: &Path,
    problems: &Problems,
) -> ResolvedPlugins {
    let path = profile.child("plugins");
    let multi_point = path.child("multiPoint");
    let refuse = |path: &Path, message: String| problems.report(ProblemKind::Plugins, path, message);
    check_score_weights(merged, catalogue, &path, problems);
    let mut resolved = ResolvedPlugins::default();
    // A plugin of `multiPoint` is reported once, not at each point.
    let mut at_fault = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for point in ExtensionPoint::ALL {
        let before = problems.count();
        check_specific(merged.specific.at(point), point, catalogue, &path, problems);
        let names = expand_point(merged, point, catalogue, |name, message| {
            if at_fault.insert(name) {
                refuse(&multi_point.child("enabled"), message);
            }
        });
        if problems.count() > before {
            refused.insert(point);
            continue;
        }
        *resolved.at_mut(point) = names
            .into_iter()
            .map(|name| EnabledPlugin {
                name: name.to_owned(),
                weight: if point == ExtensionPoint::Score { score_weight(merged, name) } else { 0 },
            })
            .collect();
    }
    // If a plugin could not be found or made, it is unknown whether anything is missing.
    let all_known = at_fault.is_empty() && !merged.names().iter().any(|name| catalogue.is_refused(name));
    let whole = |point| all_known && !refused.contains(&point);
    let queue_sorts = resolved.queue_sort.len();
    if queue_sorts != 1 && whole(ExtensionPoint::QueueSort) {
        let message = format!(
            "only one queue sort plugin required for profile with scheduler name {}, but got {queue_sorts}; enable one, such as PrioritySort",
            quoted(scheduler_name),
        );
        refuse(&path.child("queueSort"), message);
        problems.depends_on(&multi_point);
    }
    if resolved.bind.is_empty() && whole(ExtensionPoint::Bind) {
        let message = format!(
            "at least one bind plugin is needed for profile with scheduler name {}; enable DefaultBinder",
            quoted(scheduler_name)
        );
        refuse(&path.child("bind"), message);
        problems.depends_on(&multi_point);
    }
    resolved
}

/// The plugins that a point itself names must exist, implement the point, and be named only once.
fn check_specific(
    set: &GivenSet,
    point: ExtensionPoint,
    catalogue: &PluginCatalogue,
    path: &Path,
    problems: &Problems,
) {
    let interface = format!("{}Plugin", point.name());
    for (index, plugin) in set.enabled.iter().enumerate() {
        let fault = match catalogue.points(&plugin.name) {
            None if catalogue.is_refused(&plugin.name) => continue,
            None => does_not_exist(&interface, &plugin.name, catalogue),
            Some(points) if !points.contains(&point) => {
                let list = points.iter().map(|point| point.field()).collect::<Vec<_>>().join(", ");
                format!(
                    "plugin {} does not extend {interface} plugin; it can be enabled at: {list}",
                    quoted(&plugin.name)
                )
            }
            Some(_) if set.enabled[..index].iter().any(|earlier| earlier.name == plugin.name) => {
                registered_twice(&plugin.name, &interface)
            }
            Some(_) => continue,
        };
        problems.report(
            ProblemKind::Plugins,
            &path.child(point.field()).child("enabled").index(index),
            fault,
        );
    }
}

/// The weights must not make the total score overflow (`framework.go`, `getValidScoreWeights`): first those that `score` names, then those
/// of `multiPoint`, with each plugin counted once, even if it is disabled at `score`.
///
/// The arithmetic is Go's, which wraps. Weights have 32 bits, so the sum of positive ones cannot overflow. What is rejected is a sum
/// that a negative weight has brought below zero, if another score plugin follows. Other negative weights get a remark.
fn check_score_weights(
    merged: &MergedPlugins,
    catalogue: &PluginCatalogue,
    path: &Path,
    problems: &Problems,
) {
    const MAX_SCORE: i64 = 100;
    let specific = &merged.specific.at(ExtensionPoint::Score).enabled;
    let lists = [(path.child("score"), specific), (path.child("multiPoint"), &merged.multi_point.enabled)];
    let mut counted = BTreeSet::new();
    let mut total: i64 = 0;
    let mut negative: Option<(Path, &GivenPlugin)> = None;
    for (path, list) in &lists {
        for (index, plugin) in list.iter().enumerate() {
            let scores = catalogue.implements(&plugin.name, ExtensionPoint::Score);
            if !scores || !counted.insert(plugin.name.as_str()) {
                continue;
            }
            let weight = if plugin.weight == 0 { 1 } else { i64::from(plugin.weight) };
            if weight < 0 && negative.is_none() {
                negative = Some((path.child("enabled").index(index).child("weight"), plugin));
            }
            let most = weight * MAX_SCORE;
            if most > i64::MAX.wrapping_sub(total) {
                let (path, culprit) =
                    negative.map_or((path.clone(), plugin), |(path, culprit)| (path, culprit));
                let message = format!(
                    "score plugins: total score of Score plugins could overflow: {} has weight {}; give it a weight from 1 on, or disable it",
                    culprit.name, culprit.weight
                );
                problems.report(ProblemKind::Plugins, &path, message);
                return;
            }
            total = total.wrapping_add(most);
        }
    }
}

fn does_not_exist(interface: &str, name: &str, catalogue: &PluginCatalogue) -> String {
    let remedy = match catalogue.nearest(name) {
        Some(similar) => format!("did you mean {}?", quoted(similar)),
        None => {
            let names: Vec<&str> = catalogue.names().collect();
            format!("the plugins of this scheduler are {}", names.join(", "))
        }
    };
    format!("{interface} {} does not exist; {remedy}", quoted(name))
}

fn registered_twice(name: &str, interface: &str) -> String {
    format!("plugin {} already registered as {}; name it once", quoted(name), quoted(interface))
}

/// The names that run at a point, in order: first those of the point that `multiPoint` also has (they keep the order
/// of the point), then the rest of `multiPoint`, then the rest of the point. Problems in `multiPoint` are passed to `refuse`.
fn expand_point<'m>(
    merged: &'m MergedPlugins,
    point: ExtensionPoint,
    catalogue: &PluginCatalogue,
    mut refuse: impl FnMut(&'m str, String),
) -> Vec<&'m str> {
    let set = merged.specific.at(point);
    let specific: Vec<&str> = set.enabled.iter().map(|plugin| plugin.name.as_str()).collect();
    if set.disabled.iter().any(|name| name == "*") {
        return specific;
    }
    let interface = format!("{}Plugin", point.name());
    let mut overridden = BTreeSet::new();
    let mut from_multi_point: Vec<&str> = Vec::new();
    for plugin in &merged.multi_point.enabled {
        let name = plugin.name.as_str();
        if catalogue.is_refused(name) {
            continue;
        }
        if catalogue.points(name).is_none() {
            refuse(name, does_not_exist(&interface, name, catalogue));
            continue;
        }
        if !catalogue.implements(name, point) || set.disabled.iter().any(|disabled| disabled == name) {
            continue;
        }
        if specific.contains(&name) {
            overridden.insert(name);
        } else if from_multi_point.contains(&name) {
            refuse(name, registered_twice(name, &interface));
        } else {
            from_multi_point.push(name);
        }
    }
    let (first, last): (Vec<&str>, Vec<&str>) =
        specific.into_iter().partition(|name| overridden.contains(name));
    first.into_iter().chain(from_multi_point).chain(last).collect()
}

/// The weight at `score`, else that at `multiPoint`, else 1.
fn score_weight(merged: &MergedPlugins, name: &str) -> i32 {
    let specific = &merged.specific.at(ExtensionPoint::Score).enabled;
    let weight = specific
        .iter()
        .chain(&merged.multi_point.enabled)
        .find(|plugin| plugin.name == name)
        .map_or(0, |plugin| plugin.weight);
    if weight == 0 { 1 } else { weight }
}
