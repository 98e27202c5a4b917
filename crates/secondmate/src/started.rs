//! The log line at the start of a scheduler: all that an operator needs to know about what runs, in one line.

use crate::version::VERSION;
use secondmate_config::{Configuration, ExtensionPoint, ResolvedPlugins};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use tracing::info;

/// Logs the line.
pub(crate) fn say(
    configuration: &Configuration,
    server: &str,
    lease: Option<&str>,
    listen: Option<SocketAddr>,
    debug_listen: Option<SocketAddr>,
) {
    let shown =
        |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |address| address.to_string());
    info!(
        version = VERSION.version,
        commit = VERSION.commit,
        kubernetes = VERSION.kubernetes,
        server,
        profiles = profiles(configuration),
        lease = lease.unwrap_or("none"),
        listen = shown(listen),
        debug_listen = shown(debug_listen),
        "starting"
    );
}

/// The profiles, each with its differences from the default plugins: `a, b (-ImageLocality +NodeNumber)`.
fn profiles(configuration: &Configuration) -> String {
    let default = Configuration::for_scheduler_names(&["default".to_owned()])
        .expect("a name without a file is a configuration");
    let default = &default.profiles[0].plugins;
    let mut text = String::new();
    for profile in &configuration.profiles {
        let separator = if text.is_empty() { "" } else { ", " };
        write!(text, "{separator}{}", profile.scheduler_name).expect("writing to a String does not fail");
        let differences = differences(&profile.plugins, default);
        if !differences.is_empty() {
            write!(text, " ({})", differences.join(" ")).expect("writing to a String does not fail");
        }
    }
    text
}

/// `+` before a plugin that is added, `-` before one that is missing, and the plugin with its weight or its extension points
/// if those differ.
fn differences(plugins: &ResolvedPlugins, default: &ResolvedPlugins) -> Vec<String> {
    let (ours, theirs) = (names(plugins), names(default));
    let missing = theirs.difference(&ours).map(|name| format!("-{name}"));
    let added = ours.difference(&theirs).map(|name| format!("+{name}"));
    let changed = ours.intersection(&theirs).filter_map(|name| {
        let (points, usual) = (points(plugins, name), points(default, name));
        if points != usual {
            return Some(format!("{name}:{}", points.join("/")));
        }
        let weight = |plugins: &ResolvedPlugins| {
            plugins.score.iter().find(|plugin| plugin.name == *name).map(|plugin| plugin.weight)
        };
        weight(plugins).filter(|ours| Some(*ours) != weight(default)).map(|weight| format!("{name}={weight}"))
    });
    missing.chain(added).chain(changed).collect()
}

fn names(plugins: &ResolvedPlugins) -> BTreeSet<&str> {
    let lists = ExtensionPoint::ALL.iter().flat_map(|point| plugins.at(*point));
    lists.map(|plugin| plugin.name.as_str()).collect()
}

/// The extension points at which a plugin is enabled.
fn points(plugins: &ResolvedPlugins, name: &str) -> Vec<&'static str> {
    let acts = |point: &ExtensionPoint| plugins.at(*point).iter().any(|plugin| plugin.name == name);
    ExtensionPoint::ALL.iter().filter(|point| acts(point)).map(|point| point.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_config::PluginCatalogue;

    fn told(profiles_text: &str) -> String {
        let text = format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: {profiles_text}\n"
        );
        let configuration = Configuration::parse(&text, &PluginCatalogue::in_tree());
        profiles(&configuration.expect("a valid configuration"))
    }

    #[test]
    fn plugins_that_differ_are_named() {
        assert_eq!(told("[{schedulerName: a}, {schedulerName: b}]"), "a, b");
        let changed = "[{schedulerName: a, plugins: {
            multiPoint: {disabled: [{name: ImageLocality}]},
            score: {disabled: [{name: TaintToleration}, {name: NodeAffinity}], enabled: [{name: NodeAffinity, weight: 7}]}}}]";
        assert_eq!(
            told(changed),
            "a (-ImageLocality NodeAffinity=7 TaintToleration:PreFilter/Filter/PreScore)"
        );
    }
}
