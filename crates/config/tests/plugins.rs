//! Which plugins run where: the default profile, and kube-scheduler's rules of precedence by a table.

use secondmate_config::{
    Configuration, ExtensionPoint, PluginArgs, PluginCatalogue, ResolvedPlugins, plugin_arguments,
};

const HEADER: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn catalogue() -> PluginCatalogue {
    let mut catalogue = PluginCatalogue::in_tree();
    catalogue.register("Mine", [ExtensionPoint::Filter, ExtensionPoint::Score]).expect("a new name");
    catalogue.register("OtherSort", [ExtensionPoint::QueueSort]).expect("a new name");
    catalogue
}

fn resolve(plugins: &str) -> Result<ResolvedPlugins, String> {
    let text = format!("{HEADER}profiles:\n- schedulerName: test\n  plugins: {plugins}\n");
    Configuration::parse(&text, &catalogue())
        .map(|configuration| configuration.profiles[0].plugins.clone())
        .map_err(|error| error.to_string())
}

/// One line per point: `Filter: A, B`; weights where there are any: `Score: A=3, B=1`.
fn show(plugins: &ResolvedPlugins, point: ExtensionPoint) -> String {
    let list: Vec<String> = plugins
        .at(point)
        .iter()
        .map(|plugin| match plugin.weight {
            0 => plugin.name.clone(),
            weight => format!("{}={weight}", plugin.name),
        })
        .collect();
    format!("{}: {}", point.name(), list.join(", "))
}

const DEFAULTS: [&str; 12] = [
    "PreFilter: NodeName, NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone, PodTopologySpread, InterPodAffinity, DynamicResources, NodeDeclaredFeatures",
    "Filter: NodeName, NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone, PodTopologySpread, InterPodAffinity, DynamicResources, NodeDeclaredFeatures",
    "PostFilter: DynamicResources, DefaultPreemption",
    "Reserve: VolumeBinding, DynamicResources",
    "PreScore: TaintToleration, NodeAffinity, NodeResourcesFit, VolumeBinding, PodTopologySpread, InterPodAffinity, NodeResourcesBalancedAllocation",
    "Score: TaintToleration=3, NodeAffinity=2, NodeResourcesFit=1, VolumeBinding=1, PodTopologySpread=2, InterPodAffinity=2, DynamicResources=2, NodeResourcesBalancedAllocation=1, ImageLocality=1",
    "PreBind: VolumeBinding, DynamicResources",
    "Bind: DefaultBinder",
    "PostBind: ",
    "Permit: ",
    "PreEnqueue: SchedulingGates, DynamicResources, DefaultPreemption",
    "QueueSort: PrioritySort",
];

#[test]
fn the_default_profile_is_kube_schedulers() {
    let configuration = Configuration::for_scheduler_names(&["my-scheduler"]).expect("a good name");
    let found = ExtensionPoint::ALL.map(|point| show(&configuration.profiles[0].plugins, point));
    assert_eq!(found, DEFAULTS);
    assert_eq!(configuration.profiles[0].percentage_of_nodes_to_score, None, "adaptive, as kube-scheduler's");
}

#[test]
fn precedence() {
    use ExtensionPoint::{Filter, PreScore, QueueSort, Score};
    let default = |point: ExtensionPoint| {
        DEFAULTS[ExtensionPoint::ALL.iter().position(|p| *p == point).expect("a point")]
    };
    let table: &[(&str, &[(ExtensionPoint, &str)])] = &[
        // A weight at the point beats the default, even one that is not given (1); the plugins come first, in the
        // order of the point.
        (
            "{score: {enabled: [{name: ImageLocality, weight: 7}, {name: NodeAffinity}]}}",
            &[(
                Score,
                "Score: ImageLocality=7, NodeAffinity=1, TaintToleration=3, NodeResourcesFit=1, VolumeBinding=1, PodTopologySpread=2, InterPodAffinity=2, DynamicResources=2, NodeResourcesBalancedAllocation=1",
            )],
        ),
        // A default that is configured again at multiPoint keeps its place.
        (
            "{multiPoint: {enabled: [{name: TaintToleration, weight: 5}]}}",
            &[
                (Filter, default(Filter)),
                (
                    Score,
                    "Score: TaintToleration=5, NodeAffinity=2, NodeResourcesFit=1, VolumeBinding=1, PodTopologySpread=2, InterPodAffinity=2, DynamicResources=2, NodeResourcesBalancedAllocation=1, ImageLocality=1",
                ),
            ],
        ),
        // Without a weight, it is 1: the default weight is not kept.
        (
            "{multiPoint: {enabled: [{name: TaintToleration}]}}",
            &[(
                Score,
                "Score: TaintToleration=1, NodeAffinity=2, NodeResourcesFit=1, VolumeBinding=1, PodTopologySpread=2, InterPodAffinity=2, DynamicResources=2, NodeResourcesBalancedAllocation=1, ImageLocality=1",
            )],
        ),
        // Disabled and enabled at multiPoint: moves to the end.
        (
            "{multiPoint: {disabled: [{name: NodeUnschedulable}], enabled: [{name: NodeUnschedulable}, {name: Mine, weight: 4}]}}",
            &[
                (
                    Filter,
                    "Filter: NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone, PodTopologySpread, InterPodAffinity, DynamicResources, NodeDeclaredFeatures, NodeUnschedulable, Mine",
                ),
                (
                    Score,
                    "Score: TaintToleration=3, NodeAffinity=2, NodeResourcesFit=1, VolumeBinding=1, PodTopologySpread=2, InterPodAffinity=2, DynamicResources=2, NodeResourcesBalancedAllocation=1, ImageLocality=1, Mine=4",
                ),
            ],
        ),
        // `*` at a point: only the plugins that the point names.
        (
            "{score: {disabled: [{name: \"*\"}], enabled: [{name: Mine}]}}",
            &[(Score, "Score: Mine=1"), (PreScore, default(PreScore))],
        ),
        // `*` at multiPoint: only plugins that are named anywhere.
        (
            "{multiPoint: {disabled: [{name: \"*\"}], enabled: [{name: PrioritySort}, {name: DefaultBinder}, {name: Mine, weight: 2}]}, filter: {enabled: [{name: NodeName}, {name: Mine}]}}",
            &[
                (Filter, "Filter: Mine, NodeName"),
                (Score, "Score: Mine=2"),
                (QueueSort, "QueueSort: PrioritySort"),
            ],
        ),
        // Disabled at one point only.
        (
            "{score: {disabled: [{name: NodeResourcesFit}]}}",
            &[
                (Filter, default(Filter)),
                (
                    Score,
                    "Score: TaintToleration=3, NodeAffinity=2, VolumeBinding=1, PodTopologySpread=2, InterPodAffinity=2, DynamicResources=2, NodeResourcesBalancedAllocation=1, ImageLocality=1",
                ),
            ],
        ),
        // Disabled and enabled at one point: stays, after multiPoint's, and enabled wins.
        (
            "{filter: {disabled: [{name: NodeName}], enabled: [{name: NodeName}]}}",
            &[(
                Filter,
                "Filter: NodeUnschedulable, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone, PodTopologySpread, InterPodAffinity, DynamicResources, NodeDeclaredFeatures, NodeName",
            )],
        ),
        // The weight at the point beats an explicit one at multiPoint; even without one, multiPoint's does not count.
        (
            "{multiPoint: {enabled: [{name: Mine, weight: 9}]}, score: {disabled: [{name: \"*\"}], enabled: [{name: Mine}]}}",
            &[(Score, "Score: Mine=1")],
        ),
        (
            "{queueSort: {disabled: [{name: PrioritySort}], enabled: [{name: OtherSort}]}}",
            &[(QueueSort, "QueueSort: OtherSort")],
        ),
    ];
    for (plugins, expected) in table {
        let resolved = resolve(plugins).unwrap_or_else(|error| panic!("{plugins}\n{error}"));
        for (point, expected) in *expected {
            assert_eq!(show(&resolved, *point), *expected, "{plugins}");
        }
    }
}

#[test]
fn refusals() {
    let table = [
        (
            "{multiPoint: {enabled: [{name: Imaginary}]}}",
            "profiles[0].plugins.multiPoint.enabled: PreFilterPlugin \"Imaginary\" does not exist; the plugins of this scheduler are DefaultBinder",
        ),
        (
            "{filter: {enabled: [{name: NodeNames}]}}",
            "line 5: profiles[0].plugins.filter.enabled[0]: FilterPlugin \"NodeNames\" does not exist; did you mean \"NodeName\"?",
        ),
        (
            "{score: {enabled: [{name: NodeName}]}}",
            "profiles[0].plugins.score.enabled[0]: plugin \"NodeName\" does not extend ScorePlugin plugin; it can be enabled at: preFilter, filter",
        ),
        (
            "{filter: {enabled: [{name: NodeName}, {name: NodeName}]}}",
            "profiles[0].plugins.filter.enabled[1]: plugin \"NodeName\" already registered as \"FilterPlugin\"; name it once",
        ),
        (
            "{multiPoint: {enabled: [{name: NodeName}, {name: NodeName}]}}",
            "profiles[0].plugins.multiPoint.enabled: plugin \"NodeName\" already registered as \"PreFilterPlugin\"; name it once",
        ),
        (
            "{multiPoint: {disabled: [{name: \"*\"}]}}",
            "profiles[0].plugins.queueSort: only one queue sort plugin required for profile with scheduler name \"test\", but got 0",
        ),
        (
            "{queueSort: {enabled: [{name: OtherSort}]}}",
            "profiles[0].plugins.queueSort: only one queue sort plugin required for profile with scheduler name \"test\", but got 2",
        ),
        (
            "{bind: {disabled: [{name: DefaultBinder}]}}",
            "profiles[0].plugins.bind: at least one bind plugin is needed for profile with scheduler name \"test\"; enable DefaultBinder",
        ),
        (
            "{score: {enabled: [{name: EBSLimits}]}}",
            "profiles[0].plugins.score.enabled[0]: Invalid value: \"EBSLimits\": was invalid in version \"v1\" (KubeSchedulerConfiguration is version \"kubescheduler.config.k8s.io/v1\")",
        ),
        ("{filter: {enabled: [{weight: 1}]}}", "profiles[0].plugins.filter.enabled[0].name: Required value"),
    ];
    for (plugins, expected) in table {
        let error = resolve(plugins).expect_err(plugins);
        assert!(error.contains(expected), "{plugins}\nfound:    {error}\nexpected: {expected}");
    }
}

#[test]
fn every_refusal_is_told_and_none_for_each_point() {
    let plugins = "{multiPoint: {enabled: [{name: Imaginary}, {name: NodeNam}, {name: NodeName}, {name: NodeName}]}, \
         filter: {enabled: [{name: NodeNames}, {name: Mines}]}, score: {enabled: [{name: NodeName}]}, bind: {disabled: [{name: '*'}]}}";
    let text = format!("{HEADER}profiles:\n- schedulerName: test\n  plugins: {plugins}\n");
    let error = Configuration::parse(&text, &catalogue()).expect_err("misspelt names");
    let mut told: Vec<String> = error
        .problems
        .iter()
        .map(|problem| {
            let message = problem.message.split(';').next().expect("a part");
            format!("{}: {message}", problem.path.trim_start_matches("profiles[0].plugins."))
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "filter.enabled[0]: FilterPlugin \"NodeNames\" does not exist",
            "filter.enabled[1]: FilterPlugin \"Mines\" does not exist",
            "multiPoint.enabled: PreFilterPlugin \"Imaginary\" does not exist",
            "multiPoint.enabled: PreFilterPlugin \"NodeNam\" does not exist",
            "multiPoint.enabled: plugin \"NodeName\" already registered as \"PreFilterPlugin\"",
            "score.enabled[0]: plugin \"NodeName\" does not extend ScorePlugin plugin",
        ]
    );
    let error = resolve("{queueSort: {disabled: [{name: '*'}]}, bind: {disabled: [{name: '*'}]}}")
        .expect_err("neither");
    assert!(error.contains("queueSort: only one") && error.contains("bind: at least one"), "{error}");
}

#[test]
fn all_profiles_sort_alike() {
    let parse = |profiles: &str| {
        Configuration::parse(&format!("{HEADER}profiles: {profiles}\n"), &catalogue())
            .map_err(|error| error.to_string())
    };
    let other = "queueSort: {disabled: [{name: PrioritySort}], enabled: [{name: OtherSort}]}";
    parse(&format!(
        "[{{schedulerName: a, plugins: {{{other}}}}}, {{schedulerName: b, plugins: {{{other}}}}}]"
    ))
    .expect("the same in both");
    let error = parse(&format!("[{{schedulerName: a, plugins: {{{other}}}}}, {{schedulerName: b}}]"))
        .expect_err("another sort in b");
    assert!(
        error.contains("profiles[1].plugins.queueSort: Invalid value: {\"Enabled\":[],\"Disabled\":[]}: must be the same for all profiles"),
        "{error}"
    );
    let by_multi_point = "multiPoint: {disabled: [{name: PrioritySort}], enabled: [{name: OtherSort}]}";
    let error =
        parse(&format!("[{{schedulerName: a, plugins: {{{by_multi_point}}}}}, {{schedulerName: b}}]"))
            .expect_err("another sort in b");
    assert!(
        error.contains(
            "different queue sort plugins for profile \"b\": \"PrioritySort\", first: \"OtherSort\""
        ),
        "{error}"
    );
}

#[test]
fn args_of_own_plugins_are_kept_raw() {
    let text = format!(
        "{HEADER}profiles:\n- plugins: {{score: {{enabled: [{{name: Mine}}]}}}}\n  pluginConfig:\n  - name: Mine\n    args: {{any: [1, {{deep: true}}], pi: 3.5}}\n"
    );
    let configuration = Configuration::parse(&text, &catalogue()).expect("valid");
    assert_eq!(
        configuration.profiles[0].plugin_args.get("Mine"),
        Some(&PluginArgs::Raw(serde_json::json!({"any": [1, {"deep": true}], "pi": 3.5})))
    );
    let error = catalogue().register("NodeName", []).expect_err("taken");
    assert_eq!(
        error.to_string(),
        "a plugin named \"NodeName\" already exists; give the new plugin another name"
    );
}

#[test]
fn the_exported_configuration_reads_back_to_the_same() {
    let text = format!(
        "{HEADER}podMaxBackoffSeconds: 60\nprofiles:\n- schedulerName: a\n  plugins:\n    score:\n      enabled: [{{name: ImageLocality, weight: 3}}]\n    multiPoint:\n      disabled: [{{name: VolumeZone}}]\n  pluginConfig:\n  - name: InterPodAffinity\n    args: {{hardPodAffinityWeight: 7}}\n- schedulerName: b\n"
    );
    let configuration: Configuration = text.parse().expect("valid");
    let mut exported = configuration.to_value();
    exported.as_object_mut().expect("an object").remove("secondmate");
    let again: Configuration = exported.to_string().parse().expect("the export is valid");
    assert_eq!(again.profiles, configuration.profiles);
    assert_eq!(again.fingerprint(), configuration.fingerprint());

    let changed: Configuration = text.replace("weight: 3", "weight: 4").parse().expect("valid");
    assert_ne!(changed.fingerprint(), configuration.fingerprint());
    let elsewhere: Configuration = format!("{text}clientConnection: {{qps: 7}}\n").parse().expect("valid");
    assert_eq!(elsewhere.fingerprint(), configuration.fingerprint());
}

#[test]
fn an_extender_is_exported_whole_or_without_secrets() {
    let text = format!(
        "{HEADER}extenders:\n- urlPrefix: https://me:secret@extender:8443/p\n  enableHTTPS: true\n  httpTimeout: 1m30s\n  tlsConfig: {{caData: QXV0aG9yaXR5, certData: Q2VydA==, keyData: S2V5S2V5}}\nprofiles:\n- schedulerName: a\n  pluginConfig: [{{name: Mine, args: {{guestURL: \"https://me:secret@guests/a.wasm?secret\"}}}}]\n"
    );
    let catalogue = catalogue();
    let configuration = Configuration::parse(&text, &catalogue).expect("valid");
    let read = |mut exported: serde_json::Value| {
        exported.as_object_mut().expect("an object").remove("secondmate");
        Configuration::parse(&exported.to_string(), &catalogue).expect("the export is valid")
    };
    let whole = read(configuration.to_whole_value());
    assert!(whole.extenders == configuration.extenders, "not the same again");
    assert_eq!(whole.profiles, configuration.profiles);
    let shown = read(configuration.to_value());
    assert_eq!(shown.extenders[0].http_timeout, configuration.extenders[0].http_timeout);
    let text = configuration.to_value().to_string();
    assert!(["secret", "QXV0", "Q2Vy", "S2V5"].iter().all(|part| !text.contains(part)), "{text}");
    assert_eq!(whole.fingerprint(), configuration.fingerprint());
    // The query may say which guest it is.
    assert_ne!(shown.fingerprint(), configuration.fingerprint());
}

#[test]
fn a_timeout_that_is_none_is_not_given() {
    for timeout in ["0s", "-5s"] {
        let text = format!("{HEADER}extenders: [{{urlPrefix: http://x, httpTimeout: {timeout}}}]\n");
        let configuration: Configuration = text.parse().expect("valid");
        assert_eq!(configuration.extenders[0].http_timeout, None, "{timeout}");
    }
}

#[test]
fn names_from_the_command_line() {
    let configuration = Configuration::for_scheduler_names(&["a", "b"]).expect("two names");
    assert_eq!(configuration.scheduler_names(), ["a", "b"]);
    assert!(configuration.profile("b").is_some() && configuration.profile("c").is_none());
    for (names, expected) in [
        (vec![], "profiles: Required value: give at least one scheduler name"),
        (vec![""], "profiles[0].schedulerName: Required value"),
        (vec!["a", "a"], "profiles[1].schedulerName: Duplicate value: \"a\": profiles[0] has it already"),
    ] {
        let error = Configuration::for_scheduler_names(&names).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_plugin_that_profiles_describe_acts_in_each_as_described_there() {
    use ExtensionPoint::{Filter, Score};
    let picky = |name: &str, point: &str| {
        format!(
            "- schedulerName: {name}\n  plugins: {{{point}: {{enabled: [{{name: Picky}}]}}}}\n  pluginConfig: [{{name: Picky, args: {{guestURL: file:///{name}}}}}]\n"
        )
    };
    let parse = |point: &str| {
        let text = format!("{HEADER}profiles:\n{}{}", picky("a", point), picky("b", "multiPoint"));
        let mut catalogue = PluginCatalogue::in_tree();
        for (given, points) in plugin_arguments(&text).iter().zip([vec![Score], vec![Score, Filter]]) {
            catalogue.describe(given, points);
        }
        assert_eq!(catalogue.points("Picky"), Some(&[Filter, Score][..]));
        Configuration::parse(&text, &catalogue)
    };
    let configuration = parse("multiPoint").expect("valid");
    let acts = |profile: usize, point: ExtensionPoint| {
        configuration.profiles[profile].plugins.at(point).iter().any(|plugin| plugin.name == "Picky")
    };
    let found = [0, 1].map(|profile| (acts(profile, Filter), acts(profile, Score)));
    assert_eq!(found, [(false, true), (true, true)]);
    let error = parse("filter").expect_err("it does not filter there").to_string();
    assert!(
        error.contains("plugin \"Picky\" does not extend FilterPlugin plugin; it can be enabled at: score"),
        "{error}"
    );
}

#[test]
fn weights_that_could_overflow_are_refused() {
    const TAIL: &str = "score plugins: total score of Score plugins could overflow: ";
    for (plugins, culprit) in [
        ("{score: {enabled: [{name: TaintToleration, weight: -5}]}}", "TaintToleration has weight -5"),
        ("{multiPoint: {enabled: [{name: TaintToleration, weight: -1}]}}", "TaintToleration has weight -1"),
        ("{score: {enabled: [{name: Mine, weight: -2147483648}, {name: NodeAffinity}]}}", "Mine has weight"),
        // It counts even though it is disabled at `score`, as upstream.
        (
            "{multiPoint: {enabled: [{name: TaintToleration, weight: -1}]}, score: {disabled: [{name: TaintToleration}]}}",
            "TaintToleration has weight -1",
        ),
        ("{multiPoint: {enabled: [{name: NodeAffinity, weight: -4}]}}", "NodeAffinity has weight -4"),
    ] {
        let error = resolve(plugins).expect_err(plugins);
        assert!(error.contains(TAIL) && error.contains(culprit), "{plugins}: {error}");
    }
    // The sum stays above zero.
    resolve("{multiPoint: {enabled: [{name: NodeAffinity, weight: -3}]}}").expect("kube-scheduler loads it");
    let huge = resolve("{score: {enabled: [{name: Mine, weight: 2147483648}]}}").expect_err("33 bits");
    assert!(huge.contains("line 5") && huge.contains("must be an integer (int32)"), "{huge}");
    // The largest that 32 bits allow, all together: no overflow.
    let all = DEFAULTS[5].trim_start_matches("Score: ").split(", ").map(|plugin| {
        let (name, _) = plugin.split_once('=').expect("a weight");
        format!("{{name: {name}, weight: 2147483647}}")
    });
    let all = all.collect::<Vec<_>>().join(", ");
    resolve(&format!("{{score: {{enabled: [{all}]}}}}")).expect("no overflow");
    // Nothing follows it, so kube-scheduler loads it. There is a remark.
    let text = format!(
        "{HEADER}profiles: [{{schedulerName: a, plugins: {{multiPoint: {{disabled: [{{name: '*'}}], enabled: [{{name: PrioritySort}}, {{name: DefaultBinder}}, {{name: ImageLocality, weight: -1}}]}}}}}}]\n"
    );
    let lone = text.parse::<Configuration>().expect("loaded");
    let notices: Vec<String> = lone.notices().iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "profiles[0].plugins.multiPoint.enabled[2].weight: is negative: the nodes that the plugin scores highest are chosen last"
        ]
    );
}
