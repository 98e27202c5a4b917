//! What is read but cannot be honoured: it is rejected, or accepted with a remark, but never silently ignored.

use crate::ExtensionPoint;
use crate::extender::ExtenderTls;
use crate::plugins::{GATED, PluginCatalogue};
use crate::problem::{Path, quoted};
use crate::resolve::ResolvedPlugins;
use crate::v1::{GivenConfiguration, GivenProfile};

/// Something that kube-scheduler does but secondmate does not do yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {feature} is not supported yet; {remedy}")]
pub struct Unsupported {
    /// The field.
    pub path: String,
    /// What it asks for.
    pub feature: String,
    /// What to do.
    pub remedy: String,
}

/// Something that is accepted, but whose effect differs from kube-scheduler's, or that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The field.
    pub path: String,
    /// What is different.
    pub text: String,
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// Collects what is rejected and what is only remarked on.
#[derive(Default)]
pub(crate) struct Remarks {
    pub unsupported: Vec<Unsupported>,
    pub notices: Vec<Notice>,
}

impl Remarks {
    fn refuse(&mut self, path: &Path, feature: impl Into<String>, remedy: &str) {
        self.unsupported.push(Unsupported {
            path: path.as_str().to_owned(),
            feature: feature.into(),
            remedy: remedy.to_owned(),
        });
    }

    fn notice(&mut self, path: &Path, text: impl Into<String>) {
        self.notices.push(Notice { path: path.as_str().to_owned(), text: text.into() });
    }

    pub(crate) fn about(&mut self, given: &GivenConfiguration) {
        let root = Path::default();
        if given.enable_contention_profiling == Some(true) {
            let text = "has no effect: one thread decides, and nothing contends with it; there are CPU profiles only";
            self.notice(&root.child("enableContentionProfiling"), text);
        }
        for (index, extender) in given.extenders.iter().enumerate() {
            if extender.tls_config.as_ref().is_some_and(ExtenderTls::has_half_a_certificate) {
                let text = "a client certificate without its key, or a key without its certificate, has no effect: none is shown to the extender; give both";
                self.notice(&root.child("extenders").index(index).child("tlsConfig"), text);
            }
        }
        if given.client_connection.content_type.contains("protobuf")
            || given.client_connection.accept_content_types.contains("protobuf")
        {
            let text = "secondmate speaks JSON with the API server; what is exchanged is the same";
            self.notice(&root.child("clientConnection").child("contentType"), text);
        }
    }

    pub(crate) fn about_profile(
        &mut self,
        given: &GivenProfile,
        plugins: &ResolvedPlugins,
        catalogue: &PluginCatalogue,
        path: &Path,
    ) {
        let plugins_path = path.child("plugins");
        let placement = "scheduling of pod groups by placement";
        for (field, set, feature) in [
            ("placementGenerate", &given.plugins.placement_generate, placement),
            ("placementScore", &given.plugins.placement_score, placement),
            ("podGroupPostFilter", &given.plugins.pod_group_post_filter, "preemption for pod groups"),
        ] {
            if !set.enabled.is_empty() {
                self.refuse(&plugins_path.child(field), feature, "remove it");
            }
        }
        let points = ExtensionPoint::ALL
            .iter()
            .map(|point| (point.field(), given.plugins.at(*point), *point == ExtensionPoint::Score));
        for (field, set, weighs) in points.chain([("multiPoint", &given.plugins.multi_point, true)]) {
            let path = plugins_path.child(field);
            for (index, plugin) in set.enabled.iter().enumerate() {
                let path = path.child("enabled").index(index);
                if let Some((name, gate)) = GATED.iter().find(|(name, _)| *name == plugin.name) {
                    let feature = format!("plugin {name} (feature gate {gate})");
                    self.refuse(&path, feature, "remove it");
                }
                if plugin.weight != 0 && !weighs {
                    self.notice(&path.child("weight"), "has no effect: only score has weights");
                } else if plugin.weight < 0 {
                    let text = "is negative: the nodes that the plugin scores highest are chosen last";
                    self.notice(&path.child("weight"), text);
                }
            }
            for (index, name) in set.disabled.iter().enumerate() {
                if name != "*" && catalogue.points(name).is_none() && !catalogue.is_refused(name) {
                    self.notice(&path.child("disabled").index(index), without_effect(name, catalogue));
                }
            }
        }
        let running = crate::resolve::names(plugins);
        for (index, config) in given.plugin_config.iter().enumerate() {
            let name = config.name.as_str();
            if running.contains(name) {
                continue;
            }
            let text = match catalogue.points(name).is_some() || catalogue.is_refused(name) {
                true => format!("has no effect: plugin {} is not enabled in this profile", quoted(name)),
                false => without_effect(name, catalogue),
            };
            self.notice(&path.child("pluginConfig").index(index), text);
        }
    }
}

/// The remark on a plugin that does not exist, if nothing depends on it.
fn without_effect(name: &str, catalogue: &PluginCatalogue) -> String {
    let nearest = match catalogue.nearest(name) {
        Some(nearest) => format!("; the nearest plugin is {}", quoted(nearest)),
        None => String::new(),
    };
    format!("has no effect: there is no plugin {}{nearest}", quoted(name))
}
