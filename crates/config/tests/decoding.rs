//! Strict decoding: what is rejected, with which path, line and remedy; and what is accepted.

use secondmate_config::{Configuration, Parity, ProblemKind};

const HEADER: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn read(body: &str) -> Result<Configuration, String> {
    format!("{HEADER}{body}").parse::<Configuration>().map_err(|error| error.to_string())
}

/// The problems of a body, one per line; the header takes lines 1 and 2.
#[track_caller]
fn problems(body: &str) -> Vec<String> {
    match format!("{HEADER}{body}").parse::<Configuration>() {
        Ok(_) => panic!("accepted:\n{body}"),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn refusals_name_path_line_and_remedy() {
    let table: &[(&str, &[&str])] = &[
        (
            "paralelism: 4\n",
            &["line 3: paralelism: unknown field \"paralelism\": did you mean \"parallelism\"?"],
        ),
        (
            "profiles:\n- schedulerName: a\n  plugins:\n    scores:\n      enabled: []\n",
            &["line 7: profiles[0].plugins.scores: unknown field \"scores\": did you mean \"score\"?"],
        ),
        (
            "profiles:\n- plugins:\n    score:\n      enabled:\n      - name: NodeName\n        wait: 3\n",
            &[
                "line 8: profiles[0].plugins.score.enabled[0].wait: unknown field \"wait\": remove it; the fields in profiles[0].plugins.score.enabled[0] are name, weight",
            ],
        ),
        (
            "leaderElection:\n  leaderElect: true\n  leaderElect: false\n",
            &[
                "line 5: leaderElection.leaderElect: duplicate field \"leaderElect\": it already has a value on line 4; keep one",
            ],
        ),
        // Names are case-sensitive, as in kube-scheduler.
        (
            "LeaderElection: {}\n",
            &["line 3: LeaderElection: unknown field \"LeaderElection\": did you mean \"leaderElection\"?"],
        ),
        (
            "parallelism: many\n",
            &["line 3: parallelism: Invalid value: \"many\": must be an integer (int32)"],
        ),
        ("parallelism: 1.5\n", &["line 3: parallelism: Invalid value: 1.5: must be an integer (int32)"]),
        (
            "parallelism: 3000000000\n",
            &["line 3: parallelism: Invalid value: 3000000000: must be an integer (int32)"],
        ),
        (
            "leaderElection:\n  leaseDuration: 15\n",
            &[
                "line 4: leaderElection.leaseDuration: Invalid value: 15: must be a duration such as \"15s\" or \"1m30s\"",
            ],
        ),
        ("profiles: {}\n", &["line 3: profiles: Invalid value: an object: must be a list"]),
        ("profiles: [one]\n", &["line 3: profiles[0]: Invalid value: \"one\": must be an object"]),
        // All at once, in the order of the text.
        (
            "a1: 1\nleaderElection:\n  leaderElect: 7\nb1: 2\n",
            &[
                "line 3: a1: unknown field \"a1\": remove it; the fields at the top level are apiVersion, kind, parallelism, leaderElection, clientConnection, enableProfiling, enableContentionProfiling, percentageOfNodesToScore, podInitialBackoffSeconds, podMaxBackoffSeconds, profiles, extenders, delayCacheUntilActive",
                "line 5: leaderElection.leaderElect: Invalid value: 7: must be true or false",
                "line 6: b1: unknown field \"b1\"",
            ],
        ),
        (
            "profiles:\n- pluginConfig:\n  - name: InterPodAffinity\n    args:\n      hardPodAffinityWeights: 3\n",
            &[
                "line 7: profiles[0].pluginConfig[0].args.hardPodAffinityWeights: unknown field \"hardPodAffinityWeights\": did you mean \"hardPodAffinityWeight\"?",
            ],
        ),
        (
            "profiles:\n- pluginConfig:\n  - name: NodeAffinity\n    args:\n      kind: InterPodAffinityArgs\n",
            &[
                "line 7: profiles[0].pluginConfig[0].args.kind: args for plugin NodeAffinity were not of type NodeAffinityArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs; correct or remove the kind",
            ],
        ),
        (
            "profiles:\n- pluginConfig:\n  - name: NodeName\n    args:\n      strict: true\n",
            &["line 7: profiles[0].pluginConfig[0].args: plugin NodeName takes no args; remove them"],
        ),
        (
            "extenders:\n- urlPrefix: http://localhost:1\n  tlsConfig:\n    keyData: \"%%\"\n",
            &["line 6: extenders[0].tlsConfig.keyData: Invalid value: must be base64"],
        ),
        (
            "extenders:\n- urlPrefix: http://localhost:1\n  tlsConfig:\n    keyData: S2V5 S2V5\n",
            &["line 6: extenders[0].tlsConfig.keyData: Invalid value: must be base64"],
        ),
    ];
    for (body, expected) in table {
        let found = problems(body);
        assert_eq!(found.len(), expected.len(), "{body}\n{found:#?}");
        for (found, expected) in found.iter().zip(*expected) {
            assert!(found.starts_with(expected), "{body}\nfound:    {found}\nexpected: {expected}");
        }
    }
}

#[test]
fn what_cannot_be_read_hides_nothing_but_what_it_would_change() {
    let own = "---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n";
    let served = "schedulerName: default-scheduler";
    let table: &[(&str, &[&str])] = &[
        ("paralelism: 4\nparallelism: 0\n", &["paralelism: unknown", "parallelism: Invalid value: 0"]),
        // A missing name may be the misspelt one, and if an entry of a list is missing, the indexes are wrong.
        (
            "profiles:\n- schedulerNam: a\n- {schedulerName: b, percentageOfNodesToScore: 101}\n",
            &[
                "profiles[0].schedulerNam: unknown",
                "profiles[1].percentageOfNodesToScore: Invalid value: 101",
            ],
        ),
        (
            "profiles: [a, {percentageOfNodesToScore: 101}]\nparallelism: 0\n",
            &["profiles[0]: ", "parallelism: "],
        ),
        (
            "leaderElection: {leaseDuration: 8s, renewDeadline: 5, retryPeriod: -1s}\n",
            &["leaderElection.renewDeadline: Invalid value: 5", "leaderElection.retryPeriod: "],
        ),
        (
            "extenders: [{urlPrefix: http://a, prioritizeVerb: p, weigth: 3}, {urlPrefix: http://a, prioritizeVerb: p}]\n",
            &["extenders[0].weigth: unknown", "extenders[1].weight: "],
        ),
        (
            "profiles: [{plugins: {multiPoint: {disabled: [{name: '*'}], enable: []}, filter: {enabled: [{name: NodeNames}]}}}]\n",
            &[
                "profiles[0].plugins.multiPoint.enable: unknown",
                "profiles[0].plugins.filter.enabled[0]: FilterPlugin",
            ],
        ),
        // Both documents, and what is not supported yet.
        (
            &format!(
                "profiles: [{{plugins: {{permit: {{enabled: [{{name: GangScheduling}}]}}}}}}]\n{own}party: strict\ntenants: [{{{served}, weight: 0}}]\n"
            ),
            &[
                "profiles[0].plugins.permit.enabled[0]: plugin GangScheduling",
                "party: unknown",
                "tenants[0].weight: ",
            ],
        ),
        (
            &format!("profiles: [{{schedulerName: 3}}]\n{own}tenants: [{{{served}, weight: 0}}]\n"),
            &["profiles[0].schedulerName: Invalid value: 3", "tenants[0].weight: "],
        ),
    ];
    for (body, expected) in table {
        let found = problems(body);
        let told = found.iter().map(|found| found.split_once(": ").map_or("", |(_, told)| told));
        assert!(
            found.len() == expected.len() && told.zip(*expected).all(|(told, part)| told.starts_with(part)),
            "{body}\n{found:#?}"
        );
    }
}

#[test]
fn documents_are_told_apart_by_kind() {
    let own = "---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\n";
    let table: &[(String, Result<Parity, &str>)] = &[
        (HEADER.to_owned(), Ok(Parity::Strict)),
        (format!("{HEADER}{own}"), Ok(Parity::Strict)),
        (format!("{HEADER}{own}parity: sensible\n"), Ok(Parity::Sensible)),
        (format!("{own}parity: sensible\n{}", format_args!("---\n{HEADER}")), Ok(Parity::Sensible)),
        (own.to_owned(), Ok(Parity::Strict)),
        (
            format!("{HEADER}{own}parity: loose\n"),
            Err("parity: Unsupported value: \"loose\": supported values: \"strict\", \"sensible\""),
        ),
        (
            format!("{HEADER}{own}nominationsOfOthers: forget\n"),
            Err(
                "nominationsOfOthers: Unsupported value: \"forget\": supported values: \"honour\", \"ignore\"",
            ),
        ),
        (
            format!("{HEADER}{own}yieldLastRoom: 2m\n"),
            Err("yieldLastRoom: Invalid value: \"2m0s\": must be between 0s and 1m"),
        ),
        (
            format!("{HEADER}{own}preemption: {{victims: others}}\n"),
            Err(
                "preemption.victims: Unsupported value: \"others\": supported values: \"own\", \"tenant\", \"all\"",
            ),
        ),
        (
            format!("{HEADER}{own}preemptOtherSchedulers: true\npreemption: {{victims: all}}\n"),
            Err(
                "preemptOtherSchedulers: Forbidden: `preemption.victims` says whose pods may be evicted; remove this",
            ),
        ),
        (
            format!(
                "{HEADER}{own}tenants: [{{schedulerName: default-scheduler, weight: 0, nodes: {{selector: {{}}}}}}]\n"
            ),
            Err("weight: Invalid value: 0: must be between 1 and 1000"),
        ),
        (
            format!(
                "{HEADER}{own}tenants: [{{schedulerName: default-scheduler, nodes: {{selector: {{}}}}}}]\n"
            ),
            Err(
                "nodes.selector: Invalid value: {}: it selects everything; leave it out, or give it a requirement",
            ),
        ),
        (
            format!("{HEADER}{own}tenants: [{{schedulerName: default-scheduler, nodes: {{}}}}]\n"),
            Err("tenants[0].nodes.selector: Required value: leave `nodes` out where all nodes may be used"),
        ),
        (
            format!(
                "{HEADER}{own}tenants: [{{schedulerName: default-scheduler, namespaces: {{names: []}}}}]\n"
            ),
            Err("tenants[0].namespaces: Required value: give `names` or a `selector`"),
        ),
        (
            format!(
                "{HEADER}{own}tenants: [{{schedulerName: default-scheduler, namespaces: {{names: [A_b]}}}}]\n"
            ),
            Err("tenants[0].namespaces.names[0]: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain"),
        ),
        (
            format!(
                "{HEADER}{own}tenants: [{{schedulerName: default-scheduler, nodes: {{selector: {{matchExpressions: [{{key: a, operator: Near}}]}}}}}}]\n"
            ),
            Err("\"Near\" is not a valid label selector operator"),
        ),
        (
            format!(
                "{HEADER}{own}tenants: [{{schedulerName: a}}, {{schedulerName: a}}, {{schedulerName: default-scheduler}}]\n"
            ),
            Err("tenants[1].schedulerName: Duplicate value: \"a\""),
        ),
        (
            format!("{HEADER}{own}tenants: [{{schedulerName: defualt-scheduler}}]\n"),
            Err(
                "tenants: Required value: a tenant for scheduler name \"default-scheduler\", which this process serves",
            ),
        ),
        (format!("{HEADER}{own}party: strict\n"), Err("unknown field \"party\": did you mean \"parity\"?")),
        (String::new(), Err("the configuration is empty")),
        ("# nothing\n".to_owned(), Err("the configuration is empty")),
        ("kind: KubeSchedulerConfiguration\n".to_owned(), Err("apiVersion is missing")),
        ("parallelism: 3\n".to_owned(), Err("kind is missing")),
        (
            HEADER.replace("/v1", "/v1beta3"),
            Err(
                "no kind \"KubeSchedulerConfiguration\" is registered for version \"kubescheduler.config.k8s.io/v1beta3\"",
            ),
        ),
        (
            "apiVersion: v1\nkind: Pod\n".to_owned(),
            Err(
                "no kind \"Pod\" is registered for version \"v1\"; this scheduler reads KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1 and",
            ),
        ),
        (
            format!("{HEADER}---\n{HEADER}"),
            Err("there are two documents of kind KubeSchedulerConfiguration; keep one"),
        ),
        ("a: [1\nb".to_owned(), Err("line 1: not valid YAML: ")),
    ];
    for (text, expected) in table {
        match (text.parse::<Configuration>(), expected) {
            (Ok(found), Ok(parity)) => assert_eq!(found.own.parity, *parity, "{text}"),
            (Err(found), Err(part)) => assert!(found.to_string().contains(part), "{text}\n{found}"),
            (found, expected) => panic!("{text}\nfound {found:?}\nexpected {expected:?}"),
        }
    }
}

#[test]
fn json_is_read_like_yaml() {
    let text = "{\n\t\"apiVersion\": \"kubescheduler.config.k8s.io/v1\",\n\t\"kind\": \"KubeSchedulerConfiguration\",\n\t\"profiles\": [\n\t\t{\"schedulerName\": \"tabs\"}\n\t]\n}\n";
    let configuration: Configuration = text.parse().expect("valid JSON");
    assert_eq!(configuration.scheduler_names(), ["tabs"]);
    let error =
        text.replace("schedulerName", "scheduler").parse::<Configuration>().expect_err("unknown field");
    assert_eq!(error.problems[0].path, "profiles[0].scheduler");
    assert_eq!(error.problems[0].line, Some(5));
    assert_eq!(error.problems[0].kind, ProblemKind::Decoding);
}

#[test]
fn null_is_absent_and_yaml_1_1_booleans_count() {
    let configuration = read("profiles: null\nparallelism: ~\nleaderElection:\n  leaderElect: no\n")
        .expect("accepted by Go as well");
    assert_eq!(configuration.parallelism, 16);
    assert!(!configuration.leader_election.leader_elect);
    assert_eq!(configuration.scheduler_names(), ["default-scheduler"]);
}

#[test]
fn base64_may_be_wrapped() {
    let configuration = read(
        "extenders:
- urlPrefix: https://127.0.0.1:8888
  tlsConfig:
    certData: \"Q2V\\r\\nydA==\\r\\n\"
    keyData: |
      S2V5
      S2V5
    caData: |-
      QXV0
      aG9yaXR5
",
    )
    .expect("as Go reads it");
    let tls = configuration.extenders[0].tls_config.as_ref().expect("TLS");
    assert_eq!([&*tls.cert_data, &*tls.key_data, &*tls.ca_data], ["Q2VydA==", "S2V5S2V5", "QXV0aG9yaXR5"]);
}

#[test]
fn what_is_not_supported_is_listed_by_path() {
    let configuration = read(
        "extenders:
- urlPrefix: http://127.0.0.1:8888
  filterVerb: filter
- urlPrefix: http://127.0.0.1:8889
  prioritizeVerb: prioritize
  weight: 2
  httpTimeout: 3s
  managedResources:
  - name: example.com/foo
    ignoredByScheduler: true
profiles:
- schedulerName: a
  plugins:
    permit:
      enabled:
      - name: GangScheduling
    placementScore:
      enabled:
      - name: NodeResourcesFit
    podGroupPostFilter:
      enabled:
      - name: DefaultPreemption
",
    )
    .expect("all of it is valid");
    let found: Vec<String> = configuration.unsupported().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "profiles[0].plugins.placementScore: scheduling of pod groups by placement is not supported yet; remove it",
            "profiles[0].plugins.podGroupPostFilter: preemption for pod groups is not supported yet; remove it",
            "profiles[0].plugins.permit.enabled[0]: plugin GangScheduling (feature gate GenericWorkload) is not supported yet; remove it",
        ]
    );
    assert_eq!(configuration.extenders[1].http_timeout, Some(std::time::Duration::from_secs(3)));
    assert!(configuration.extenders[1].managed_resources[0].ignored_by_scheduler);
}

#[test]
fn what_has_no_effect_is_told() {
    let configuration = read(
        "enableContentionProfiling: true
percentageOfNodesToScore: 30
clientConnection:
  contentType: application/vnd.kubernetes.protobuf
profiles:
- schedulerName: a
  percentageOfNodesToScore: 100
  plugins:
    filter:
      enabled:
      - name: NodeName
        weight: 3
      disabled:
      - name: NodeNames
    multiPoint:
      disabled:
      - name: ImageLocality
  pluginConfig:
  - name: ImageLocality
extenders:
- {urlPrefix: http://a, tlsConfig: {certFile: a, keyData: aaaa}}
- {urlPrefix: http://a, tlsConfig: {certFile: a}}
- {urlPrefix: http://a, tlsConfig: {keyData: aaaa}}
",
    )
    .expect("all of it is valid");
    let paths: Vec<&str> = configuration.notices().iter().map(|notice| notice.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "enableContentionProfiling",
            "extenders[1].tlsConfig",
            "extenders[2].tlsConfig",
            "clientConnection.contentType",
            "profiles[0].plugins.filter.enabled[0].weight",
            "profiles[0].plugins.filter.disabled[0]",
            "profiles[0].pluginConfig[0]",
        ]
    );
    assert_eq!(configuration.profiles[0].percentage_of_nodes_to_score, Some(100));
    assert_eq!(read("").expect("defaults").notices(), []);
}

#[test]
fn default_scheduler_needs_the_word() {
    let configuration = read("").expect("defaults");
    let error = configuration.check_default_scheduler(false).expect_err("kube-scheduler's name").to_string();
    assert!(error.contains("profiles: Required value: without a profile"), "{error}");
    assert!(error.contains("--scheduler-name NAME"), "{error}");
    let unnamed = read("profiles: [{percentageOfNodesToScore: 7}]\n").expect("one profile");
    let error = unnamed.check_default_scheduler(false).expect_err("kube-scheduler's name").to_string();
    assert!(error.contains("profiles[0].schedulerName: Required value"), "{error}");
    let named = read("profiles: [{schedulerName: default-scheduler}]\n").expect("one profile");
    let error = named.check_default_scheduler(false).expect_err("kube-scheduler's name").to_string();
    assert!(error.contains("profiles[0].schedulerName: \"default-scheduler\""), "{error}");
    assert!(error.contains("--i-replace-the-default-scheduler"), "{error}");
    configuration.check_default_scheduler(true).expect("meant so");
    let own = Configuration::for_scheduler_names(&["mine"]).expect("a good name");
    own.check_default_scheduler(false).expect("not kube-scheduler's name");
}

#[test]
fn arguments_for_plugins_that_do_not_exist_are_remarked_upon() {
    let notices = |name: &str| {
        let body = format!(
            "profiles: [{{schedulerName: a, pluginConfig: [{{name: {name}, args: {{anything: [1]}}}}]}}]\n"
        );
        let configuration = read(&body).expect("kube-scheduler loads it");
        configuration.notices().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (name, nearest) in [
        ("NodeResourcesMostAllocated", Some("NodeResourcesFit")),
        ("SelectorSpread", Some("PodTopologySpread")),
        ("NodeResourceFit", Some("NodeResourcesFit")),
        ("preemption", Some("DefaultPreemption")),
        ("Fortune", None),
    ] {
        let nearest = nearest.map_or(String::new(), |known| format!("; the nearest plugin is {known:?}"));
        assert_eq!(
            notices(name),
            [format!("profiles[0].pluginConfig[0]: has no effect: there is no plugin {name:?}{nearest}")]
        );
    }
}

#[test]
fn what_is_no_configuration_is_recognised() {
    assert_eq!(
        problems("profiles:\n- schedulerName: {{ .Values.name | quote }}\n"),
        [
            "line 4 looks like a template that was not rendered: `- schedulerName: {{ .Values.name | quote }}`; render it first, for example with `helm template`"
        ]
    );
    assert_eq!(
        problems("? [a]\n: 1\n").iter().map(|text| text.contains("Node {")).collect::<Vec<_>>(),
        [false]
    );
    // The lines of the second document are those of the file.
    assert_eq!(
        problems("---\napiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\nparity: loose\n"),
        ["line 6: parity: Unsupported value: \"loose\": supported values: \"strict\", \"sensible\""]
    );
}
