//! The same HTTP extender, asked by kube-scheduler and by secondmate: the same calls in the same order, the same placements, the same
//! words; and whatever it does wrong, others are placed and nothing is lost.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, ensure};
use secondmate_harness::{Cluster, Options, Process, SchedulerOptions, extender_program};
use secondmate_suite::{
    BOTH, OWN, SharedStage, Stage, World, deployment, events, merge, node, node_of, object, pod, verdict,
};
use serde_json::{Value, json};

static STAGE: SharedStage = SharedStage::new();
/// The extender, for as long as the stage lives.
static EXTENDER: OnceLock<Mutex<Process>> = OnceLock::new();

/// Where it serves.
static SERVED: OnceLock<Value> = OnceLock::new();

const BOUND: &str = "example.com/bound";

/// What a scheduler's extenders are. `ignorable` ones are asked last, so that `second` comes first here and there.
fn extenders(who: &str, served: &Value) -> Value {
    let url =
        |scheme: &str, name: &str| format!("{}/{who}/{name}/", served[scheme].as_str().unwrap_or_default());
    json!([
        {
            "urlPrefix": url("https", "lenient"),
            "filterVerb": "filter", "prioritizeVerb": "prioritize", "weight": 1,
            "enableHTTPS": true, "tlsConfig": { "caData": served["ca"], "serverName": "extender.test" },
            "httpTimeout": "1s", "ignorable": true,
        },
        {
            "urlPrefix": url("http", "strict"),
            "filterVerb": "filter", "prioritizeVerb": "prioritize", "preemptVerb": "preempt", "weight": 3,
            "nodeCacheCapable": true, "httpTimeout": "1s",
        },
        {
            "urlPrefix": url("http", "binder"), "bindVerb": "bind", "httpTimeout": "5s",
            "managedResources": [{ "name": BOUND, "ignoredByScheduler": true }],
        },
    ])
}

fn configuration(name: &str, served: &Value) -> Value {
    json!({
        "profiles": [{ "schedulerName": name }],
        "extenders": extenders(name, served),
        // A pod that failed is soon tried again.
        "podMaxBackoffSeconds": 1,
    })
}

fn stage(test: &str) -> Result<Option<&'static Stage>> {
    STAGE.get(test, |binaries| {
        let stage = Stage::new(Cluster::start(binaries, Options { scheduler: None, ..Options::default() })?);
        let cluster = &stage.cluster;
        let mut command = Command::new(extender_program()?);
        command.arg("-kubeconfig").arg(cluster.kubeconfig());
        let extender = cluster.spawn("extender", command)?;
        let served = stage.wait("the extender to serve", || {
            let log = extender.log()?;
            Ok(log.lines().next().map(serde_json::from_str::<Value>).transpose().ok().flatten())
        })?;
        EXTENDER.get_or_init(|| Mutex::new(extender));
        SERVED.get_or_init(|| served.clone());
        let [theirs, own] = BOTH.map(|name| configuration(name, &served));
        let fields = theirs.as_object().context("an object")?.clone();
        cluster.start_scheduler(SchedulerOptions { configuration: fields, ..SchedulerOptions::default() })?;
        let mut own = own;
        merge(
            &mut own,
            json!({ "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration" }),
        );
        let path = cluster.directory().join("own.json");
        std::fs::write(&path, own.to_string())?;
        stage.with_secondmate_as(&["--config", path.to_str().context("a path that is text")?])
    })
}

/// Every call that the extender was asked, in their order.
fn log() -> Result<Vec<Value>> {
    let extender = EXTENDER.get().context("the extender runs")?;
    let log = extender.lock().map_err(|_| anyhow::anyhow!("a test panicked"))?.log()?;
    log.lines().skip(1).map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The calls about a pair of pods, by scheduler, in their order; names of pods read alike in them.
fn calls(case: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut calls: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in log()? {
        let who = call["Who"].as_str().unwrap_or_default();
        if call["Pod"] == World::pod_name(case, who) {
            let text = format!(
                "{} {} {} whole={} spoilt={}",
                call["Name"], call["Verb"], call["Nodes"], call["Whole"], call["Spoilt"]
            );
            calls.entry(who.to_owned()).or_default().push(text);
        }
    }
    for calls in calls.values_mut() {
        // kube-scheduler asks all for scores at once.
        for run in calls.chunk_by_mut(|a, b| [a, b].iter().all(|call| call.contains("\"prioritize\""))) {
            run.sort();
        }
    }
    Ok(calls)
}

fn rules(rules: Value) -> Value {
    json!({ "metadata": { "annotations": { "rule": rules.to_string() } } })
}

fn nodes(world: &World<'_>) -> Result<()> {
    let nodes: Vec<Value> = (0..4).map(|n| node(&format!("n-{n}"), json!({}))).collect();
    world.create_nodes(&nodes)?;
    world.settle(&BOTH)
}

/// The nodes of a pair of pods, once both have one.
fn placed(world: &World<'_>, case: &str) -> Result<[String; 2]> {
    let names = BOTH.map(|scheduler| World::pod_name(case, scheduler));
    let pods = world.wait_bound(&names)?;
    let of = |name: &String| {
        let pod = pods.iter().find(|pod| pod["metadata"]["name"] == **name);
        pod.and_then(node_of).unwrap_or_default().to_owned()
    };
    Ok(names.each_ref().map(of))
}

/// Both schedulers made the same calls; the calls are returned.
fn same_calls(case: &str) -> Result<Vec<String>> {
    let mut calls = calls(case)?;
    let [theirs, own] = BOTH.map(|name| calls.remove(name).unwrap_or_default());
    assert_eq!(own, theirs, "{case}: the calls of secondmate and of kube-scheduler");
    assert!(own.iter().all(|call| call.ends_with("spoilt=null")), "{case}: {own:#?}");
    Ok(own)
}

const ALL: &str = r#"["n-0","n-1","n-2","n-3"]"#;

#[test]
fn both_choose_the_same_node_after_the_same_calls() -> Result<()> {
    let Some(stage) = stage("both_choose_the_same_node_after_the_same_calls")? else { return Ok(()) };
    let world = World::new(stage, "choice")?;
    nodes(&world)?;
    let scores = |node: &str, score: i64| json!({ node: score });
    for (case, rule, expected, calls) in [
        (
            "scored",
            json!({ "strict": { "scores": scores("n-2", 10) } }),
            "n-2",
            vec![format!("strict filter {ALL}"), format!("lenient filter {ALL} whole")],
        ),
        (
            // 3 × 4 against 10.
            "weighed",
            json!({ "strict": { "scores": scores("n-1", 4) }, "lenient": { "scores": scores("n-3", 10) } }),
            "n-1",
            vec![format!("strict filter {ALL}"), format!("lenient filter {ALL} whole")],
        ),
        (
            "narrowed",
            json!({ "strict": { "pass": ["n-0", "n-3"] }, "lenient": { "pass": ["n-3", "n-1"] } }),
            "n-3",
            vec![format!("strict filter {ALL}"), r#"lenient filter ["n-0","n-3"] whole"#.to_owned()],
        ),
        (
            "ignored",
            json!({
                "strict": { "pass": ["n-1"] },
                "lenient": { "faults": { "filter": "500", "prioritize": "garbage" } },
            }),
            "n-1",
            vec![format!("strict filter {ALL}"), r#"lenient filter ["n-1"] whole"#.to_owned()],
        ),
    ] {
        world.create_pair(case, &rules(rule))?;
        assert_eq!(placed(&world, case)?, [expected, expected], "{case}");
        let made = same_calls(case)?;
        let expected: Vec<String> = calls
            .iter()
            .map(|call| {
                let (call, whole) = call.strip_suffix(" whole").map_or((&**call, false), |call| (call, true));
                let mut words = call.splitn(3, ' ');
                let mut next = || words.next().unwrap_or_default().to_owned();
                format!("{:?} {:?} {} whole={whole} spoilt=null", next(), next(), next())
            })
            .collect();
        assert_eq!(made[..expected.len()], expected, "{case}");
    }
    Ok(())
}

/// kube-scheduler scores what an extender sent back, which is a node without pods: the fullest node is as good as an empty one.
#[test]
fn both_take_what_came_back_for_the_node() -> Result<()> {
    let Some(stage) = stage("both_take_what_came_back_for_the_node")? else { return Ok(()) };
    let world = World::new(stage, "returned")?;
    let sized = |name: &str, cpu: &str| node(name, json!({ "status": { "allocatable": { "cpu": cpu } } }));
    // n-big is nearly full. With the pods on it n-small is better, without them n-big is.
    world.create_nodes(&[sized("n-big", "16"), sized("n-small", "8")])?;
    let full = json!({ "spec": { "nodeName": "n-big", "containers": [{
        "name": "main", "image": "main", "resources": { "requests": { "cpu": "14" } },
    }] } });
    world.place(&[pod("full", OWN, full)])?;
    world.settle(&BOTH)?;
    let asks = json!({ "spec": { "containers": [{
        "name": "main", "image": "main", "resources": { "requests": { "cpu": "500m" } },
    }] } });
    world.create_pair("returned", &asks)?;
    assert_eq!(placed(&world, "returned")?, ["n-big", "n-big"]);
    same_calls("returned").map(drop)
}

#[test]
fn both_say_the_same_of_a_pod_that_extenders_reject() -> Result<()> {
    let Some(stage) = stage("both_say_the_same_of_a_pod_that_extenders_reject")? else { return Ok(()) };
    let world = World::new(stage, "rejected")?;
    nodes(&world)?;
    let strict = json!({ "strict": {
        "pass": ["n-3"],
        "failed": { "n-0": "no device", "n-1": "no device" },
        "unresolvable": { "n-1": "wrong model" },
    }, "lenient": { "pass": [], "failed": { "n-3": "too far" } } });
    world.create_pair("reasons", &rules(strict))?;
    let said = both_say(&world, "reasons")?;
    ensure!(said.contains("1 no device") && said.contains("1 wrong model"), "{said}");
    // What extenders reject is tried again after any event, here of the pod itself.
    for scheduler in BOTH {
        let path = format!("{}/{}", world.path("pods"), World::pod_name("reasons", scheduler));
        stage.cluster.api().patch(&path, &json!({ "metadata": { "annotations": { "rule": null } } }))?;
    }
    placed(&world, "reasons").map(drop)
}

/// The condition of both pods of a case, which must be the same with the same events; its message.
fn both_say(world: &World<'_>, case: &str) -> Result<String> {
    let cluster = &world.stage.cluster;
    let [theirs, own] = world.stage.wait(&format!("both to speak of {case}"), || {
        let mut verdicts = Vec::new();
        for scheduler in BOTH {
            let name = World::pod_name(case, scheduler);
            let short = name.rsplit('-').next().unwrap_or_default();
            let names = [(scheduler, "X"), (&*format!("-{short}"), "-X")];
            verdicts.push(verdict(cluster, &world.namespace, &name, &names)?);
        }
        let spoken = verdicts.iter().all(|v| !v.condition[2].is_empty() && !v.events.is_empty());
        Ok(spoken.then(|| <[_; 2]>::try_from(verdicts).ok()).flatten())
    })?;
    assert_eq!(own, theirs, "{case}");
    Ok(own.condition[2].clone())
}

#[test]
fn whatever_is_wrong_with_an_answer_both_say_the_same_and_others_are_placed() -> Result<()> {
    let Some(stage) = stage("whatever_is_wrong_with_an_answer_both_say_the_same_and_others_are_placed")?
    else {
        return Ok(());
    };
    let world = World::new(stage, "faults")?;
    nodes(&world)?;
    let faults = ["500", "hang", "garbage", "empty", "half", "broken", "closed", "type", "unknown"];
    for fault in faults {
        let rule = json!({ "strict": { "faults": { "filter": fault } } });
        world.create_pair(&format!("f-{fault}"), &rules(rule))?;
    }
    world.create_pair("f-error", &rules(json!({ "strict": { "error": "no devices here" } })))?;
    world.create_pair("well", &json!({}))?;
    placed(&world, "well")?;
    for fault in faults.into_iter().chain(["error"]) {
        let said = both_say(&world, &format!("f-{fault}"))?;
        println!("{fault}: {said}");
    }
    for scheduler in BOTH {
        for fault in faults.into_iter().chain(["error"]) {
            let name = World::pod_name(&format!("f-{fault}"), scheduler);
            let path = format!("{}/{name}", world.path("pods"));
            stage.cluster.api().patch(&path, &json!({ "metadata": { "annotations": { "rule": null } } }))?;
        }
    }
    for fault in faults.into_iter().chain(["error"]) {
        placed(&world, &format!("f-{fault}"))?;
    }
    Ok(())
}

#[test]
fn both_have_the_extender_bind_the_pods_that_concern_it() -> Result<()> {
    let Some(stage) = stage("both_have_the_extender_bind_the_pods_that_concern_it")? else { return Ok(()) };
    let world = World::new(stage, "binding")?;
    nodes(&world)?;
    let bound = json!({ "spec": { "containers": [{
        "name": "main", "image": "main", "resources": { "limits": { BOUND: "1" } },
    }] } });
    let with = |rule: Value| {
        let mut pod = bound.clone();
        merge(&mut pod, rules(rule));
        pod
    };
    let to = json!({ "scores": { "n-1": 10 } });
    world.create_pair("bound", &with(json!({ "strict": to })))?;
    assert_eq!(placed(&world, "bound")?, ["n-1", "n-1"]);
    let made = same_calls("bound")?;
    let last = made.last().context("there are calls")?;
    assert_eq!(last, r#""binder" "bind" ["n-1"] whole=false spoilt=null"#);
    let scheduled = events(&stage.cluster, &world.namespace)?;
    for scheduler in BOTH {
        let name = World::pod_name("bound", scheduler);
        let note = format!("Successfully assigned {}/{name} to n-1", world.namespace);
        assert!(scheduled.iter().any(|event| event.note == note && event.controller == scheduler), "{note}");
    }
    // It says that it cannot, or that it failed.
    world.create_pair("cannot", &with(json!({ "binder": { "error": "the device is in use" } })))?;
    assert_eq!(both_say(&world, "cannot")?, "the device is in use");
    world.create_pair("fails", &with(json!({ "binder": { "faults": { "bind": "500" } } })))?;
    let said = both_say(&world, "fails")?;
    ensure!(said.starts_with("failed bind with extender at URL") && said.ends_with("code 500"), "{said}");
    Ok(())
}

/// Without the filter the pods were on n-3, without the scores also on n-1, and by whom they were bound the calls show.
#[test]
fn one_extender_filters_scores_and_binds_a_deployment() -> Result<()> {
    let Some(stage) = stage("one_extender_filters_scores_and_binds_a_deployment")? else { return Ok(()) };
    let world = World::new(stage, "one")?;
    nodes(&world)?;
    let served = SERVED.get().context("the extender serves")?;
    let configuration = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [{ "schedulerName": "one" }],
        "extenders": [{
            "urlPrefix": format!("{}/one/all/", served["http"].as_str().unwrap_or_default()),
            "filterVerb": "filter", "prioritizeVerb": "prioritize", "weight": 10, "bindVerb": "bind",
        }],
    });
    let path = stage.cluster.directory().join("one.json");
    std::fs::write(&path, configuration.to_string())?;
    let path = path.to_str().context("a path that is text")?;
    let _scheduler =
        stage.start_secondmate(stage.cluster.kubeconfig(), &["--config", path, "--leader-elect=false"])?;

    let mut web = deployment("web", "one", "main", 8);
    let rule = json!({ "all": { "pass": ["n-1", "n-2"], "scores": { "n-3": 10, "n-2": 5 } } });
    merge(&mut web["spec"]["template"], rules(rule));
    world.create("apps/v1/deployments", &web)?;
    let placed = stage.wait("the pods to have nodes", || {
        let pods = world.pods()?;
        let placed: Vec<Value> =
            pods.iter().map(|pod| json!([pod["metadata"]["name"], node_of(pod)])).collect();
        Ok((placed.len() == 8 && placed.iter().all(|pod| !pod[1].is_null())).then_some(placed))
    })?;
    assert!(placed.iter().all(|pod| pod[1] == "n-2"), "{placed:?}");
    let calls = log()?;
    for pod in &placed {
        let of_pod = calls.iter().filter(|call| call["Who"] == "one" && call["Pod"] == pod[0]);
        let made: Vec<Value> = of_pod.map(|call| json!([call["Verb"], call["Nodes"]])).collect();
        let all = json!(["n-0", "n-1", "n-2", "n-3"]);
        let passed = json!(["n-1", "n-2"]);
        assert_eq!(json!(made), json!([["filter", all], ["prioritize", passed], ["bind", ["n-2"]]]), "{pod}");
    }
    Ok(())
}

#[test]
fn both_preempt_where_the_extender_lets_them() -> Result<()> {
    let Some(stage) = stage("both_preempt_where_the_extender_lets_them")? else { return Ok(()) };
    let world = World::new(stage, "preempting")?;
    for (name, value) in [("low", -5), ("high", 1000)] {
        let class = object("scheduling.k8s.io/v1", "PriorityClass", name, json!({ "value": value }));
        world.create_outside("/apis/scheduling.k8s.io/v1/priorityclasses", &class)?;
    }
    // Nodes for each of the schedulers, full of its own pods.
    let mut all = Vec::new();
    for scheduler in BOTH {
        for number in 0..3 {
            let changes = json!({
                "metadata": { "labels": { "for": scheduler } },
                "status": { "allocatable": { "cpu": "1" } },
            });
            all.push(node(&format!("{number}-{scheduler}"), changes));
        }
    }
    world.create_nodes(&all)?;
    let asks = |cpu: &str, class: &str| {
        json!({ "spec": { "priorityClassName": class, "containers": [{
            "name": "main", "image": "main", "resources": { "requests": { "cpu": cpu } },
        }] } })
    };
    let mut low = Vec::new();
    for scheduler in BOTH {
        for number in 0..3 {
            let mut filler = asks("900m", "low");
            merge(&mut filler, json!({ "spec": { "nodeName": format!("{number}-{scheduler}") } }));
            low.push(pod(&format!("low-{number}-{scheduler}"), scheduler, filler));
        }
    }
    world.place(&low)?;
    world.settle(&BOTH)?;
    for scheduler in BOTH {
        let mut changes = asks("500m", "high");
        let keep = json!({ "strict": { "keep": [format!("2-{scheduler}")] } });
        merge(&mut changes, rules(keep));
        merge(&mut changes, json!({ "spec": { "nodeSelector": { "for": scheduler } } }));
        world.create("pods", &pod(&World::pod_name("high", scheduler), scheduler, changes))?;
    }
    assert_eq!(placed(&world, "high")?, BOTH.map(|scheduler| format!("2-{scheduler}")));
    let calls = calls("high")?;
    let preempting = |scheduler: &str| -> Vec<String> {
        let calls = calls.get(scheduler).cloned().unwrap_or_default();
        let preempting = calls.into_iter().filter(|call| call.contains("\"preempt\""));
        preempting.map(|call| call.replace(scheduler, "X")).collect()
    };
    let [theirs, own] = BOTH.map(preempting);
    assert_eq!(own, theirs);
    assert_eq!(own, [r#""strict" "preempt" ["0-X: 1","1-X: 1","2-X: 1"] whole=false spoilt=null"#]);
    let left: Vec<Value> = world.pods()?;
    let stays = |number: usize, scheduler: &str| {
        let name = format!("low-{number}-{scheduler}");
        left.iter()
            .any(|pod| pod["metadata"]["name"] == *name && pod["metadata"]["deletionTimestamp"].is_null())
    };
    for scheduler in BOTH {
        assert_eq!([0, 1, 2].map(|number| stays(number, scheduler)), [true, true, false], "{scheduler}");
    }
    Ok(())
}
