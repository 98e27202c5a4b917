//! Profiles: the name, plugins and arguments of each, and what they must have in common.

use std::collections::{BTreeMap, BTreeSet};

use crate::ExtensionPoint;
use crate::args::{self, PluginArgs};
use crate::configuration::{DEFAULT_SCHEDULER_NAME, Profile, percentage};
use crate::plugins::{PluginCatalogue, REMOVED, Refusal};
use crate::problem::{Path, ProblemKind, Problems, quoted};
use crate::remarks::Remarks;
use crate::resolve::{self, MergedPlugins};
use crate::v1::{GivenConfiguration, GivenProfile};

/// Resolves every profile, and checks that they are compatible.
pub(crate) fn resolve_profiles(
    given: &GivenConfiguration,
    percentage_of_all: Option<u8>,
    catalogue: &PluginCatalogue,
    problems: &Problems,
    remarks: &mut Remarks,
) -> Vec<Profile> {
    let path = Path::default().child("profiles");
    let mut list = given.profiles.clone();
    if list.is_empty() {
        list.push(GivenProfile::default());
    }
    // Only a single profile has a default name.
    if let [only] = list.as_mut_slice() {
        only.scheduler_name.get_or_insert_with(|| DEFAULT_SCHEDULER_NAME.to_owned());
    }
    let mut profiles: Vec<Profile> = Vec::with_capacity(list.len());
    let mut merged_plugins: Vec<MergedPlugins> = Vec::with_capacity(list.len());
    for (index, profile) in list.iter().enumerate() {
        let path = path.index(index);
        let catalogue: &PluginCatalogue = &catalogue.of_profile(&path);
        let name = profile.scheduler_name.clone().unwrap_or_default();
        if name.is_empty() {
            problems
                .required(&path.child("schedulerName"), "with several profiles each needs a name of its own");
        } else if let Some(first) =
            list[..index].iter().rposition(|other| other.scheduler_name.as_ref() == Some(&name))
        {
            problems.duplicate(
                &path.child("schedulerName"),
                format!("{}: profiles[{first}] has it already", quoted(&name)),
            );
        }
        let own_percentage = percentage(profile.percentage_of_nodes_to_score, &path, problems);
        refuse_removed(profile, &path, problems);
        let merged = resolve::merge(&profile.plugins);
        let plugins = resolve::expand(&merged, catalogue, &name, &path, problems);
        let plugin_args = plugin_args(profile, &merged, catalogue, &path, problems);
        remarks.about_profile(profile, &plugins, catalogue, &path);
        profiles.push(Profile {
            scheduler_name: name,
            percentage_of_nodes_to_score: own_percentage.or(percentage_of_all),
            plugins,
            plugin_args,
        });
        merged_plugins.push(merged);
    }
    check_common_queue_sort(&profiles, &merged_plugins, &path, problems);
    profiles
}

/// Plugins of earlier versions get their own message. As in kube-scheduler, `multiPoint` is not checked: there,
/// such a plugin simply does not exist.
fn refuse_removed(profile: &GivenProfile, path: &Path, problems: &Problems) {
    let message = format!(
        "was invalid in version \"v1\" (KubeSchedulerConfiguration is version {}); NodeVolumeLimits does its work, remove it",
        quoted(crate::API_VERSION)
    );
    for point in ExtensionPoint::ALL {
        let path = path.child("plugins").child(point.field()).child("enabled");
        for (index, plugin) in profile.plugins.at(point).enabled.iter().enumerate() {
            if REMOVED.contains(&plugin.name.as_str()) {
                problems.invalid(&path.index(index), quoted(&plugin.name), &message);
            }
        }
    }
    for (index, config) in profile.plugin_config.iter().enumerate() {
        if REMOVED.contains(&config.name.as_str()) {
            problems.invalid(&path.child("pluginConfig").index(index), quoted(&config.name), &message);
        }
    }
}

fn plugin_args(
    profile: &GivenProfile,
    merged: &MergedPlugins,
    catalogue: &PluginCatalogue,
    path: &Path,
    problems: &Problems,
) -> BTreeMap<String, PluginArgs> {
    let enabled = merged.names();
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (index, config) in profile.plugin_config.iter().enumerate() {
        let path = path.child("pluginConfig").index(index);
        let name = config.name.as_str();
        if !seen.insert(name) {
            problems.duplicate(&path, format!("{}; keep one entry for the plugin", quoted(name)));
            continue;
        }
        if name.is_empty() {
            problems.required(&path.child("name"), "every entry names a plugin");
        } else if catalogue.points(name).is_some() {
            let before = problems.count();
            let args = args::read(name, config.args.as_ref(), &path.child("args"), problems);
            // kube-scheduler checks these when it creates the plugin, and all others when it reads the file.
            if name == "NodeResourcesFit" && !enabled.contains(name) {
                problems.forget_validation_since(before);
            }
            found.extend(args.map(|args| (name.to_owned(), args)));
        }
        let args = path.child("args");
        for Refusal { field, reason } in catalogue.refusals(&args).iter().filter(|_| enabled.contains(name)) {
            let path = field.as_ref().map_or_else(|| args.clone(), |field| args.child(field));
            problems.report(ProblemKind::Plugins, &path, format!("plugin {}: {reason}", quoted(name)));
        }
        // kube-scheduler ignores the arguments of a plugin that it does not have. A remark points them out.
    }
    for name in enabled {
        if !found.contains_key(&name)
            && let Some(args) = PluginArgs::default_for(&name)
        {
            found.insert(name, args);
        }
    }
    found
}

/// There is only one queue, so all profiles must sort it in the same way.
fn check_common_queue_sort(profiles: &[Profile], merged: &[MergedPlugins], path: &Path, problems: &Problems) {
    let set = |index: usize| merged[index].specific.at(ExtensionPoint::QueueSort);
    let enabled = set(0).enabled.len();
    if enabled > 1 {
        problems.invalid(
            &path.index(0).child("plugins").child("queueSort").child("enabled"),
            enabled,
            "only one queue sort plugin can be enabled",
        );
    }
    let sorts = |index: usize| profiles[index].plugins.queue_sort.first().map(|plugin| plugin.name.as_str());
    let first_config = path.index(0).child("pluginConfig");
    let first_queue_sort = path.index(0).child("plugins").child("queueSort");
    for index in 1..profiles.len() {
        let path = path.index(index);
        let queue_sort = path.child("plugins").child("queueSort");
        if set(index) != set(0) {
            let shown = serde_json::to_string(set(index)).unwrap_or_default();
            problems.invalid(&queue_sort, shown, "must be the same for all profiles");
            problems.depends_on(&first_queue_sort);
        } else if let (Some(first), Some(this)) = (sorts(0), sorts(index))
            && first != this
        {
            problems.report(
                ProblemKind::Plugins,
                &queue_sort,
                format!(
                    "different queue sort plugins for profile {}: {}, first: {}; use the same in all profiles",
                    quoted(&profiles[index].scheduler_name),
                    quoted(this),
                    quoted(first)
                ),
            );
            problems.depends_on(&first_queue_sort);
        }
        if let Some(name) = sorts(0)
            && profiles[index].plugin_args.get(name) != profiles[0].plugin_args.get(name)
        {
            problems.invalid(
                &path.child("pluginConfig"),
                quoted(name),
                "queueSort must be the same for all profiles",
            );
            problems.depends_on(&first_config);
        }
    }
}
