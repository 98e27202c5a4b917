//! secondmate's side: the same question to the evaluation, by way of `explain`, and to the scheduler itself.

use crate::compare::Difference;
use crate::extenders::{Table, extenders};
use crate::production;
use anyhow::{Context, Result};
use secondmate_config::{Configuration, NominationsOfOthers, Victims, make_profiles};
use secondmate_cycle::Profile;
use secondmate_explain::{Cluster, Explainer, Item, Keep, read_values};
use secondmate_framework::{Extenders, Registry};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Profiles that are kept for the next case with the same configuration.
const PROFILES_MAX: usize = 256;

/// Answers cases with secondmate.
#[derive(Default)]
pub struct Ours {
    profiles: HashMap<String, (Configuration, Arc<Vec<Profile>>)>,
}

/// What secondmate answers to a case, by both ways of asking it.
pub struct Answers {
    /// One explain object a pod.
    pub explained: Vec<Value>,
    items: Vec<Item>,
    cluster: Cluster,
    configuration: Configuration,
    extenders: Extenders,
}

impl Answers {
    /// Where the scheduler itself does something else with a pod than these results say.
    ///
    /// # Errors
    /// A result of a pod that is not in the case.
    pub fn judge_scheduler(&self, theirs: &[Value]) -> Result<Option<Difference>> {
        for result in theirs {
            // Plugins keep books on what they have promised: each pod gets plugins of its own.
            let profiles = make_profiles(&self.configuration, &registry()?)?;
            let profiles = with_extenders(profiles, &self.extenders);
            if let Some(difference) = production::judge(&self.items, &self.cluster, profiles, result)? {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }
}

fn with_extenders(profiles: Vec<Profile>, extenders: &Extenders) -> Vec<Profile> {
    profiles.into_iter().map(|profile| profile.with_extenders(extenders.clone())).collect()
}

fn registry() -> Result<Registry> {
    secondmate_plugins::registry().context("the registry of the in-tree plugins")
}

impl Ours {
    /// The profiles of a configuration (null: the default one).
    ///
    /// # Errors
    /// A configuration that is refused.
    pub fn profiles(&mut self, config: &Value) -> Result<Arc<Vec<Profile>>> {
        Ok(self.configured(config)?.1)
    }

    fn configured(&mut self, config: &Value) -> Result<(Configuration, Arc<Vec<Profile>>)> {
        let text = match config {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if let Some(known) = self.profiles.get(&text) {
            return Ok(known.clone());
        }
        let mut configuration: Configuration = if text.is_empty() {
            Configuration::for_scheduler_names(&["my-scheduler"])?
        } else {
            text.parse()?
        };
        // As kube-scheduler, which knows no scheduler beside itself.
        configuration.own.preemption.victims.get_or_insert(Victims::All);
        configuration.own.nominations_of_others = NominationsOfOthers::Ignore;
        let profiles = Arc::new(make_profiles(&configuration, &registry()?)?);
        if self.profiles.len() >= PROFILES_MAX {
            self.profiles.clear();
        }
        self.profiles.insert(text, (configuration.clone(), Arc::clone(&profiles)));
        Ok((configuration, profiles))
    }

    /// The answers for the pending pods, or those named.
    ///
    /// # Errors
    /// A configuration or an object that is refused, or a pod that does not wait.
    pub fn answer(
        &mut self,
        objects: &[Value],
        config: &Value,
        tables: &[Table],
        pods: &[String],
    ) -> Result<Answers> {
        let (configuration, mut profiles) = self.configured(config)?;
        let extenders = extenders(&configuration, tables);
        let mut keep = Keep::COMPILED;
        if !extenders.is_empty() {
            profiles = Arc::new(with_extenders(make_profiles(&configuration, &registry()?)?, &extenders));
            // They may be sent whole pods and nodes.
            keep = Keep::WHOLE;
        }
        let (items, _) = read_values(objects, "case", keep)?;
        let cluster = Cluster::load(items.clone(), &profiles);
        let explainer = Explainer::new(&cluster, &profiles);
        let pods = cluster.select(pods)?;
        let explained = pods
            .iter()
            .map(|pod| Ok(serde_json::to_value(explainer.explain(pod))?))
            .collect::<Result<_>>()?;
        Ok(Answers { explained, items, cluster, configuration, extenders })
    }
}
