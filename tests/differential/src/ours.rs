//! secondmate's side: the same question to the code that schedules.

use anyhow::{Context, Result};
use secondmate_config::{Configuration, make_profiles};
use secondmate_cycle::Profile;
use secondmate_explain::{Cluster, Explainer, read_values};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Profiles that are kept for the next case with the same configuration.
const PROFILES_MAX: usize = 256;

/// Answers cases with secondmate.
#[derive(Default)]
pub struct Ours {
    profiles: HashMap<String, Arc<Vec<Profile>>>,
}

impl Ours {
    /// The profiles of a configuration (null: the default one).
    ///
    /// # Errors
    /// A configuration that is refused.
    pub fn profiles(&mut self, config: &Value) -> Result<Arc<Vec<Profile>>> {
        let text = match config {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if let Some(profiles) = self.profiles.get(&text) {
            return Ok(Arc::clone(profiles));
        }
        let configuration: Configuration = if text.is_empty() {
            Configuration::for_scheduler_names(&["my-scheduler"])?
        } else {
            text.parse()?
        };
        let registry = secondmate_plugins::registry().context("the registry of the in-tree plugins")?;
        let profiles = Arc::new(make_profiles(&configuration, &registry)?);
        if self.profiles.len() >= PROFILES_MAX {
            self.profiles.clear();
        }
        self.profiles.insert(text, Arc::clone(&profiles));
        Ok(profiles)
    }

    /// The answers for the pending pods, or those named.
    ///
    /// # Errors
    /// A configuration or an object that is refused, or a pod that does not wait.
    pub fn answer(&mut self, objects: &[Value], config: &Value, pods: &[String]) -> Result<Vec<Value>> {
        let profiles = self.profiles(config)?;
        let (items, _) = read_values(objects, "case")?;
        let cluster = Cluster::load(items, &profiles);
        let explainer = Explainer::new(&cluster, &profiles);
        let pods = cluster.select(pods)?;
        pods.iter().map(|pod| Ok(serde_json::to_value(explainer.explain(pod))?)).collect()
    }
}
