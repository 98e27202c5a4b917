//! kube-scheduler's own rules, as a table: what is rejected, at which path, with which words; and the defaults.

use std::time::Duration;

use secondmate_config::{
    ClientConnection, Configuration, DefaultingType, LeaderElection, PluginArgs, ResourceSpec,
    ScoringStrategyType, UtilizationShapePoint,
};
use serde_json::json;

const HEADER: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn read(body: &str) -> Configuration {
    format!("{HEADER}{body}").parse().unwrap_or_else(|error| panic!("{body}\n{error}"))
}

#[track_caller]
fn check(body: &str, expected: &[&str]) {
    let found: Vec<String> = match format!("{HEADER}{body}").parse::<Configuration>() {
        Ok(_) => Vec::new(),
        Err(error) => {
            error.problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
        }
    };
    assert_eq!(found, expected, "{body}");
}

#[test]
fn top_level_rules() {
    check(
        "parallelism: 0\n",
        &["parallelism: Invalid value: 0: should be an integer value greater than zero"],
    );
    check(
        "percentageOfNodesToScore: 101\n",
        &["percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"],
    );
    check(
        "percentageOfNodesToScore: -1\n",
        &["percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]"],
    );
    check(
        "podInitialBackoffSeconds: 0\n",
        &["podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"],
    );
    check(
        "podMaxBackoffSeconds: 3\npodInitialBackoffSeconds: 4\n",
        &[
            "podMaxBackoffSeconds: Invalid value: 3: must be greater than or equal to PodInitialBackoffSeconds",
        ],
    );
    check(
        "clientConnection: {burst: -1}\n",
        &["clientConnection.burst: Invalid value: -1: must be non-negative"],
    );
    check(
        "clientConnection: {contentType: application/yaml}\n",
        &[
            "clientConnection.contentType: Unsupported value: \"application/yaml\": supported values: \"application/json\", \"application/vnd.kubernetes.protobuf\"",
        ],
    );
    check(
        "clientConnection: {acceptContentTypes: \"application/json, text/html;q=1\"}\n",
        &[
            "clientConnection.acceptContentTypes: Unsupported value: \"text/html;q=1\": supported values: \"application/json\", \"application/vnd.kubernetes.protobuf\"",
        ],
    );
}

#[test]
fn leader_election_rules() {
    let table: &[(&str, &[&str])] = &[
        (
            "{leaseDuration: 10s}",
            &["leaderElection.leaseDuration: Invalid value: \"10s\": must be greater than `RenewDeadline`"],
        ),
        (
            "{renewDeadline: -1s}",
            &[
                "leaderElection.renewDeadline: Invalid value: \"-1s\": must be greater than zero",
                "leaderElection.renewDeadline: Invalid value: \"-1s\": must be greater than 1.2 times `RetryPeriod`",
            ],
        ),
        (
            "{retryPeriod: 9s}",
            &[
                "leaderElection.renewDeadline: Invalid value: \"10s\": must be greater than 1.2 times `RetryPeriod`",
            ],
        ),
        (
            "{resourceLock: endpoints}",
            &[
                "leaderElection.resourceLock: Invalid value: \"endpoints\": resourceLock value must be \"leases\"",
            ],
        ),
        ("{resourceLock: endpoints, leaderElect: false}", &[]),
        ("{leaseDuration: 1s, leaderElect: false}", &[]),
        ("{leaseDuration: 1m30s, renewDeadline: 1m, retryPeriod: 500ms}", &[]),
        (
            "{leaseDuration: 900ms, renewDeadline: 500ms, retryPeriod: 100ms}",
            &["leaderElection.leaseDuration: Invalid value: \"900ms\": must be at least 1 second"],
        ),
    ];
    for (value, expected) in table {
        check(&format!("leaderElection: {value}\n"), expected);
    }
}

#[test]
fn profile_rules() {
    check(
        "profiles: [{schedulerName: a}, {}]\n",
        &["profiles[1].schedulerName: Required value: with several profiles each needs a name of its own"],
    );
    check(
        "profiles: [{schedulerName: a}, {schedulerName: b}, {schedulerName: a}]\n",
        &["profiles[2].schedulerName: Duplicate value: \"a\": profiles[0] has it already"],
    );
    check(
        "profiles: [{schedulerName: a, percentageOfNodesToScore: 200}]\n",
        &["profiles[0].percentageOfNodesToScore: Invalid value: 200: not in valid range [0-100]"],
    );
    check(
        "profiles: [{pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]}]\n",
        &["profiles[0].pluginConfig[1]: Duplicate value: \"NodeAffinity\"; keep one entry for the plugin"],
    );
}

#[test]
fn extender_rules() {
    check(
        "extenders: [{urlPrefix: http://a, prioritizeVerb: p, weight: -1}]\n",
        &["extenders[0].weight: Invalid value: -1: must have a positive weight applied to it"],
    );
    check(
        "extenders: [{urlPrefix: http://a, managedResources: [{name: example.com/foo}, {name: example.com/foo}]}]\n",
        &[
            "extenders[0].managedResources[1].name: Invalid value: \"example.com/foo\": duplicate extender managed resource name",
        ],
    );
    check(
        "extenders: [{urlPrefix: http://a, managedResources: [{name: cpu}]}]\n",
        &[
            "extenders[0].managedResources[0].name: Invalid value: \"cpu\": is an invalid extended resource name",
        ],
    );
    check(
        "extenders: [{urlPrefix: http://a, bindVerb: a}, {urlPrefix: http://a, bindVerb: b}]\n",
        &[
            "extenders: Invalid value: \"found 2 extenders implementing bind\": only one extender can implement bind",
        ],
    );
    for authority in ["caFile: a", "caData: aaaa"] {
        check(
            &format!("extenders: [{{urlPrefix: http://a, tlsConfig: {{insecure: true, {authority}}}}}]\n"),
            &[
                "extenders[0].tlsConfig.insecure: Forbidden: insecure and a certificate authority (caFile, caData) exclude each other; remove one",
            ],
        );
    }
}

#[test]
fn an_extender_has_a_url_and_its_server_a_name() {
    let url = "must be a URL with http:// or https:// and a host (e.g. http://gpu-extender.kube-system:8080/scheduler)";
    for (given, shown) in [
        ("", ""),
        ("gpu-extender:8080/scheduler", "gpu-extender:8080/scheduler"),
        ("ftp://gpu-extender", "ftp://gpu-extender"),
        ("http://", "http://"),
        ("http://me:secret@gpu extender", "http://gpu extender"),
    ] {
        check(
            &format!("extenders: [{{urlPrefix: '{given}', filterVerb: filter}}]\n"),
            &[format!("extenders[0].urlPrefix: Invalid value: {shown:?}: {url}").as_str()],
        );
    }
    check(
        "extenders: [{filterVerb: filter}]\n",
        &[format!("extenders[0].urlPrefix: Invalid value: \"\": {url}").as_str()],
    );
    for url in ["http://10.1.2.3:80", "https://me:secret@gpu-extender/scheduler/", "http://[2001:db8::1]:80"]
    {
        check(&format!("extenders: [{{urlPrefix: '{url}'}}]\n"), &[]);
    }
    for (name, expected) in [
        ("gpu.example.com", None),
        ("10.1.2.3", None),
        ("gpu:8443", Some("Invalid value: \"gpu:8443\": is neither a DNS name nor an address")),
    ] {
        let expected = expected.map(|message| format!("extenders[0].tlsConfig.serverName: {message}"));
        check(
            &format!("extenders: [{{urlPrefix: https://a, tlsConfig: {{serverName: '{name}'}}}}]\n"),
            &expected.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
}

fn with_args(plugin: &str, args: &str) -> String {
    format!("profiles: [{{pluginConfig: [{{name: {plugin}, args: {args}}}]}}]\n")
}

#[test]
fn plugin_args_rules() {
    // Each entry below: path and message after `profiles[0].pluginConfig[0].args.`.
    let table: &[(&str, &str, &[&str])] = &[
        (
            "DefaultPreemption",
            "{minCandidateNodesPercentage: 101}",
            &["minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]"],
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesAbsolute: -1}",
            &["minCandidateNodesAbsolute: Invalid value: -1: not in valid range [0, inf)"],
        ),
        (
            "DefaultPreemption",
            "{minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0}",
            &[
                "minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute",
                "minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the same time as minCandidateNodesPercentage",
            ],
        ),
        (
            "InterPodAffinity",
            "{hardPodAffinityWeight: 101}",
            &["hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"],
        ),
        ("InterPodAffinity", "{hardPodAffinityWeight: 0, ignorePreferredTermsOfExistingPods: true}", &[]),
        (
            "VolumeBinding",
            "{bindTimeoutSeconds: -1}",
            &[
                "bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
            ],
        ),
        (
            "VolumeBinding",
            "{shape: [{utilization: 50, score: 11}, {utilization: 50, score: 1}, {utilization: 101, score: -1}]}",
            &[
                "shape[1].utilization: Invalid value: 50: values must be sorted in increasing order",
                "shape[0].score: Invalid value: 11: not in valid range [0, 10]",
                "shape[2].utilization: Invalid value: 101: not in valid range [0, 100]",
                "shape[2].score: Invalid value: -1: not in valid range [0, 10]",
            ],
        ),
        (
            "DynamicResources",
            "{filterTimeout: -1s}",
            &["filterTimeout: Invalid value: \"-1s\": must be zero or positive"],
        ),
        (
            "DynamicResources",
            "{bindingTimeout: 999ms}",
            &["bindingTimeout: Invalid value: \"999ms\": must be at least 1 second"],
        ),
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu, weight: 2}]}",
            &["resources[0].weight: Invalid value: 2: must be 1"],
        ),
        (
            "NodeResourcesBalancedAllocation",
            "{resources: [{name: cpu}, {name: cpu}]}",
            &["resources[1].name: Duplicate value: \"cpu\""],
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {resources: [{name: cpu}]}}",
            &[
                "scoringStrategy.type: Unsupported value: \"\": supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"",
            ],
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 101}]}}",
            &[
                "scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]",
            ],
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: -1}]}}",
            &[
                "scoringStrategy.resources[0].weight: Invalid value: -1: resource weight of cpu not in valid range (0, 100]",
            ],
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio}}",
            &[
                "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio",
            ],
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {}}}",
            &[
                "scoringStrategy.requestedToCapacityRatio.shape: Required value: at least one point must be specified",
            ],
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: LeastAllocated, requestedToCapacityRatio: {}}}",
            &[
                "scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio",
            ],
        ),
        (
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 50, score: 11}, {utilization: 50, score: 1}, {utilization: 101, score: -1}]}}}",
            &[
                "scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 50: values must be sorted in increasing order",
                "scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]",
                "scoringStrategy.requestedToCapacityRatio.shape[2].utilization: Invalid value: 101: not in valid range [0, 100]",
                "scoringStrategy.requestedToCapacityRatio.shape[2].score: Invalid value: -1: not in valid range [0, 10]",
            ],
        ),
        (
            "NodeResourcesFit",
            "{ignoredResources: [example.com/foo], ignoredResourceGroups: [example.com]}",
            &[],
        ),
        (
            "NodeResourcesFit",
            "{ignoredResourceGroups: [example.com/foo]}",
            &[
                "ignoredResourceGroups[0]: Invalid value: \"example.com/foo\": resource group name can't contain '/'",
            ],
        ),
        (
            "PodTopologySpread",
            "{defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]}",
            &[
                "defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty; set defaultingType: List",
            ],
        ),
        (
            "PodTopologySpread",
            "{defaultingType: Random}",
            &["defaultingType: Unsupported value: \"Random\": supported values: \"System\", \"List\""],
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 0, labelSelector: {}}, {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: Maybe}]}",
            &[
                "defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)",
                "defaultConstraints[0].topologyKey: Required value: can not be empty",
                "defaultConstraints[0].whenUnsatisfiable: Required value: can not be empty",
                "defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod",
                "defaultConstraints[1].whenUnsatisfiable: Unsupported value: \"Maybe\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            ],
        ),
        (
            "PodTopologySpread",
            "{defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]}",
            &["defaultConstraints[1]: Duplicate value: \"{z, DoNotSchedule}\""],
        ),
        (
            "NodeAffinity",
            "{addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}, {matchExpressions: [{key: zone, operator: Is}, {key: zone, operator: In}, {key: zone, operator: Exists, values: [a]}, {key: cores, operator: Gt, values: [x]}]}]}}}",
            &[
                "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1].matchExpressions[0].operator: Unsupported value: \"Is\": supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\", \"Gt\", \"Lt\"",
                "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1].matchExpressions[1].values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
                "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1].matchExpressions[2].values: Invalid value: [\"a\"]: values set must be empty for exists and does not exist",
                "addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1].matchExpressions[3].values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ],
        ),
        (
            "NodeAffinity",
            "{addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {matchFields: [{key: metadata.name, operator: Exists}]}}, {weight: 1, preference: {matchFields: [{key: metadata.name, operator: In, values: [a, b]}]}}]}}",
            &[
                "addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[1].matchFields[0].values: Invalid value: [\"a\",\"b\"]: must have one element",
            ],
        ),
    ];
    for (plugin, args, expected) in table {
        let expected: Vec<String> =
            expected.iter().map(|tail| format!("profiles[0].pluginConfig[0].args.{tail}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        check(&with_args(plugin, args), &expected);
    }
}

#[test]
fn the_rules_of_node_resources_fit_hold_where_the_plugin_runs() {
    let profile = |plugin: &str, disabled: &str, args: &str| {
        format!(
            "profiles: [{{plugins: {{multiPoint: {{disabled: [{{name: {disabled}}}]}}}}, pluginConfig: [{{name: {plugin}, args: {args}}}]}}]\n"
        )
    };
    let heavy = "{scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 101}]}}";
    let message = "profiles[0].pluginConfig[0].args.scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]";
    check(&profile("NodeResourcesFit", "ImageLocality", heavy), &[message]);
    check(&profile("NodeResourcesFit", "NodeResourcesFit", heavy), &[]);
    // Unreadable arguments are rejected all the same, and all other plugins are checked wherever they are.
    check(
        &profile("NodeResourcesFit", "NodeResourcesFit", "{scoringStrategies: {}}"),
        &[
            "profiles[0].pluginConfig[0].args.scoringStrategies: unknown field \"scoringStrategies\": did you mean \"scoringStrategy\"?",
        ],
    );
    check(
        &profile("InterPodAffinity", "InterPodAffinity", "{hardPodAffinityWeight: 101}"),
        &[
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ],
    );
}

#[test]
fn defaults_are_kube_schedulers() {
    let configuration = read("");
    assert_eq!(configuration.leader_election, LeaderElection::default());
    assert_eq!(configuration.leader_election.lease_duration, Duration::from_secs(15));
    assert_eq!(
        configuration.client_connection,
        ClientConnection { kubeconfig: None, qps: 50.0, burst: 100, limited: false }
    );
    assert_eq!(configuration.pod_initial_backoff, Duration::from_secs(1));
    assert_eq!(configuration.pod_max_backoff, Duration::from_secs(10));
    assert_eq!(configuration.profiles[0].percentage_of_nodes_to_score, None);
    let args: serde_json::Map<String, serde_json::Value> = configuration.profiles[0]
        .plugin_args
        .iter()
        .map(|(name, args)| (name.clone(), args.to_value()))
        .collect();
    assert_eq!(
        serde_json::Value::Object(args),
        json!({
            "DefaultPreemption": {"minCandidateNodesPercentage": 10, "minCandidateNodesAbsolute": 100},
            "DynamicResources": {"filterTimeout": "10s", "bindingTimeout": "10m0s"},
            "InterPodAffinity": {"hardPodAffinityWeight": 1, "ignorePreferredTermsOfExistingPods": false},
            "NodeAffinity": {},
            "NodeResourcesBalancedAllocation":
                {"resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}]},
            "NodeResourcesFit": {"scoringStrategy": {
                "type": "LeastAllocated",
                "resources": [{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}],
            }},
            "PodTopologySpread": {"defaultingType": "System"},
            "VolumeBinding": {
                "bindTimeoutSeconds": 600,
                "shape": [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}],
            },
        })
    );
}

#[test]
fn given_args_are_kept_with_their_defaults() {
    let read = |plugin: &str, args: &str| {
        read(&with_args(plugin, args)).profiles[0].plugin_args.get(plugin).cloned().expect("args are kept")
    };
    let PluginArgs::NodeResourcesFit(fit) = read(
        "NodeResourcesFit",
        "{apiVersion: kubescheduler.config.k8s.io/v1, kind: NodeResourcesFitArgs, ignoredResourceGroups: [example.com], scoringStrategy: {type: RequestedToCapacityRatio, resources: [{name: gpu, weight: 0}], requestedToCapacityRatio: {shape: [{utilization: 0, score: 10}, {utilization: 100}]}}}",
    ) else {
        panic!("another kind of args");
    };
    assert_eq!(fit.ignored_resource_groups, ["example.com"]);
    assert_eq!(fit.scoring_strategy.resources, [ResourceSpec { name: "gpu".to_owned(), weight: 1 }]);
    assert_eq!(
        fit.scoring_strategy.strategy,
        ScoringStrategyType::RequestedToCapacityRatio {
            shape: vec![
                UtilizationShapePoint { utilization: 0, score: 10 },
                UtilizationShapePoint { utilization: 100, score: 0 },
            ]
        }
    );
    let PluginArgs::PodTopologySpread(spread) = read(
        "PodTopologySpread",
        "{defaultingType: List, defaultConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, minDomains: 3}]}",
    ) else {
        panic!("another kind of args");
    };
    assert_eq!(spread.defaulting_type, DefaultingType::List);
    assert_eq!(
        spread.default_constraints,
        [
            json!({"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 3})
        ]
    );
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}});
    let PluginArgs::NodeAffinity(added) = read("NodeAffinity", &format!("{{addedAffinity: {affinity}}}"))
    else {
        panic!("another kind of args");
    };
    assert_eq!(added.added_affinity, Some(affinity));
}
