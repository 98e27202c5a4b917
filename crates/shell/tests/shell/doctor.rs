//! What `secondmate doctor` finds in a cluster with problems, and in one without.

use crate::fixture::*;
use crate::guard;
use secondmate_config::{Configuration, KUBERNETES_VERSION};
use secondmate_sandbox::{Fault, Options as SandboxOptions, Sandbox, Target, Verb, When};
use secondmate_shell::lease::{Claim, ElectionConfig, LeaseName};
use secondmate_shell::{
    ClusterConfig, DoctorOptions, Examination, Finding, GuardsService, LookLimits, Options, Severity, examine,
};
use secondmate_telemetry::Metrics;
use serde_json::{Value, json};
use std::time::Duration;

fn doctor_options(sandbox: &Sandbox) -> DoctorOptions {
    DoctorOptions {
        cluster: ClusterConfig::new(sandbox.url().parse().expect("a URL")),
        profiles: vec![profile(NAME)],
        lease: Some(lease(NAME)),
        service_account: None,
        guard_account: None,
        pending_for: Duration::ZERO,
        limits: LookLimits::default(),
        tenants: Vec::new(),
        webhook: "secondmate-guard".to_owned(),
        secret: "secondmate-guard-tls".to_owned(),
        guard: GuardsService { namespace: guard::NAMESPACE.to_owned(), name: guard::SERVICE.to_owned() },
    }
}

async fn examined(sandbox: &Sandbox) -> Examination {
    examine(doctor_options(sandbox)).await.expect("the API server answers")
}

fn lease(name: &str) -> LeaseName {
    LeaseName { namespace: "kube-system".to_owned(), name: name.to_owned() }
}

/// Options for a scheduler of this name with this Lease.
fn elected(sandbox: &Sandbox, lease_name: &str) -> Options {
    let claim =
        Claim::new(&[NAME], Configuration::for_scheduler_names(&[NAME]).expect("a name").fingerprint());
    let election = ElectionConfig {
        lease_duration: Duration::from_secs(3),
        renew_deadline: Duration::from_secs(2),
        retry_period: Duration::from_millis(200),
        ..ElectionConfig::new(lease(lease_name), format!("host-of-{lease_name}_1"), claim)
    };
    Options { election: Some(election), ..options(sandbox) }
}

/// A Lease that nothing renews.
fn abandoned(sandbox: &Sandbox, name: &str, holder: &str) {
    let object = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "namespace": "kube-system",
            "labels": { "secondmate.dev/lease": "scheduler" },
            "annotations": { "secondmate.dev/scheduler-names": name, "secondmate.dev/configuration": "1" },
        },
        "spec": { "holderIdentity": holder, "leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z" },
    });
    sandbox.objects().create(object).expect("a valid Lease");
}

fn pod_of(scheduler: &str, name: &str) -> Value {
    let mut pod = pod(name, "100m");
    pod["spec"]["schedulerName"] = scheduler.into();
    pod
}

/// The findings of a check, as `severity object: problem`.
fn of(examination: &Examination, check: &str) -> Vec<String> {
    let shown = |finding: &Finding| format!("{:?} {}: {}", finding.severity, finding.object, finding.problem);
    examination.findings.iter().filter(|finding| finding.check == check).map(shown).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_is_well_nothing_is_found() {
    let sandbox = sandbox(2).await;
    let shell = try_start(elected(&sandbox, NAME)).await.expect("it starts");
    create_pods(&sandbox, "p", 3, "100m");
    // It fits nowhere, and a gated pod is not due yet: both wait, and nothing is wrong.
    sandbox.objects().create(pod("huge", "100")).expect("a valid pod");
    let mut gated = pod_of("nobody", "gated");
    gated["spec"]["schedulingGates"] = json!([{ "name": "quota" }]);
    sandbox.objects().create(gated).expect("a valid pod");
    until("the last is tried", || condition_of(&sandbox, "huge").is_some()).await;
    let examination = examined(&sandbox).await;
    assert_eq!(examination.findings, []);
    assert_eq!(examination.kubernetes.as_deref(), Some(secondmate_sandbox::VERSION));
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_that_are_missing_are_named() {
    let sandbox = sandbox(1).await;
    sandbox.access().deny("create", "", "pods", "binding");
    sandbox.access().deny("list", "", "events", "");
    let examination = examined(&sandbox).await;
    assert_eq!(
        of(&examination, "rights"),
        [
            "Warning user of this kubeconfig: may not create pods/binding: a scheduler that runs as this user does not start",
            "Warning user of this kubeconfig: may not list events: owners of pods whose scheduler name nobody serves are not told",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_not_supported_is_told() {
    let newest = KUBERNETES_VERSION;
    for (version, expected) in [
        ("v1.37.2", None),
        ("v1.34.0", None),
        // The form that some distributions use.
        ("v1.36+.1", None),
        ("v1.33.9", Some("Fault API server: it is v1.33.9, which is too old")),
        ("v1.99.0", Some("Warning API server: it is v1.99.0, newer than what this scheduler follows")),
        ("v2.0.0", Some("Unknown API server: its version is not understood: \"v2.0.0\"")),
        ("", Some("Unknown API server: its version is not understood: \"\"")),
    ] {
        let options = SandboxOptions { version: version.to_owned(), ..SandboxOptions::default() };
        let sandbox = Sandbox::start(options).await.expect("a free port");
        let examination = examined(&sandbox).await;
        let told = of(&examination, "version");
        let supported = format!("1.34 to {newest} are supported");
        let expected: Vec<String> = expected
            .into_iter()
            .map(|text| format!("{text}{}{supported}", if text.starts_with("Unknown") { "; " } else { ": " }))
            .collect();
        assert_eq!(told, expected, "{version:?}");
        assert_eq!(examination.kubernetes.as_deref(), Some(version));
        for finding in &examination.findings {
            assert!(!finding.remedy.is_empty(), "{finding:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_of_another_version_is_told_as_its_lease_shows_it() {
    let sandbox = sandbox(1).await;
    // Of the last one, the annotation is by the holder before it.
    let older = "0.0.9 1.36";
    for (name, version) in [
        ("older", format!("{older} host_older")),
        ("own", format!("{} {KUBERNETES_VERSION} host_own", env!("CARGO_PKG_VERSION"))),
        ("taken", format!("{older} host_before")),
    ] {
        abandoned(&sandbox, name, &format!("host_{name}"));
        let change = json!({
            "metadata": { "annotations": { "secondmate.dev/version": version } },
            "spec": { "leaseDurationSeconds": 4 },
        });
        sandbox.objects().merge("leases", "kube-system", name, "", &change).expect("a valid Lease");
    }
    let lists = || sandbox.history().count("list leases.coordination.k8s.io");
    let before = lists();
    let renewals = async {
        until("the Leases are looked at", || lists() > before).await;
        let renewed = json!({ "spec": { "renewTime": "2026-01-01T00:00:02.000000Z" } });
        for name in ["older", "own", "taken"] {
            sandbox.objects().merge("leases", "kube-system", name, "", &renewed).expect("a valid Lease");
        }
    };
    let (examination, ()) = tokio::join!(examined(&sandbox), renewals);
    assert_eq!(
        of(&examination, "version"),
        [format!(
            "Warning host_older, holder of the Lease kube-system/older: it is secondmate 0.0.9 (Kubernetes 1.36), and the API server is {}, which is newer",
            secondmate_sandbox::VERSION
        )]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_nobody_serves_are_told_with_their_pods() {
    let sandbox = sandbox(1).await;
    let shell = try_start(elected(&sandbox, NAME)).await.expect("it starts");
    for number in 0..5 {
        sandbox.objects().create(pod_of("mte", &format!("typo-{number}"))).expect("a valid pod");
    }
    // Their schedulers take no Lease, but have written an event, one of them in the form used before events.k8s.io.
    let create = |scheduler: &str, name: &str| {
        let pod = sandbox.objects().create(pod_of(scheduler, name)).expect("a valid pod");
        pod["metadata"]["uid"].clone()
    };
    let (tried, tried_too) = (create("without-lease", "tried"), create("of-old", "tried-too"));
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": "tried-too.1", "namespace": "default" },
        "source": { "component": "of-old" }, "reason": "FailedScheduling", "type": "Warning",
        "involvedObject": { "kind": "Pod", "name": "tried-too", "namespace": "default", "uid": tried_too },
        "message": "0/1 nodes are available", "count": 1,
    });
    sandbox.objects().create(event).expect("a valid event");
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "name": "tried.1", "namespace": "default" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "FailedScheduling", "action": "Scheduling", "type": "Warning",
        "reportingController": "without-lease", "reportingInstance": "without-lease-1",
        "regarding": { "kind": "Pod", "name": "tried", "namespace": "default", "uid": tried },
        "note": "0/1 nodes are available",
    });
    sandbox.objects().create(event).expect("a valid event");
    until("one of the two lives", || sandbox.objects().get("leases", "kube-system", NAME).is_some()).await;
    let examination = examined(&sandbox).await;
    let [finding] = examination.findings.as_slice() else { panic!("{:#?}", examination.findings) };
    assert_eq!((finding.severity, finding.check), (Severity::Fault, "names"));
    assert_eq!(finding.object, "scheduler name \"mte\"");
    let since = finding.since.expect("since when");
    assert_eq!(
        finding.problem,
        format!(
            "nobody serves it (no live Lease names it, and no event was written in its name): 5 pods wait, the first since {since}: default/typo-0, default/typo-1, default/typo-2 and 2 more"
        )
    );
    assert!(finding.remedy.contains("served are mate"), "{}", finding.remedy);
    assert_eq!(finding.pods.len(), 5);

    let patient = DoctorOptions { pending_for: Duration::from_secs(3600), ..doctor_options(&sandbox) };
    assert_eq!(examine(patient).await.expect("it answers").findings, [], "they may be tried soon");
    shell.stop().await;
}

/// It has written nothing yet, neither a Lease nor an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_waits_for_its_first_lists_looks_like_none_and_the_remedy_says_so() {
    let sandbox = sandbox(1).await;
    let target = Target::of(Verb::List, "nodes");
    let rule = sandbox.faults().inject(target, Fault::InternalError, When::Always);
    let shell = try_start(elected(&sandbox, NAME)).await.expect("it starts");
    create_pods(&sandbox, "p", 1, "100m");
    until("it asks for the nodes", || sandbox.faults().strikes(rule) > 0).await;
    let examination = examined(&sandbox).await;
    let [finding] = examination.findings.as_slice() else { panic!("{:#?}", examination.findings) };
    assert_eq!((finding.severity, finding.check), (Severity::Fault, "names"));
    assert_eq!(finding.object, "scheduler name \"mate\"");
    assert_eq!(
        finding.remedy,
        "correct spec.schedulerName where the pods are made, or run a scheduler of this name; if one is running, it may still be waiting for its first lists, and takes no Lease before it has them: see /readyz?verbose of its pods"
    );
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_beyond_the_limit_are_said_not_to_be_judged_and_gated_ones_do_not_count() {
    let sandbox = sandbox(1).await;
    for number in 0..3 {
        let mut gated = pod_of("nobody", &format!("a-{number}"));
        gated["spec"]["schedulingGates"] = json!([{ "name": "quota" }]);
        sandbox.objects().create(gated).expect("a valid pod");
    }
    sandbox.objects().create(pod_of("mte", "b-1")).expect("a valid pod");
    let limited = async |pods: usize| {
        let limits = LookLimits { pods, ..LookLimits::default() };
        let options = DoctorOptions { limits, ..doctor_options(&sandbox) };
        of(&examine(options).await.expect("the API server answers"), "names")
    };
    let found = limited(1).await;
    assert!(found.len() == 1 && found[0].starts_with("Fault scheduler name \"mte\": "), "{found:#?}");
    sandbox.objects().create(pod_of("typo", "b-2")).expect("a valid pod");
    let found = limited(1).await;
    assert!(found.len() == 2 && found[0].starts_with("Fault scheduler name \"mte\": "), "{found:#?}");
    assert_eq!(
        found[1],
        "Unknown pods that wait: not all were looked at (the limit is 1, in 10 pages of 500): the others, and the names of their schedulers, are not judged"
    );
    assert_eq!(limited(2).await.len(), 2, "two names");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_names_cost_one_list_of_events_and_what_it_does_not_show_is_unknown() {
    let sandbox = sandbox(1).await;
    for number in 0..12 {
        sandbox
            .objects()
            .create(pod_of(&format!("typo-{number:02}"), &format!("p-{number}")))
            .expect("a pod");
    }
    // The two names that somebody serves: their pods have been tried.
    let tried = json!({ "status": { "conditions": [{ "type": "PodScheduled", "status": "False" }] } });
    for name in ["p-0", "p-1"] {
        sandbox.objects().merge("pods", "default", name, "status", &tried).expect("a valid status");
    }
    let event = |name: &str, by: Value| {
        let mut event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "namespace": "default" },
            "reason": "FailedScheduling", "type": "Warning", "message": "no room",
            "involvedObject": { "kind": "Pod", "name": "p", "namespace": "default" },
        });
        event.as_object_mut().expect("an object").extend(by.as_object().expect("an object").clone());
        sandbox.objects().create(event).expect("a valid event");
    };
    event("a", json!({ "source": { "component": "typo-00" } }));
    event("b", json!({ "reportingComponent": "typo-01", "source": {} }));
    let lists = || sandbox.history().count("list events");
    let before = lists();
    let found = of(&examined(&sandbox).await, "names");
    assert_eq!(lists() - before, 1);
    let named = |number: usize| format!("Fault scheduler name \"typo-{number:02}\": nobody serves it");
    assert_eq!(found.len(), 10, "{found:#?}");
    for (text, number) in found.iter().zip(2..) {
        assert!(text.starts_with(&named(number)), "{found:#?}");
    }

    let limits = LookLimits { events: 1, ..LookLimits::default() };
    let options = DoctorOptions { limits, ..doctor_options(&sandbox) };
    let found = of(&examine(options).await.expect("the API server answers"), "names");
    assert_eq!(
        found,
        [
            "Unknown events: not all were looked at (the limit is 1, in 10 pages of 500): whether anybody serves \"typo-01\", \"typo-02\", \"typo-03\" and 8 more is not known"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_one_name_are_told() {
    let sandbox = sandbox(1).await;
    let one = try_start(elected(&sandbox, NAME)).await.expect("it starts");
    let other = try_start(elected(&sandbox, "elsewhere")).await.expect("it starts");
    for name in [NAME, "elsewhere"] {
        until("both lead", || sandbox.objects().get("leases", "kube-system", name).is_some()).await;
    }
    let examination = examined(&sandbox).await;
    assert_eq!(
        of(&examination, "leases"),
        [
            "Fault scheduler name \"mate\": 2 live processes serve it, and all of them bind: host-of-elsewhere_1 holds the Lease kube-system/elsewhere; host-of-mate_1 holds the Lease kube-system/mate"
        ]
    );
    assert!(examination.findings[0].remedy.starts_with("let all processes of the name take one Lease"));
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_point_nowhere_are_told_and_are_a_fault_where_pods_wait() {
    let sandbox = sandbox(1).await;
    abandoned(&sandbox, "left-over", "gone_1");
    abandoned(&sandbox, "awaited", "hangs_1");
    sandbox.objects().create(pod_of("awaited", "waits")).expect("a valid pod");
    sandbox.objects().create(pod_of("left-over", "hangs")).expect("a valid pod");
    sandbox.objects().bind("default", "hangs", "", "node-00000").expect("a node");
    until("the pod of the holder runs", || {
        let pod = sandbox.objects().get("pods", "default", "hangs");
        pod.is_some_and(|pod| pod["status"]["phase"] == "Running")
    })
    .await;
    let examination = examined(&sandbox).await;
    assert_eq!(
        of(&examination, "leases"),
        [
            "Fault Lease kube-system/awaited: its holder hangs_1 does not renew it; pod default/hangs is there (Running), and 1 pod of its names wait",
            "Warning Lease kube-system/left-over: its holder gone_1 does not renew it, and there is no pod gone",
        ]
    );
    assert!(of(&examination, "names")[0].starts_with("Fault scheduler name \"awaited\": nobody serves it"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_points_nowhere_is_no_fault_where_others_serve_its_names() {
    let sandbox = sandbox(1).await;
    let shell = try_start(elected(&sandbox, NAME)).await.expect("it starts");
    sandbox.objects().create(pod("huge", "100")).expect("a valid pod");
    until("it is tried", || condition_of(&sandbox, "huge").is_some()).await;
    abandoned(&sandbox, "before", "gone_1");
    let served = async |names: &str| {
        let names = json!({ "metadata": { "annotations": { "secondmate.dev/scheduler-names": names } } });
        sandbox.objects().merge("leases", "kube-system", "before", "", &names).expect("a valid Lease");
        let examination = examined(&sandbox).await;
        let remedy = examination.findings.iter().find(|finding| finding.check == "leases");
        (of(&examination, "leases"), remedy.expect("it is told").remedy.clone())
    };
    let (told, remedy) = served("mate").await;
    assert_eq!(
        told,
        [
            "Warning Lease kube-system/before: its holder gone_1 does not renew it, and there is no pod gone; others serve its names (mate)"
        ]
    );
    assert_eq!(remedy, "kubectl delete lease -n kube-system before");
    // The pod of the name that somebody serves does not count.
    sandbox.objects().create(pod_of("other", "waits")).expect("a valid pod");
    let (told, remedy) = served("mate,other").await;
    assert_eq!(
        told,
        [
            "Fault Lease kube-system/before: its holder gone_1 does not renew it, and there is no pod gone, and 1 pod of its names wait"
        ]
    );
    assert!(
        remedy.starts_with("start the scheduler again, without the names that others serve (mate)"),
        "{remedy}"
    );
    shell.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_changes_hands_or_is_released_meanwhile_does_not_point_nowhere() {
    let sandbox = sandbox(1).await;
    // The process of the last one has its node's name, as on the host network.
    for (name, holder) in [("handed", "old_1"), ("released", "gone_1"), ("silent", "node-00000_1")] {
        abandoned(&sandbox, name, holder);
        let longer = json!({ "spec": { "leaseDurationSeconds": 4 } });
        sandbox.objects().merge("leases", "kube-system", name, "", &longer).expect("a valid Lease");
    }
    sandbox.objects().create(pod_of("handed", "waits")).expect("a valid pod");
    let lists = || sandbox.history().count("list leases.coordination.k8s.io");
    let before = lists();
    let changes = async {
        until("the Leases are looked at", || lists() > before).await;
        let handed =
            json!({ "spec": { "holderIdentity": "new_1", "renewTime": "2026-01-01T00:00:02.000000Z" } });
        let released =
            json!({ "spec": { "holderIdentity": "", "renewTime": "2026-01-01T00:00:02.000000Z" } });
        for (name, change) in [("handed", handed), ("released", released)] {
            sandbox.objects().merge("leases", "kube-system", name, "", &change).expect("a valid Lease");
        }
    };
    let (examination, ()) = tokio::join!(examined(&sandbox), changes);
    assert_eq!(
        of(&examination, "leases"),
        ["Warning Lease kube-system/silent: its holder node-00000_1 does not renew it"]
    );
    assert_eq!(of(&examination, "names"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_nobody_has_tried_are_told() {
    let sandbox = sandbox(1).await;
    // It holds its Lease but does nothing else: it begins to watch when it leads, and gets no list of nodes.
    sandbox.faults().inject(Target::of(Verb::List, "nodes"), Fault::BlackHole, When::Always);
    let options = Options { delay_watches: true, ..elected(&sandbox, NAME) };
    let shell = try_start(options).await.expect("it starts");
    create_pods(&sandbox, "p", 2, "100m");
    until("it leads", || sandbox.objects().get("leases", "kube-system", NAME).is_some()).await;
    let examination = examined(&sandbox).await;
    let told = of(&examination, "pods");
    assert!(
        told.len() == 1
            && told[0].starts_with("Fault scheduler name \"mate\": 2 pods of it, the first since ")
            && told[0].ends_with(
                "have neither a condition PodScheduled nor an event of it: default/p-0, default/p-1"
            ),
        "{told:?}"
    );
    shell.stop().await;
}

/// Of a scheduler that takes no Lease, there are only its events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_nobody_has_tried_are_told_where_there_is_no_lease() {
    let sandbox = sandbox(1).await;
    let tried = sandbox.objects().create(pod_of("without-lease", "tried")).expect("a valid pod");
    sandbox.objects().create(pod_of("without-lease", "untried")).expect("a valid pod");
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": { "name": "tried.1", "namespace": "default" },
        "source": { "component": "without-lease" }, "reason": "FailedScheduling", "type": "Warning",
        "involvedObject": {
            "kind": "Pod", "name": "tried", "namespace": "default", "uid": tried["metadata"]["uid"],
        },
        "message": "0/1 nodes are available",
    });
    sandbox.objects().create(event).expect("a valid event");
    let examination = examined(&sandbox).await;
    let [finding] = examination.findings.as_slice() else { panic!("{:#?}", examination.findings) };
    assert_eq!((finding.severity, finding.check), (Severity::Fault, "pods"));
    assert_eq!(finding.object, "scheduler name \"without-lease\"");
    assert_eq!(finding.pods, ["default/untried"]);
    assert!(finding.remedy.starts_with("see whether the scheduler of this name still runs"), "{finding:?}");

    // If events cannot be listed, it is not known whether anybody serves the name.
    sandbox.access().deny("list", "", "events", "");
    let examination = examined(&sandbox).await;
    let unknown = of(&examination, "names");
    assert!(
        unknown.len() == 1 && unknown[0].starts_with("Unknown events: it cannot be read: "),
        "{unknown:?}"
    );
    assert_eq!(of(&examination, "pods"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_said_to_be_unknown() {
    let sandbox = sandbox(1).await;
    guard::register(&sandbox, "Ignore");
    let unknown = async || {
        let examination = examined(&sandbox).await;
        ["names", "leases", "pods", "guard"].map(|check| {
            let found = of(&examination, check);
            found.iter().filter(|text| text.starts_with("Unknown ") && !text.contains("/metrics")).count()
        })
    };
    assert_eq!(unknown().await, [0, 0, 0, 0]);
    sandbox.access().deny("list", "coordination.k8s.io", "leases", "");
    assert_eq!(unknown().await, [1, 1, 1, 1]);
    sandbox.access().deny("list", "", "pods", "");
    assert_eq!(unknown().await, [1, 1, 1, 1]);
    sandbox.access().allow_all();
    sandbox.access().deny("list", "", "pods", "");
    assert_eq!(unknown().await, [1, 0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_cannot_be_read_once_are_read_again() {
    let sandbox = sandbox(1).await;
    abandoned(&sandbox, "silent", "node-00000_1");
    let longer = json!({ "spec": { "leaseDurationSeconds": 4 } });
    sandbox.objects().merge("leases", "kube-system", "silent", "", &longer).expect("a valid Lease");
    let target = Target::of(Verb::List, "leases");
    let rule = sandbox.faults().inject(target, Fault::ServiceUnavailable, When::Every(3));
    let examination = examined(&sandbox).await;
    assert!(sandbox.faults().strikes(rule) > 0, "or this shows nothing");
    let findings: Vec<(Severity, &str)> =
        examination.findings.iter().map(|finding| (finding.severity, finding.check)).collect();
    assert_eq!(findings, [(Severity::Warning, "leases")], "{:#?}", examination.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_decides_is_well_as_far_as_the_sandbox_tells() {
    let sandbox = sandbox(1).await;
    guard::register(&sandbox, "Ignore");
    let metrics = Metrics::new();
    let service = guard::deciding_guard(&sandbox, &metrics).await;
    let examination = examined(&sandbox).await;
    let found = of(&examination, "guard");
    assert!(
        found.len() == 1 && found[0].starts_with("Unknown API server's count of unanswered calls (/metrics)"),
        "the sandbox counts nothing: {found:#?}"
    );
    // A different authority, as after restoring only the configuration.
    let patch = json!({ "webhooks": [webhook_with(&sandbox, &another_authority())] });
    sandbox
        .objects()
        .merge("validatingwebhookconfigurations", "", "secondmate-guard", "", &patch)
        .expect("a valid configuration");
    let examination = examined(&sandbox).await;
    let found = of(&examination, "guard");
    let refused = "Fault Secret guard/secondmate-guard-tls: the API server does not accept this certificate of the guard (";
    assert!(found.iter().any(|text| text.starts_with(refused)), "{found:#?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_is_asked_by_a_url_is_looked_at_as_well() {
    let sandbox = sandbox(1).await;
    guard::register(&sandbox, "Ignore");
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": guard::SERVICE, "namespace": guard::NAMESPACE },
        "spec": { "clusterIP": "10.96.0.62", "clusterIPs": ["10.96.0.62", "fd00::62"] },
    });
    sandbox.objects().create(service).expect("a valid Service");
    let metrics = Metrics::new();
    let service = guard::deciding_guard(&sandbox, &metrics).await;
    for (host, found) in [
        ("secondmate-guard.guard.svc", &[][..]),
        (
            "10.96.0.62",
            &[
                "Fault Secret guard/secondmate-guard-tls: the API server asks 10.96.0.62, which this certificate of the guard does not name",
            ],
        ),
        (
            "[fd00::62]",
            &[
                "Fault Secret guard/secondmate-guard-tls: the API server asks fd00::62, which this certificate of the guard does not name",
            ],
        ),
        (
            "10.96.0.9",
            &[
                "Fault Secret guard/secondmate-guard-tls: the API server asks 10.96.0.9,",
                "Warning ValidatingWebhookConfiguration secondmate-guard: the API server asks 10.96.0.9, and the guard's Service guard/secondmate-guard has 10.96.0.62, fd00::62",
            ],
        ),
    ] {
        let registered = sandbox.objects().get("validatingwebhookconfigurations", "", "secondmate-guard");
        let mut webhook = registered.expect("it is registered")["webhooks"][0].clone();
        webhook["clientConfig"] =
            json!({ "caBundle": webhook["clientConfig"]["caBundle"], "url": format!("https://{host}/bind") });
        sandbox
            .objects()
            .merge(
                "validatingwebhookconfigurations",
                "",
                "secondmate-guard",
                "",
                &json!({ "webhooks": [webhook] }),
            )
            .expect("a valid configuration");
        let all = of(&examined(&sandbox).await, "guard");
        let told: Vec<&String> = all.iter().filter(|text| !text.starts_with("Unknown")).collect();
        assert_eq!(told.len(), found.len(), "{host}: {all:#?}");
        for (told, expected) in told.iter().zip(found) {
            assert!(told.starts_with(expected), "{host}: {all:#?}");
        }
    }
    // If it is not known which Service that is.
    let elsewhere = GuardsService { namespace: "elsewhere".to_owned(), name: guard::SERVICE.to_owned() };
    let options = DoctorOptions { guard: elsewhere, ..doctor_options(&sandbox) };
    let all = of(&examine(options).await.expect("the API server answers"), "guard");
    let unknown = "Unknown Service elsewhere/secondmate-guard: it cannot be read: ";
    assert!(all.iter().any(|text| text.starts_with(unknown)), "{all:#?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_is_reached_and_holds_no_lease_may_run_without_leader_election() {
    let sandbox = sandbox(1).await;
    guard::register(&sandbox, "Ignore");
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": guard::SERVICE, "namespace": guard::NAMESPACE,
            "labels": { "kubernetes.io/service-name": guard::SERVICE },
        },
        "endpoints": [{ "addresses": ["10.0.0.7"], "conditions": { "ready": true } }],
        "ports": [{ "port": 10260 }],
    });
    sandbox.objects().create(slice).expect("a valid EndpointSlice");
    let examination = examined(&sandbox).await;
    let found = of(&examination, "guard");
    let lease: Vec<&String> = found.iter().filter(|text| text.contains("Lease")).collect();
    assert_eq!(
        lease,
        [
            "Warning ValidatingWebhookConfiguration secondmate-guard: no live process holds the guard's Lease, while its Service has a ready endpoint: either the guard runs with --leader-elect=false, or nobody decides and binds pass unseen"
        ],
        "{found:#?}"
    );
}

/// The PEM of an authority.
fn another_authority() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let key = rcgen::KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("a certificate").pem()
}

/// The configuration's webhook, with this authority.
fn webhook_with(sandbox: &Sandbox, authority: &str) -> Value {
    use base64::Engine;
    let found = sandbox.objects().get("validatingwebhookconfigurations", "", "secondmate-guard");
    let mut webhook = found.expect("it is registered")["webhooks"][0].clone();
    webhook["clientConfig"]["caBundle"] = base64::engine::general_purpose::STANDARD.encode(authority).into();
    webhook
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_is_registered_and_not_there_is_told() {
    let sandbox = sandbox(1).await;
    guard::register(&sandbox, "Fail");
    let examination = examined(&sandbox).await;
    let found = of(&examination, "guard");
    for expected in [
        "Fault ValidatingWebhookConfiguration secondmate-guard: no live process holds the guard's Lease",
        "Fault ValidatingWebhookConfiguration secondmate-guard: guard.secondmate.dev has no caBundle",
        "Fault Service guard/secondmate-guard: it has no ready endpoint",
        "Warning ValidatingWebhookConfiguration secondmate-guard: the failurePolicy of guard.secondmate.dev is Fail",
    ] {
        assert!(found.iter().any(|text| text.starts_with(expected)), "{expected}: {found:#?}");
    }
    assert_eq!(
        of(&examination, "rights"),
        [
            "Warning service account guard/secondmate-guard: it does not exist, so the rights of the bind guard are not checked"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_no_tenant_may_use_and_tenants_without_nodes_are_told() {
    let sandbox = sandbox(0).await;
    let label = |name: &str, labels: Value| {
        let node =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } });
        sandbox.objects().create(node).expect("a valid node");
    };
    label("red-1", json!({ "pool": "red" }));
    label("spare-1", json!({ "pool": "spare" }));
    label("spare-2", json!({}));
    label("master", json!({ "node-role.kubernetes.io/control-plane": "" }));
    let tenants = |text: &str| {
        let text = format!(
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{{schedulerName: red}}]\n---\n\
             apiVersion: secondmate.dev/v1alpha1\nkind: SecondmateConfiguration\ntenants:\n{text}"
        );
        text.parse::<Configuration>().expect("valid").own.tenants
    };
    let of_pool = |name: &str| {
        format!("- {{schedulerName: {name}, nodes: {{selector: {{matchLabels: {{pool: {name}}}}}}}}}\n")
    };
    let examination = |text: String| {
        let options = DoctorOptions { tenants: tenants(&text), ..doctor_options(&sandbox) };
        async move { examine(options).await.expect("the API server answers") }
    };
    let found = examination(of_pool("red") + &of_pool("blue")).await;
    assert_eq!(
        of(&found, "tenants"),
        [
            "Fault tenant \"blue\": no node has the labels that its `nodes` select (pool=blue): its pods fit nowhere",
            "Warning 2 nodes: no tenant may use them: spare-1, spare-2",
        ]
    );
    let listed = found.findings.iter().find(|finding| !finding.nodes.is_empty()).map(|f| f.nodes.clone());
    assert_eq!(listed, Some(vec!["spare-1".to_owned(), "spare-2".to_owned()]));
    assert_eq!(found.checks.last(), Some(&"tenants"));
    // One of them may use all nodes.
    let found = examination(of_pool("red") + "- {schedulerName: blue}\n").await;
    assert_eq!(of(&found, "tenants"), Vec::<String>::new());
    // Without tenants there is nothing to check.
    assert!(!examined(&sandbox).await.checks.contains(&"tenants"));

    // Nothing is reported about nodes that were not read: red-1 is the second node by name.
    let limits = LookLimits { nodes: 1, ..LookLimits::default() };
    let options = DoctorOptions { limits, tenants: tenants(&of_pool("red")), ..doctor_options(&sandbox) };
    let found = examine(options).await.expect("the API server answers");
    assert_eq!(
        of(&found, "tenants"),
        [
            "Unknown nodes: not all were looked at (the limit is 1, in 10 pages of 500): tenants may have nodes among the others, and some of those may be nobody's"
        ]
    );

    sandbox.access().deny("list", "", "nodes", "");
    let found = examination(of_pool("red")).await;
    assert!(of(&found, "tenants")[0].starts_with("Unknown nodes: it cannot be read: "), "{found:#?}");
}
