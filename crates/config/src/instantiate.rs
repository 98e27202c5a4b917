//! From a configuration to profiles that can run.

use crate::{Configuration, ExtensionPoint, NominationsOfOthers, Tenant, Unsupported, Victims};
use secondmate_cycle::{PluginLists, Profile, ProfileError, ProfileSpec};
use secondmate_framework::{Parity, Registry};

/// Why no profiles can be made from a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfilesError {
    /// It asks for something that is not implemented yet.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unsupported(Vec<Unsupported>),
    /// A profile cannot be made.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Makes the profiles of a configuration, in its order, with the plugins of a registry.
///
/// An in-tree plugin is left out of an extension point at which upstream's plugin acts but ours has nothing to do, because the core does it
/// (DefaultPreemption's PreEnqueue) or because the plugin rejects what would need it (DynamicResources).
///
/// # Errors
/// The configuration asks for something that is not supported yet, or a plugin cannot be made.
pub fn make_profiles(
    configuration: &Configuration,
    registry: &Registry,
) -> Result<Vec<Profile>, ProfilesError> {
    if !configuration.unsupported().is_empty() {
        return Err(ProfilesError::Unsupported(configuration.unsupported().to_vec()));
    }
    let parity = match configuration.own.parity {
        crate::Parity::Strict => Parity::Strict,
        crate::Parity::Sensible => Parity::Sensible,
    };
    let ignored = ignored_resources(configuration);
    let make = |profile: &crate::Profile| {
        let mut specification = specification(profile, victims_of(configuration, profile));
        if !ignored.is_empty()
            && let Some(args) = specification.args.get_mut("NodeResourcesFit")
        {
            args["ignoredResources"] = ignored.clone().into();
        }
        if let Some(tenant) = configuration.tenant(&profile.scheduler_name) {
            keep_to_tenant(&mut specification, tenant, &configuration.own.tenants);
        }
        let profile = Profile::new(&specification, registry, parity)?;
        let weight = configuration.tenant(profile.name().as_str()).and_then(|tenant| tenant.weight);
        let profile = match weight {
            Some(weight) => profile.with_weight(weight),
            None => profile,
        };
        Ok(match configuration.own.nominations_of_others {
            NominationsOfOthers::Honour => profile,
            NominationsOfOthers::Ignore => profile.ignoring_nominations_of_others(),
        })
    };
    configuration.profiles.iter().map(make).collect()
}

/// Restricts a profile to pods of the tenant's namespaces and to its nodes, before any other plugin is asked.
fn keep_to_tenant(specification: &mut ProfileSpec, tenant: &Tenant, all: &[Tenant]) {
    let rules = [
        (ExtensionPoint::PreFilter, "TenantNamespaces", tenant.namespaces_args(all)),
        (ExtensionPoint::Filter, "TenantNodes", tenant.nodes_args()),
    ];
    for (point, plugin, args) in rules {
        if let Some(args) = args {
            specification.plugins.at_mut(point).insert(0, (plugin.to_owned(), 0));
            specification.args.insert(plugin.to_owned(), args);
        }
    }
}

/// The scheduler names whose pods may be evicted for pods of this profile; `None`: all.
fn victims_of(configuration: &Configuration, profile: &crate::Profile) -> Option<Vec<String>> {
    match configuration.victims(&profile.scheduler_name) {
        Victims::Own => Some(configuration.scheduler_names().into_iter().map(str::to_owned).collect()),
        Victims::Tenant => Some(vec![profile.scheduler_name.clone()]),
        Victims::All => None,
    }
}

/// The resources that extenders manage in place of the scheduler. As in kube-scheduler, if there are any, they replace
/// NodeResourcesFit's own `ignoredResources`.
fn ignored_resources(configuration: &Configuration) -> Vec<String> {
    let managed = configuration.extenders.iter().flat_map(|extender| &extender.managed_resources);
    managed.filter(|resource| resource.ignored_by_scheduler).map(|resource| resource.name.clone()).collect()
}

/// Extension points at which upstream's plugin acts but ours has nothing to do: the core itself holds pods back during a preemption, and
/// pods with resource claims are rejected before anything would have to be reserved.
const IDLE: [(&str, ExtensionPoint); 4] = [
    ("DefaultPreemption", ExtensionPoint::PreEnqueue),
    ("DynamicResources", ExtensionPoint::PreEnqueue),
    ("DynamicResources", ExtensionPoint::Reserve),
    ("DynamicResources", ExtensionPoint::PreBind),
];

fn specification(profile: &crate::Profile, victims_of: Option<Vec<String>>) -> ProfileSpec {
    let mut plugins = PluginLists::default();
    for point in ExtensionPoint::ALL {
        let acting = profile.plugins.at(point).iter().filter(|p| !IDLE.contains(&(p.name.as_str(), point)));
        *plugins.at_mut(point) = acting.map(|p| (p.name.clone(), i64::from(p.weight))).collect();
    }
    ProfileSpec {
        scheduler_name: profile.scheduler_name.clone(),
        // For scheduling; `explain` evaluates every node. Zero adapts to the size of the cluster, as in kube-scheduler.
        percentage_of_nodes_to_score: profile.percentage_of_nodes_to_score.unwrap_or(0),
        plugins,
        args: profile.plugin_args.iter().map(|(name, args)| (name.clone(), args.to_value())).collect(),
        victims_of,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_cycle::PluginRef;
    use std::collections::BTreeSet;

    #[test]
    fn the_default_profile_has_every_in_tree_plugin_and_weighs_those_that_score() {
        let registry = secondmate_plugins::registry().expect("no name twice");
        let configuration = Configuration::for_scheduler_names(&["my-scheduler"]).expect("a name");
        let made = make_profiles(&configuration, &registry).expect("made without arguments").remove(0);
        let profile = &configuration.profiles[0];
        let names = crate::resolve::names(&profile.plugins);
        let tenants = ["TenantNamespaces", "TenantNodes"];
        let in_tree = registry.names().filter(|name| !tenants.contains(name));
        assert_eq!(names, in_tree.collect::<BTreeSet<_>>());
        let weighed: BTreeSet<&str> =
            profile.plugins.score.iter().map(|plugin| plugin.name.as_str()).collect();
        let scores = |p: &&PluginRef| ExtensionPoint::Score.is_point_of(&p.plugin);
        let scoring: BTreeSet<&str> = made.plugins().iter().filter(scores).map(|p| p.name.as_str()).collect();
        assert_eq!(weighed, scoring);
        assert!(made.rejects_alike(), "a crowd of pods that are alike and fit nowhere costs one attempt");
        for (name, point) in IDLE {
            let plugin = made.plugin(&name.into()).expect("in the default profile");
            assert!(!point.is_point_of(plugin), "{name} acts at {}", point.name());
        }
    }

    #[test]
    fn whose_pods_may_be_evicted() {
        let victims = |names: &str, own: &str| {
            let text = format!(
                "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{names}]\n\
                 ---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n{own}"
            );
            let configuration = text.parse::<Configuration>().expect("valid");
            victims_of(&configuration, &configuration.profiles[0])
        };
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let (two, in_its_place) =
            ("{schedulerName: a}, {schedulerName: b}", "{schedulerName: default-scheduler}");
        for (profiles, own, expected) in [
            (two, "", names(&["a", "b"])),
            (two, "preemption: {victims: own}", names(&["a", "b"])),
            (two, "preemption: {victims: tenant}", names(&["a"])),
            (two, "preemption: {victims: all}", None),
            (two, "preemptOtherSchedulers: false", names(&["a", "b"])),
            (two, "preemptOtherSchedulers: true", None),
            (two, "tenants: [{schedulerName: a}, {schedulerName: b}]", names(&["a"])),
            (two, "tenants: [{schedulerName: a, evicts: own}, {schedulerName: b}]", names(&["a", "b"])),
            (two, "tenants: [{schedulerName: a}, {schedulerName: b}]\npreemption: {victims: all}", None),
            (
                two,
                "tenants: [{schedulerName: a, evicts: tenant}, {schedulerName: b}]\npreemption: {victims: all}",
                names(&["a"]),
            ),
            (in_its_place, "", None),
            (in_its_place, "preemption: {breakLoops: false}", None),
            (in_its_place, "preemptOtherSchedulers: false", names(&["default-scheduler"])),
        ] {
            assert_eq!(victims(profiles, own), expected, "{own}");
        }
    }

    #[test]
    fn a_tenant_is_kept_to_its_namespaces_and_nodes_before_anything_else_is_asked() {
        let registry = secondmate_plugins::registry().expect("no name twice");
        let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
                    profiles: [{schedulerName: a}, {schedulerName: b}]\n---\n\
                    apiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\ntenants:\n\
                    - schedulerName: a\n  namespaces: {names: [x], selector: {matchLabels: {t: a}}}\n  \
                    nodes: {selector: {matchLabels: {pool: a}}}\n  weight: 3\n- schedulerName: b\n";
        let profiles =
            make_profiles(&text.parse::<Configuration>().expect("valid"), &registry).expect("made");
        let [a, b] = profiles.as_slice() else { panic!("two profiles") };
        assert_eq!(
            (a.pre_filter[0].name.as_str(), a.filter[0].name.as_str()),
            ("TenantNamespaces", "TenantNodes")
        );
        assert_eq!((a.weight(), b.weight()), (Some(3), None));
        assert_eq!(a.plugins().len(), b.plugins().len() + 2, "whom nothing is forbidden is not looked at");
    }

    #[test]
    fn the_refusal_of_the_documented_tenants_is_the_documented_one() {
        let document = include_str!("../../../docs/beside-and-instead.md");
        let (_, tenants) = document.split_once("### Tenants\n").expect("a chapter on tenants");
        let (_, example) = tenants.split_once("```yaml\n").expect("an example");
        let (example, _) = example.split_once("```").expect("the example ends");
        let text = format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n\
             profiles: [{{schedulerName: red-scheduler}}, {{schedulerName: blue-scheduler}}]\n---\n{example}"
        );
        let registry = secondmate_plugins::registry().expect("no name twice");
        let profiles =
            make_profiles(&text.parse::<Configuration>().expect("valid"), &registry).expect("made");
        let pod: secondmate_model::wire::Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "shop", "uid": "p"}, "spec": {"containers": []},
        }))
        .expect("a pod");
        let pod = std::sync::Arc::new(secondmate_model::Pod::new(&pod).expect("compiles"));
        let snapshot = secondmate_framework::Snapshot::default();
        let cx = secondmate_framework::Context {
            snapshot: &snapshot,
            now: secondmate_model::Timestamp::default(),
            nominations: &(),
        };
        let mut state = secondmate_framework::CycleState::new();
        let refusal = profiles[0].pre_filter[0].point.pre_filter(&cx, &mut state, &pod).status.message();
        assert_eq!(
            refusal,
            r#"namespace "shop" may not use scheduler "red-scheduler", which is for "red" and those labelled tenant=red; it may use "blue-scheduler""#
        );
        assert!(tenants.contains(&*refusal), "the document shows {refusal}");
    }

    #[test]
    fn what_an_extender_looks_after_is_not_checked_by_the_scheduler() {
        let registry = secondmate_plugins::registry().expect("no name twice");
        let configuration = Configuration::parse(
            "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: a
  pluginConfig:
  - name: NodeResourcesFit
    args: {ignoredResources: [example.com/own]}
extenders:
- urlPrefix: http://127.0.0.1:1
  managedResources: [{name: example.com/gpu, ignoredByScheduler: true}, {name: example.com/seen}]
",
            &crate::PluginCatalogue::default(),
        )
        .expect("valid");
        assert_eq!(ignored_resources(&configuration), ["example.com/gpu"]);
        let profile = make_profiles(&configuration, &registry).expect("made").remove(0);
        let fit = profile
            .filter
            .iter()
            .find(|plugin| plugin.name.as_str() == "NodeResourcesFit")
            .expect("it filters");
        let wire = |resource: &str| {
            serde_json::json!({
                "metadata": {"name": "p", "uid": "p"},
                "spec": {"containers": [{"resources": {"requests": {resource: "1"}}}]},
            })
        };
        for (resource, fits) in
            [("example.com/gpu", true), ("example.com/seen", false), ("example.com/own", false)]
        {
            let pod: secondmate_model::wire::Pod = serde_json::from_value(wire(resource)).expect("a pod");
            let pod = std::sync::Arc::new(secondmate_model::Pod::new(&pod).expect("compiles"));
            let node: secondmate_model::wire::Node = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "n"}, "status": {"allocatable": {"pods": "9"}},
            }))
            .expect("a node");
            let node = secondmate_model::Node::new(&node).expect("compiles");
            let node = secondmate_model::NodeInfo::new(std::sync::Arc::new(node));
            let snapshot = secondmate_framework::Snapshot::default();
            let cx = secondmate_framework::Context {
                snapshot: &snapshot,
                now: secondmate_model::Timestamp::default(),
                nominations: &(),
            };
            let mut state = secondmate_framework::CycleState::new();
            for plugin in &profile.pre_filter {
                if plugin.name == fit.name {
                    plugin.point.pre_filter(&cx, &mut state, &pod);
                }
            }
            assert_eq!(fit.point.filter(&cx, &state, &pod, &node).is_success(), fits, "{resource}");
        }
    }
}
