//! From options and a configuration file to profiles that can run.

use crate::App;
use anyhow::{Context, anyhow, bail};
use secondmate_config::Configuration;
use secondmate_cycle::Profile;
use std::path::PathBuf;

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationSource {
    /// A file with a `KubeSchedulerConfiguration`.
    pub file: Option<PathBuf>,
    /// Scheduler names, each with its own profile. With a file, each has the plugins of the file's only profile.
    pub scheduler_names: Vec<String>,
    /// `default-scheduler` is allowed as a name.
    pub replace_default_scheduler: bool,
}

impl ConfigurationSource {
    /// Reads and checks it.
    ///
    /// # Errors
    /// There is neither a name nor a file; the file cannot be read or has problems; it has several profiles and names are given
    /// too; something is configured that does not exist yet; `default-scheduler` would be used without permission.
    pub fn read(&self, app: &App) -> anyhow::Result<Configuration> {
        self.parse(app, self.text()?.as_deref())
    }

    /// The text of the file, if there is one.
    pub(crate) fn text(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|why| {
            anyhow!(
                "cannot read the configuration {}: {why}; give a readable file by --config",
                path.display()
            )
        })?;
        Ok(Some(text))
    }

    /// Makes a configuration from the file's text, and checks it.
    pub(crate) fn parse(&self, app: &App, text: Option<&str>) -> anyhow::Result<Configuration> {
        let names = &self.scheduler_names;
        let mut configuration = match (&self.file, text) {
            (Some(path), Some(text)) => {
                let mut configuration = app
                    .catalogue_for(text)
                    .and_then(|catalogue| Ok(Configuration::parse(text, &catalogue)?))
                    .with_context(|| path.display().to_string())?;
                rename(&mut configuration, names).with_context(|| path.display().to_string())?;
                configuration
            }
            _ if names.is_empty() => {
                bail!(
                    "there is nothing to schedule: give --scheduler-name NAME (it may be repeated), or --config FILE"
                )
            }
            _ if names.iter().any(String::is_empty) => bail!("--scheduler-name: a name must not be empty"),
            _ => Configuration::for_scheduler_names(names).context("--scheduler-name")?,
        };
        if !configuration.unsupported().is_empty() {
            let list: Vec<String> =
                configuration.unsupported().iter().map(|u| format!("\n  - {u}")).collect();
            bail!("the configuration asks for what secondmate does not have yet:{}", list.concat());
        }
        let checked = configuration.check_default_scheduler(self.replace_default_scheduler);
        match &self.file {
            Some(path) => checked.with_context(|| path.display().to_string())?,
            None => checked?,
        }
        // Spelled out, so that the configuration shows the effective values.
        let victims: Vec<_> =
            configuration.own.tenants.iter().map(|t| configuration.victims(&t.scheduler_name)).collect();
        for (tenant, victims) in configuration.own.tenants.iter_mut().zip(victims) {
            tenant.evicts = Some(victims);
        }
        let first = configuration.scheduler_names().first().map(|name| configuration.victims(name));
        configuration.own.preemption.victims = configuration.own.preemption.victims.or(first);
        Ok(configuration)
    }
}

/// Gives the file's profile the names of the command line.
fn rename(configuration: &mut Configuration, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() || configuration.scheduler_names() == *names {
        return Ok(());
    }
    let [only] = configuration.profiles.as_slice() else {
        bail!(
            "the file has {} profiles, so --scheduler-name cannot name them: remove the option",
            configuration.profiles.len()
        );
    };
    if !configuration.own.tenants.is_empty() {
        bail!(
            "the file has tenants, which are told apart by scheduler name, so --scheduler-name cannot name its profile: remove the option"
        );
    }
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
/// A plugin that this program does not have, arguments that it rejects, or an extension point that it does not implement.
pub fn profiles(app: &App, configuration: &Configuration) -> anyhow::Result<Vec<Profile>> {
    Ok(secondmate_config::make_profiles(configuration, &app.registry()?)?)
}
