//! What a user writes to configure secondmate, decoded strictly and resolved completely.
//!
//! The input is a file with a `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`, the file that
//! kube-scheduler reads) and, optionally, a second YAML document of kind [`SecondmateConfiguration`] with what only
//! secondmate has. The output is one [`Configuration`]: every default applied, every rule of kube-scheduler's own
//! validation checked, and for each profile the list of plugins per extension point that kube-scheduler 1.37 would
//! run, in its order and with its weights.
//!
//! Nothing is ever ignored. A field that does not exist is an error with its path and line; what exists upstream but
//! not yet here is listed by [`Configuration::unsupported`]; what is accepted although its effect differs from
//! kube-scheduler's is listed by [`Configuration::notices`].
//!
//! This crate holds no state, does no I/O, and knows neither clusters nor the workings of any plugin: a [`PluginCatalogue`] says which
//! plugins exist, and at which extension points; with a registry, [`make_profiles`] turns a configuration into profiles that can run, the
//! same for the scheduler and for tools that ask what it would do.

mod args;
mod configuration;
mod document;
mod export;
mod extender;
mod instantiate;
mod names;
mod object;
mod outline;
mod own;
mod plugins;
mod problem;
mod profiles;
mod remarks;
mod resolve;
mod tenants;
mod v1;

pub use args::{
    DefaultPreemptionArgs, DefaultingType, DynamicResourcesArgs, InterPodAffinityArgs, NodeAffinityArgs,
    NodeResourcesBalancedAllocationArgs, NodeResourcesFitArgs, PluginArgs, PodTopologySpreadArgs,
    ResourceSpec, ScoringStrategy, ScoringStrategyType, UtilizationShapePoint, VolumeBindingArgs,
};
pub use configuration::{ClientConnection, Configuration, DEFAULT_SCHEDULER_NAME, LeaderElection, Profile};
pub use extender::{Extender, ExtenderTls, ManagedResource};
pub use instantiate::{ProfilesError, make_profiles};
pub use names::{is_label_key, is_label_value, is_subdomain};
pub use outline::{GivenArguments, plugin_arguments};
pub use own::{NominationsOfOthers, Parity, Preemption, SecondmateConfiguration, Victims};
pub use plugins::{PluginCatalogue, PluginNameTaken};
pub use problem::{ConfigError, Problem, ProblemKind};
pub use remarks::{Notice, Unsupported};
pub use resolve::{EnabledPlugin, ResolvedPlugins};
pub use secondmate_framework::ExtensionPoint;
pub use tenants::{Namespaces, Nodes, Tenant};

/// The version of Kubernetes whose kube-scheduler is followed.
pub const KUBERNETES_VERSION: &str = "1.37";
/// The only version of `KubeSchedulerConfiguration` that kube-scheduler 1.37 serves.
pub const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
/// The kind of the main document.
pub const KIND: &str = "KubeSchedulerConfiguration";
/// The version of secondmate's own document.
pub const OWN_API_VERSION: &str = "secondmate.dev/v1alpha1";
/// The kind of secondmate's own document.
pub const OWN_KIND: &str = "SecondmateConfiguration";
