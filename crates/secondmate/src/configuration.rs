//! From options and file to profiles that run.

use crate::App;
use anyhow::{Context, bail};
use secondmate_config::{Configuration, PluginArgs, ResolvedPlugins};
use secondmate_core::{PluginLists, Profile, ProfileSpec};
use std::path::PathBuf;

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationSource {
    /// A file with a `KubeSchedulerConfiguration`.
    pub file: Option<PathBuf>,
    /// Scheduler names: each a profile of its own. With a file, each has the plugins of the file's only profile.
    pub scheduler_names: Vec<String>,
    /// `default-scheduler` is allowed as a name.
    pub replace_default_scheduler: bool,
}

impl ConfigurationSource {
    /// Reads and checks it.
    ///
    /// # Errors
    /// There is neither name nor file; the file cannot be read or has problems; it has several profiles and names are given
    /// too; something is configured that does not exist yet; `default-scheduler` would be taken without leave.
    pub fn read(&self, app: &App) -> anyhow::Result<Configuration> {
        let names = &self.scheduler_names;
        let configuration = match &self.file {
            None if names.is_empty() => {
                bail!(
                    "there is nothing to schedule: give --scheduler-name NAME (it may be repeated), or --config FILE"
                )
            }
            None => Configuration::for_scheduler_names(names).context("--scheduler-name")?,
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!(
                        "cannot read the configuration {}: give a readable file by --config",
                        path.display()
                    )
                })?;
                let mut configuration = Configuration::parse(&text, &app.catalogue()?)
                    .with_context(|| path.display().to_string())?;
                rename(&mut configuration, names).with_context(|| path.display().to_string())?;
                configuration
            }
        };
        if !configuration.unsupported().is_empty() {
            let list: Vec<String> =
                configuration.unsupported().iter().map(|u| format!("\n  - {u}")).collect();
            bail!("the configuration asks for what secondmate does not have yet:{}", list.concat());
        }
        configuration.check_default_scheduler(self.replace_default_scheduler)?;
        Ok(configuration)
    }
}

/// Gives the file's profile the names of the command line.
fn rename(configuration: &mut Configuration, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let [only] = configuration.profiles.as_slice() else {
        bail!(
            "the file has {} profiles, so --scheduler-name cannot name them: remove the option",
            configuration.profiles.len()
        );
    };
    // Checks the names by the rules for names without a file.
    Configuration::for_scheduler_names(names).context("--scheduler-name")?;
    let template = only.clone();
    let named =
        |name: &String| secondmate_config::Profile { scheduler_name: name.clone(), ..template.clone() };
    configuration.profiles = names.iter().map(named).collect();
    Ok(())
}

/// The profiles of a configuration, with their plugins made.
///
/// # Errors
/// A plugin that this program does not have, arguments that it refuses, or an extension point at which it does not act.
pub fn profiles(app: &App, configuration: &Configuration) -> anyhow::Result<Vec<Profile>> {
    let registry = app.registry()?;
    let parity = match configuration.own.parity {
        secondmate_config::Parity::Strict => secondmate_framework::Parity::Strict,
        secondmate_config::Parity::Sensible => secondmate_framework::Parity::Sensible,
    };
    let make = |profile: &secondmate_config::Profile| Ok(Profile::new(&spec(profile), &registry, parity)?);
    configuration.profiles.iter().map(make).collect()
}

fn spec(profile: &secondmate_config::Profile) -> ProfileSpec {
    ProfileSpec {
        scheduler_name: profile.scheduler_name.clone(),
        // Zero adapts to the size of the cluster, as kube-scheduler does.
        percentage_of_nodes_to_score: profile.percentage_of_nodes_to_score.unwrap_or(0),
        plugins: lists(&profile.plugins),
        args: profile.plugin_args.iter().map(|(name, args)| (name.clone(), arguments(args))).collect(),
    }
}

fn arguments(args: &PluginArgs) -> serde_json::Value {
    args.to_value()
}

fn lists(plugins: &ResolvedPlugins) -> PluginLists {
    let names = |list: &[secondmate_config::EnabledPlugin]| list.iter().map(|p| p.name.clone()).collect();
    PluginLists {
        pre_enqueue: names(&plugins.pre_enqueue),
        queue_sort: names(&plugins.queue_sort),
        pre_filter: names(&plugins.pre_filter),
        filter: names(&plugins.filter),
        post_filter: names(&plugins.post_filter),
        pre_score: names(&plugins.pre_score),
        score: plugins.score.iter().map(|p| (p.name.clone(), i64::from(p.weight))).collect(),
        reserve: names(&plugins.reserve),
        permit: names(&plugins.permit),
        pre_bind: names(&plugins.pre_bind),
        bind: names(&plugins.bind),
        post_bind: names(&plugins.post_bind),
    }
}
