//! The configuration converted back to a document: for files, for `/configz` and logs, and to tell two configurations apart.

use serde_json::{Map, Value, json};

use crate::ExtensionPoint;
use crate::args::PluginArgs;
use crate::configuration::{Configuration, Profile};
use crate::extender::Extender;
use secondmate_model::{duration, url};

impl Configuration {
    /// The effective configuration as a `KubeSchedulerConfiguration`: `multiPoint` is disabled and each extension point
    /// lists what runs, so that kube-scheduler would run the same with it. secondmate's own part is in the field
    /// `secondmate`. Secrets (certificates and credentials of extenders, credentials and queries in URLs of guests) are
    /// omitted, because this is shown to people.
    pub fn to_value(&self) -> Value {
        self.document(Secrets::LeftOut)
    }

    /// [`Self::to_value`] with the secrets, without which a scheduler could not call its extenders in the same way: for files to start from.
    pub fn to_whole_value(&self) -> Value {
        self.document(Secrets::Written)
    }

    fn document(&self, secrets: Secrets) -> Value {
        let election = &self.leader_election;
        let mut value = json!({
            "apiVersion": crate::API_VERSION,
            "kind": crate::KIND,
            "parallelism": self.parallelism,
            "leaderElection": {
                "leaderElect": election.leader_elect,
                "leaseDuration": duration::format(election.lease_duration),
                "renewDeadline": duration::format(election.renew_deadline),
                "retryPeriod": duration::format(election.retry_period),
                "resourceLock": "leases",
            },
            "clientConnection": { "qps": self.client_connection.qps, "burst": self.client_connection.burst },
            "podInitialBackoffSeconds": self.pod_initial_backoff.as_secs(),
            "podMaxBackoffSeconds": self.pod_max_backoff.as_secs(),
            "delayCacheUntilActive": self.delay_cache_until_active,
            "enableProfiling": self.enable_profiling,
            "profiles": self.profiles.iter().map(|profile| profile_value(profile, secrets)).collect::<Vec<_>>(),
            "secondmate": self.own,
        });
        if let Some(name) = &election.resource_name {
            value["leaderElection"]["resourceName"] = json!(name);
        }
        if let Some(namespace) = &election.resource_namespace {
            value["leaderElection"]["resourceNamespace"] = json!(namespace);
        }
        if let Some(kubeconfig) = &self.client_connection.kubeconfig {
            value["clientConnection"]["kubeconfig"] = json!(kubeconfig);
        }
        if !self.extenders.is_empty() {
            value["extenders"] = match secrets {
                Secrets::LeftOut | Secrets::Hashed => json!(self.extenders),
                Secrets::Written => self.extenders.iter().map(Extender::to_whole_value).collect(),
            };
        }
        value
    }

    /// A short fingerprint of what decides where pods go: profiles, plugins, arguments, backoffs, extenders and parity.
    /// How the process reaches the API server, elects its leader, fills its caches and is profiled is omitted, because replicas may differ in
    /// that.
    pub fn fingerprint(&self) -> String {
        let mut value = self.document(Secrets::Hashed);
        if let Value::Object(fields) = &mut value {
            for field in ["clientConnection", "leaderElection", "delayCacheUntilActive", "enableProfiling"] {
                fields.remove(field);
            }
        }
        // FNV-1a over the text, whose fields are in a defined order: stable across processes and builds.
        let hash = value.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// How secrets appear in a document.
#[derive(Clone, Copy)]
enum Secrets {
    LeftOut,
    /// Omitted too, but the query of a guest's URL is kept: it may say which guest it is.
    Hashed,
    Written,
}

fn profile_value(profile: &Profile, secrets: Secrets) -> Value {
    let mut plugins = Map::new();
    plugins.insert("multiPoint".to_owned(), json!({ "disabled": [{ "name": "*" }] }));
    for point in ExtensionPoint::ALL {
        let enabled: Vec<Value> = profile
            .plugins
            .at(point)
            .iter()
            .map(|plugin| match plugin.weight {
                0 => json!({ "name": plugin.name }),
                weight => json!({ "name": plugin.name, "weight": weight }),
            })
            .collect();
        if !enabled.is_empty() {
            plugins.insert(point.field().to_owned(), json!({ "enabled": enabled }));
        }
    }
    let config: Vec<Value> = profile
        .plugin_args
        .iter()
        .map(|(name, args)| json!({ "name": name, "args": args_value(args, secrets) }))
        .collect();
    let mut value = json!({
        "schedulerName": profile.scheduler_name,
        "plugins": plugins,
        "pluginConfig": config,
    });
    if let Some(percentage) = profile.percentage_of_nodes_to_score {
        value["percentageOfNodesToScore"] = json!(percentage);
    }
    value
}

fn args_value(args: &PluginArgs, secrets: Secrets) -> Value {
    let mut value = args.to_value();
    let without = match secrets {
        Secrets::LeftOut => url::shown,
        Secrets::Hashed => url::bare,
        Secrets::Written => return value,
    };
    if let Value::Object(fields) = &mut value {
        // As in Go, the case of the name does not matter.
        for (_, given) in fields.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("guestURL")) {
            if let Value::String(text) = given {
                *text = without(text);
            }
        }
    }
    value
}
