//! A scheduler program: the in-tree plugins, and those that its author adds.

use crate::guests::{GuestArgs, GuestFault, Guests, default_cache_folder};
use secondmate_config::{ExtensionPoint, GivenArguments, PluginCatalogue};
use secondmate_framework::{Factory, Handle, Plugin, PluginError, Registry};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// A scheduler program under construction.
#[derive(Clone, Default)]
pub struct App {
    plugins: Vec<OwnPlugin>,
    /// WebAssembly guests, set up when a configuration first names one.
    guests: Arc<OnceLock<Result<Guests, String>>>,
}

#[derive(Clone)]
struct OwnPlugin {
    name: String,
    /// The extension points that it uses; `None`: the plugin itself says so.
    points: Option<Vec<ExtensionPoint>>,
    factory: Factory,
}

impl App {
    /// The in-tree plugins only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a plugin. The factory gets the `args` of its `pluginConfig` (`null` where there are none).
    ///
    /// To find out which extension points the plugin uses, one is made without arguments. If the factory does not allow that, use
    /// [`App::plugin_at`].
    #[must_use]
    pub fn plugin<F>(self, name: &str, factory: F) -> Self
    where
        F: Fn(&Value, &Handle) -> Result<Arc<dyn Plugin>, PluginError> + Send + Sync + 'static,
    {
        self.add(name, None, factory)
    }

    /// Adds a plugin that uses these extension points.
    #[must_use]
    pub fn plugin_at<F>(self, name: &str, points: &[ExtensionPoint], factory: F) -> Self
    where
        F: Fn(&Value, &Handle) -> Result<Arc<dyn Plugin>, PluginError> + Send + Sync + 'static,
    {
        self.add(name, Some(points.to_vec()), factory)
    }

    fn add<F>(mut self, name: &str, points: Option<Vec<ExtensionPoint>>, factory: F) -> Self
    where
        F: Fn(&Value, &Handle) -> Result<Arc<dyn Plugin>, PluginError> + Send + Sync + 'static,
    {
        self.plugins.push(OwnPlugin { name: name.to_owned(), points, factory: Arc::new(factory) });
        self
    }

    /// All plugins of this program.
    ///
    /// # Errors
    /// A name is taken.
    pub fn registry(&self) -> anyhow::Result<Registry> {
        let mut registry = secondmate_plugins::registry()?;
        registry.register(secondmate_load_aware::NAME, secondmate_load_aware::new)?;
        for own in &self.plugins {
            let factory = Arc::clone(&own.factory);
            registry.register(&own.name, move |args, handle| factory(args, handle))?;
        }
        let app = self.clone();
        Ok(registry.with_others(Arc::new(move |name, args, handle| {
            GuestArgs::are_in(args).then(|| {
                let refused = |reason: &String| PluginError::Arguments {
                    plugin: name.to_owned(),
                    reason: reason.clone(),
                };
                app.guests().map_err(refused)?.plugin(name, args, handle)
            })
        })))
    }

    /// The plugins that a configuration may name, with the extension points of each.
    ///
    /// # Errors
    /// A name is taken, or a plugin cannot be made without arguments and was added without its extension points.
    pub fn catalogue(&self) -> anyhow::Result<PluginCatalogue> {
        let mut catalogue = PluginCatalogue::in_tree();
        // Known, but not enabled by default.
        let points = [ExtensionPoint::PreScore, ExtensionPoint::Score];
        catalogue.register(secondmate_load_aware::NAME, points)?;
        for own in &self.plugins {
            let points = match &own.points {
                Some(points) => points.clone(),
                None => {
                    let plugin = (own.factory)(&Value::Null, &Handle::default()).map_err(|error| {
                        anyhow::anyhow!(
                            "plugin {:?} cannot be made without arguments ({error}), so it is not known where it acts: register it with App::plugin_at and name its extension points",
                            own.name
                        )
                    })?;
                    ExtensionPoint::ALL.into_iter().filter(|point| point.is_point_of(&plugin)).collect()
                }
            };
            catalogue.register(&own.name, points)?;
        }
        Ok(catalogue)
    }

    /// The plugins that this configuration may name: those of [`App::catalogue`], and the guests that it describes. Mistakes in a guest, or in
    /// the arguments of a plugin that is not kube-scheduler's, are reported by
    /// [`Configuration::parse`](secondmate_config::Configuration::parse) together with all others.
    ///
    /// # Errors
    /// As [`App::catalogue`].
    pub fn catalogue_for(&self, configuration: &str) -> anyhow::Result<PluginCatalogue> {
        let mut catalogue = self.catalogue()?;
        let (known, registry) = (catalogue.clone(), self.registry()?);
        for given in secondmate_config::plugin_arguments(configuration) {
            let GivenArguments { plugin, args, .. } = &given;
            if GuestArgs::are_in(args) && known.points(plugin).is_none() {
                let checked = match self.guests() {
                    Ok(guests) => guests.check(plugin, args),
                    Err(reason) => Err(vec![GuestFault { field: None, reason: reason.clone() }]),
                };
                match checked {
                    Ok(points) => catalogue.describe(&given, points),
                    Err(faults) => {
                        for GuestFault { field, reason } in faults {
                            catalogue.refuse(&given, field.as_deref(), reason);
                        }
                    }
                }
            } else if self.has_raw_arguments(plugin)
                && let Err(error) = registry.make(plugin, args, &Handle::default())
            {
                let reason = match error {
                    PluginError::Arguments { reason, .. } => reason,
                    other => other.to_string(),
                };
                catalogue.refuse(&given, None, reason);
            }
        }
        Ok(catalogue)
    }

    /// Whether only the plugin itself can check its arguments.
    fn has_raw_arguments(&self, plugin: &str) -> bool {
        plugin == secondmate_load_aware::NAME || self.plugins.iter().any(|own| own.name == plugin)
    }

    /// The same program with these guests: guests that replay a record, or guests that are being recorded.
    pub(crate) fn with_guests(&self, guests: Guests) -> Self {
        Self { plugins: self.plugins.clone(), guests: Arc::new(OnceLock::from(Ok(guests))) }
    }

    /// The loader of guests.
    fn guests(&self) -> Result<&Guests, &String> {
        self.guests.get_or_init(|| Guests::new(default_cache_folder())).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_framework::{Context, CycleState, Filter, Status};
    use secondmate_model::{NodeInfo, Pod};

    struct NoFridays;

    impl Plugin for NoFridays {
        fn name(&self) -> &str {
            "NoFridays"
        }
        fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
            Some(self)
        }
    }

    impl Filter for NoFridays {
        fn filter(&self, _: &Context<'_>, _: &CycleState, _: &Arc<Pod>, _: &NodeInfo) -> Status {
            Status::SUCCESS
        }
    }

    fn without_arguments(args: &Value) -> Result<Arc<dyn Plugin>, PluginError> {
        if args.is_null() {
            let reason = "day is missing".to_owned();
            return Err(PluginError::Arguments { plugin: "NoFridays".to_owned(), reason });
        }
        Ok(Arc::new(NoFridays))
    }

    #[test]
    fn a_plugin_tells_where_it_acts() {
        let app = App::new().plugin("NoFridays", |_, _| Ok(Arc::new(NoFridays)));
        let catalogue = app.catalogue().expect("a free name");
        assert_eq!(catalogue.points("NoFridays"), Some(&[ExtensionPoint::Filter][..]));
        assert!(app.registry().expect("a free name").names().any(|name| name == "NoFridays"));
    }

    #[test]
    fn a_plugin_that_needs_arguments_is_told_where_it_acts() {
        let error = App::new().plugin("NoFridays", |args, _| without_arguments(args)).catalogue();
        let error = error.expect_err("nobody says where it acts").to_string();
        assert!(error.contains("day is missing") && error.contains("App::plugin_at"), "{error}");
        let app =
            App::new().plugin_at("NoFridays", &[ExtensionPoint::Filter], |args, _| without_arguments(args));
        assert_eq!(
            app.catalogue().expect("it is said").points("NoFridays"),
            Some(&[ExtensionPoint::Filter][..])
        );
    }

    #[test]
    fn a_name_that_is_taken_is_refused() {
        let app = App::new().plugin("NodeName", |_, _| Ok(Arc::new(NoFridays)));
        assert!(app.registry().err().expect("taken").to_string().contains("NodeName"));
        assert!(app.catalogue().expect_err("taken").to_string().contains("NodeName"));
    }
}
