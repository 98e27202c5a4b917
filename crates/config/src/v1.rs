//! `KubeSchedulerConfiguration` v1 as written: every field, nothing filled in.

use serde::Serialize;

use crate::ExtensionPoint;
use crate::document::Node;
use crate::extender::Extender;
use crate::object::Object;
use crate::problem::{Path, Problems};
use secondmate_framework::PerPoint;

#[derive(Clone, Debug, Default)]
pub(crate) struct GivenConfiguration {
    pub parallelism: Option<i32>,
    pub leader_election: GivenLeaderElection,
    pub client_connection: GivenClientConnection,
    pub enable_profiling: Option<bool>,
    pub enable_contention_profiling: Option<bool>,
    pub percentage_of_nodes_to_score: Option<i32>,
    pub pod_initial_backoff_seconds: Option<i64>,
    pub pod_max_backoff_seconds: Option<i64>,
    pub profiles: Vec<GivenProfile>,
    pub extenders: Vec<Extender>,
    pub delay_cache_until_active: bool,
}

/// Durations in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenLeaderElection {
    pub leader_elect: Option<bool>,
    pub lease_duration: i64,
    pub renew_deadline: i64,
    pub retry_period: i64,
    pub resource_lock: String,
    pub resource_name: String,
    pub resource_namespace: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GivenClientConnection {
    pub kubeconfig: String,
    pub accept_content_types: String,
    pub content_type: String,
    pub qps: f64,
    pub burst: i32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GivenProfile {
    pub scheduler_name: Option<String>,
    pub percentage_of_nodes_to_score: Option<i32>,
    pub plugins: GivenPlugins,
    pub plugin_config: Vec<GivenPluginConfig>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GivenPluginConfig {
    pub name: String,
    pub args: Option<Node>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GivenPlugins {
    sets: PerPoint<GivenSet>,
    pub multi_point: GivenSet,
    pub placement_generate: GivenSet,
    pub placement_score: GivenSet,
    pub pod_group_post_filter: GivenSet,
}

impl GivenPlugins {
    pub(crate) fn at(&self, point: ExtensionPoint) -> &GivenSet {
        self.sets.at(point)
    }
}

/// Serialized in the way in which kube-scheduler shows a set in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GivenSet {
    pub enabled: Vec<GivenPlugin>,
    pub disabled: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GivenPlugin {
    pub name: String,
    /// 0 when not given.
    pub weight: i32,
}

/// Reads the main document.
pub(crate) fn read(node: &Node, problems: &Problems) -> Option<GivenConfiguration> {
    let object = Object::open(node, &Path::default(), problems)?;
    // Checked already, to tell the documents apart.
    object.string("apiVersion");
    object.string("kind");
    let given = GivenConfiguration {
        parallelism: object.int32("parallelism"),
        leader_election: object.object("leaderElection").map(read_leader_election).unwrap_or_default(),
        client_connection: object.object("clientConnection").map(read_client_connection).unwrap_or_default(),
        enable_profiling: object.boolean("enableProfiling"),
        enable_contention_profiling: object.boolean("enableContentionProfiling"),
        percentage_of_nodes_to_score: object.int32("percentageOfNodesToScore"),
        pod_initial_backoff_seconds: object.int64("podInitialBackoffSeconds"),
        pod_max_backoff_seconds: object.int64("podMaxBackoffSeconds"),
        profiles: object
            .list("profiles", |node, path| {
                Object::open(node, path, problems).map(|profile| read_profile(profile, problems))
            })
            .unwrap_or_default(),
        extenders: object
            .list("extenders", |node, path| {
                Object::open(node, path, problems).map(|extender| crate::extender::read(extender, problems))
            })
            .unwrap_or_default(),
        delay_cache_until_active: object.boolean("delayCacheUntilActive").unwrap_or(false),
    };
    object.close();
    Some(given)
}

fn read_leader_election(object: Object<'_>) -> GivenLeaderElection {
    let given = GivenLeaderElection {
        leader_elect: object.boolean("leaderElect"),
        lease_duration: object.duration("leaseDuration").unwrap_or(0),
        renew_deadline: object.duration("renewDeadline").unwrap_or(0),
        retry_period: object.duration("retryPeriod").unwrap_or(0),
        resource_lock: object.text("resourceLock"),
        resource_name: object.text("resourceName"),
        resource_namespace: object.text("resourceNamespace"),
    };
    object.close();
    given
}

fn read_client_connection(object: Object<'_>) -> GivenClientConnection {
    let given = GivenClientConnection {
        kubeconfig: object.text("kubeconfig"),
        accept_content_types: object.text("acceptContentTypes"),
        content_type: object.text("contentType"),
        qps: object.float("qps").unwrap_or(0.0),
        burst: object.int32("burst").unwrap_or(0),
    };
    object.close();
    given
}

fn read_profile(object: Object<'_>, problems: &Problems) -> GivenProfile {
    let given = GivenProfile {
        scheduler_name: object.string("schedulerName"),
        percentage_of_nodes_to_score: object.int32("percentageOfNodesToScore"),
        plugins: object.object("plugins").map(|plugins| read_plugins(plugins, problems)).unwrap_or_default(),
        plugin_config: object
            .list("pluginConfig", |node, path| {
                let object = Object::open(node, path, problems)?;
                let config =
                    GivenPluginConfig { name: object.text("name"), args: object.node("args").cloned() };
                object.close();
                Some(config)
            })
            .unwrap_or_default(),
    };
    object.close();
    given
}

fn read_plugins(object: Object<'_>, problems: &Problems) -> GivenPlugins {
    let set = |name| object.object(name).map(|set| read_set(set, problems)).unwrap_or_default();
    let mut sets = PerPoint::default();
    for point in ExtensionPoint::ALL {
        *sets.at_mut(point) = set(point.field());
    }
    let given = GivenPlugins {
        sets,
        multi_point: set("multiPoint"),
        placement_generate: set("placementGenerate"),
        placement_score: set("placementScore"),
        pod_group_post_filter: set("podGroupPostFilter"),
    };
    object.close();
    given
}

fn read_set(object: Object<'_>, problems: &Problems) -> GivenSet {
    let plugins = |name| {
        object.list(name, |node, path| {
            let object = Object::open(node, path, problems)?;
            let plugin =
                GivenPlugin { name: object.text("name"), weight: object.int32("weight").unwrap_or(0) };
            object.close();
            if plugin.name.is_empty() {
                problems.required(&path.child("name"), "every entry names a plugin");
            }
            Some(plugin)
        })
    };
    let given = GivenSet {
        enabled: plugins("enabled").unwrap_or_default(),
        disabled: plugins("disabled").unwrap_or_default().into_iter().map(|plugin| plugin.name).collect(),
    };
    object.close();
    given
}
