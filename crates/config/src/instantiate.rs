//! From a configuration to profiles that run.

use crate::{Configuration, EnabledPlugin, Unsupported};
use secondmate_cycle::{PluginLists, Profile, ProfileError, ProfileSpec};
use secondmate_framework::{Handle, Parity, Plugin, PluginError, Registry};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a configuration gives no profiles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfilesError {
    /// It asks for what is not there yet.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unsupported(Vec<Unsupported>),
    /// A profile cannot be made.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Makes the profiles of a configuration, in its order, with the plugins of a registry.
///
/// An in-tree plugin is left out of an extension point at which upstream's plugin acts and ours has nothing to do, since the core
/// does it (DefaultPreemption's PreEnqueue) or the plugin refuses what would need it (DynamicResources).
///
/// # Errors
/// What the configuration asks for is not supported yet, or a plugin cannot be made.
pub fn make_profiles(
    configuration: &Configuration,
    registry: &Registry,
) -> Result<Vec<Profile>, ProfilesError> {
    if !configuration.unsupported().is_empty() {
        return Err(ProfilesError::Unsupported(configuration.unsupported().to_vec()));
    }
    let parity = match configuration.own.parity {
        crate::Parity::Strict => Parity::Strict,
        crate::Parity::Sensible => Parity::Sensible,
    };
    // Where nothing is said, preemption is explained as kube-scheduler does it.
    let spares_others = configuration.own.preempt_other_schedulers == Some(false);
    let victims_of = spares_others
        .then(|| configuration.scheduler_names().into_iter().map(str::to_owned).collect::<Vec<_>>());
    let make = |profile: &crate::Profile| {
        let spec = specification(profile, registry, parity, victims_of.clone())?;
        Ok(Profile::new(&spec, registry, parity)?)
    };
    configuration.profiles.iter().map(make).collect()
}

fn specification(
    profile: &crate::Profile,
    registry: &Registry,
    parity: Parity,
    victims_of: Option<Vec<String>>,
) -> Result<ProfileSpec, ProfileError> {
    let args: BTreeMap<String, Value> =
        profile.plugin_args.iter().map(|(name, args)| (name.clone(), args.to_value())).collect();
    let handle = Handle::new(profile.scheduler_name.as_str().into(), parity);
    let mut made: BTreeMap<&str, Arc<dyn Plugin>> = BTreeMap::new();
    for name in profile.plugins.names() {
        let failed =
            |error: PluginError| ProfileError::Plugin { profile: profile.scheduler_name.clone(), error };
        made.insert(
            name,
            registry.make(name, args.get(name).unwrap_or(&Value::Null), &handle).map_err(failed)?,
        );
    }
    let acting = |list: &[EnabledPlugin], acts: fn(&dyn Plugin) -> bool| -> Vec<String> {
        let acts = |plugin: &&EnabledPlugin| made.get(plugin.name.as_str()).is_some_and(|p| acts(&**p));
        list.iter().filter(acts).map(|plugin| plugin.name.clone()).collect()
    };
    let lists = &profile.plugins;
    let plugins = PluginLists {
        pre_enqueue: acting(&lists.pre_enqueue, |p| p.as_pre_enqueue().is_some()),
        queue_sort: acting(&lists.queue_sort, |p| p.as_queue_sort().is_some()),
        pre_filter: acting(&lists.pre_filter, |p| p.as_pre_filter().is_some()),
        filter: acting(&lists.filter, |p| p.as_filter().is_some()),
        post_filter: acting(&lists.post_filter, |p| p.as_post_filter().is_some()),
        pre_score: acting(&lists.pre_score, |p| p.as_pre_score().is_some()),
        score: lists.score.iter().map(|p| (p.name.clone(), i64::from(p.weight))).collect(),
        reserve: acting(&lists.reserve, |p| p.as_reserve().is_some()),
        permit: acting(&lists.permit, |p| p.as_permit().is_some()),
        pre_bind: acting(&lists.pre_bind, |p| p.as_pre_bind().is_some()),
        bind: acting(&lists.bind, |p| p.as_bind().is_some()),
        post_bind: acting(&lists.post_bind, |p| p.as_post_bind().is_some()),
    };
    Ok(ProfileSpec {
        scheduler_name: profile.scheduler_name.clone(),
        // For scheduling; explaining looks at every node. Zero adapts to the size of the cluster, as kube-scheduler does.
        percentage_of_nodes_to_score: profile.percentage_of_nodes_to_score.unwrap_or(0),
        plugins,
        args,
        victims_of,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_default_profile_has_every_in_tree_plugin_and_weighs_those_that_score() {
        let registry = secondmate_plugins::registry().expect("no name twice");
        let configuration = Configuration::for_scheduler_names(&["my-scheduler"]).expect("a name");
        make_profiles(&configuration, &registry).expect("made without arguments");
        let profile = &configuration.profiles[0];
        let handle = Handle::new("my-scheduler".into(), Parity::Strict);
        let make = |name: &str| {
            let args = profile.plugin_args.get(name).map_or(Value::Null, |args| args.to_value());
            registry.make(name, &args, &handle).expect("made")
        };
        let names = profile.plugins.names();
        assert_eq!(names, registry.names().collect::<BTreeSet<_>>());
        let weighed: BTreeSet<&str> =
            profile.plugins.score.iter().map(|plugin| plugin.name.as_str()).collect();
        let scoring: BTreeSet<&str> =
            names.into_iter().filter(|name| make(name).as_score().is_some()).collect();
        assert_eq!(weighed, scoring);
    }
}
