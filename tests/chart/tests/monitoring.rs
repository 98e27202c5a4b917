//! Alerts and board of `manifests/components`, judged by Prometheus' own promtool: the rules are valid, alerts fire when they should, and
//! every query of the board is answered by what a running scheduler shows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use secondmate_chart::{Tools, manifests};
use secondmate_harness::{require_promtool_or_skip, run, secondmate_binary};
use serde_json::{Value, json};

/// Longest run of promtool, and longest wait for the scheduler.
const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// What the board asks for and no playground shows. The names of its labels are those of the reference, `docs/metrics.md`, which a test
/// holds against the program.
const NOT_IN_A_PLAYGROUND: &[(&str, &str)] = &[
    ("leader_election_master_status", "leader election"),
    ("scheduler_preemption_victims", "a preemption"),
    ("secondmate_bind_conflicts_total", "a binding that is refused"),
    ("secondmate_extender_call_duration_seconds", "an extender"),
    ("secondmate_extender_calls_total", "an extender"),
    ("secondmate_extender_suspended", "an extender"),
    ("secondmate_guard_answer_duration_seconds", "a bind guard"),
    ("secondmate_guard_binds_total", "a bind guard"),
    ("secondmate_guard_bound_unasked_total", "a bind guard"),
    ("secondmate_guard_certificate_expiry_seconds", "a bind guard"),
    ("secondmate_guard_connections_failed_total", "a bind guard"),
    ("secondmate_guard_deciding", "a bind guard"),
    ("secondmate_guard_refused_total", "a bind guard"),
    ("secondmate_guard_settled_total", "a bind guard"),
    ("secondmate_guard_unseen", "a bind guard"),
    ("secondmate_guest_failures_total", "a guest that fails"),
    ("secondmate_kubelet_rejections_total", "a kubelet that rejects a pod"),
    ("secondmate_object_rejected_total", "an object that is not understood"),
    ("secondmate_plugin_panics_total", "a plugin that panics"),
    ("secondmate_poll_expired", "a plugin with an endpoint"),
    ("secondmate_poll_left_out", "a plugin with an endpoint"),
    ("secondmate_polls_total", "a plugin with an endpoint"),
    ("secondmate_preemptions_put_off_total", "a preemption that would be in vain"),
    ("secondmate_standing_plain_total", "pods that are not alike"),
    ("secondmate_watch_restarts_total", "a watch that breaks"),
];

/// The groups of rules, as a file of rules has them.
fn rules() -> Result<Value> {
    let path = manifests().join("components/prometheus-rules/prometheusrule.yaml");
    let object: Value = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
    Ok(object["spec"].clone())
}

fn tests_of_alerts() -> Result<String> {
    Ok(std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts.yaml"))?)
}

/// What promtool says.
///
/// # Errors
///
/// It finds a fault: with what it said.
fn promtool(program: &Path, folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.current_dir(folder).args(arguments);
    let output = run(command, b"", DEADLINE)?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "promtool {}:\n{said}", arguments.join(" "));
    Ok(said)
}

#[test]
fn the_alerts_are_valid_rules_that_say_what_to_do() -> Result<()> {
    let test = "the_alerts_are_valid_rules_that_say_what_to_do";
    let Some(program) = require_promtool_or_skip(test) else { return Ok(()) };
    let rules = rules()?;
    let alerts = rules["groups"][0]["rules"].as_array().context("rules")?;
    for alert in alerts {
        let texts = [&alert["annotations"]["summary"], &alert["annotations"]["runbook"]];
        assert!(texts.iter().all(|text| text.is_string()), "{alert}");
        assert!(matches!(alert["labels"]["severity"].as_str(), Some("critical" | "warning")), "{alert}");
    }
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string())?;
    let check = ["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"];
    let said = promtool(program, folder.path(), &check)?;
    assert!(alerts.len() > 10 && said.contains(&format!("{} rules found", alerts.len())), "{said}");
    Ok(())
}

#[test]
fn the_alerts_fire_when_they_should_and_not_otherwise() -> Result<()> {
    let test = "the_alerts_fire_when_they_should_and_not_otherwise";
    let Some(program) = require_promtool_or_skip(test) else { return Ok(()) };
    let mut rules = rules()?;
    let tests = tests_of_alerts()?;
    for rule in rules["groups"][0]["rules"].as_array_mut().context("rules")? {
        let alert = rule["alert"].as_str().context("an alert")?;
        ensure!(tests.contains(&format!("alertname: {alert}\n")), "no test makes {alert} fire");
        // What to do is told by a fixed text, which the tests need not repeat.
        rule["annotations"].as_object_mut().context("annotations")?.remove("runbook");
    }
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string())?;
    std::fs::write(folder.path().join("alerts.yaml"), tests)?;
    promtool(program, folder.path(), &["test", "rules", "alerts.yaml"])?;
    // A test that cannot fail would be none.
    let broken = rules.to_string().replace("== 0", "== 7");
    std::fs::write(folder.path().join("rules.yaml"), broken)?;
    let error = promtool(program, folder.path(), &["test", "rules", "alerts.yaml"]);
    assert!(error.is_err_and(|error| error.to_string().contains("SecondmateNoLeader")));
    Ok(())
}

#[test]
fn the_chart_tells_of_a_lease_that_nobody_ever_had() -> Result<()> {
    let test = "the_chart_tells_of_a_lease_that_nobody_ever_had";
    let Some(program) = require_promtool_or_skip(test) else { return Ok(()) };
    let Some(tools) = Tools::require_or_skip(test) else { return Ok(()) };
    let values = json!({
        "tenants": { "red": {}, "blue": { "schedulerNames": ["web", "batch"] } },
        "guard": { "enabled": true },
        "monitoring": { "prometheusRule": { "enabled": true } },
    });
    let chart = tools.render("team", "schedulers", &values)?;
    let mut rules = chart["PrometheusRule schedulers/team"]["spec"].clone();
    for rule in rules["groups"][0]["rules"].as_array_mut().context("rules")? {
        rule["annotations"].as_object_mut().context("annotations")?.remove("runbook");
    }
    let told = |name: &str| {
        json!({
            "exp_labels": { "severity": "critical", "name": name },
            "exp_annotations": { "summary": format!("No process that uses the Lease {name} is being scraped.") },
        })
    };
    let guard = r#"job="guard", instance="c""#;
    let alerts = json!({
        "rule_files": ["rules.yaml"], "evaluation_interval": "1m",
        "tests": [{
            "interval": "30s",
            "input_series": [
                { "series": format!("secondmate_build_info{{{guard}}}"), "values": "1x40" },
                { "series": format!("leader_election_master_status{{{guard}, name=\"secondmate-guard\"}}"), "values": "1x40" },
            ],
            "alert_rule_test": [
                { "alertname": "SecondmateGone", "eval_time": "4m", "exp_alerts": [] },
                { "alertname": "SecondmateGone", "eval_time": "6m", "exp_alerts": [told("batch"), told("red-scheduler")] },
            ],
        }],
    });
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string())?;
    std::fs::write(folder.path().join("alerts.yaml"), alerts.to_string())?;
    let check = ["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"];
    promtool(program, folder.path(), &check)?;
    promtool(program, folder.path(), &["test", "rules", "alerts.yaml"])?;
    // Without schedulers it has the guard's Lease alone.
    let values = json!({
        "scheduler": { "enabled": false },
        "guard": { "enabled": true },
        "monitoring": { "prometheusRule": { "enabled": true } },
    });
    let alone = tools.render("guard", "guard", &values)?;
    let text = serde_json::to_string(&alone["PrometheusRule guard/guard"])?;
    assert!(text.contains(r#"{name=\"secondmate-guard\"}"#) && !text.contains("my-scheduler"), "{text}");
    Ok(())
}

/// Names of labels, by the name of the sample.
type Known = BTreeMap<String, BTreeSet<String>>;

/// Name and labels of a series in the text format. No value here has a comma or a brace.
fn parts(series: &str) -> (&str, Vec<(&str, &str)>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.trim().split_once('='));
    (name, labels.collect())
}

/// The series of a scrape.
fn series_of(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect()
}

/// The samples of every metric of the reference.
fn documented() -> Result<Known> {
    let mut known = Known::new();
    let text = std::fs::read_to_string(manifests().join("../docs/metrics.md"))?;
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, labels, ..] = cells.as_slice() else { continue };
        let name = name.trim_matches('`');
        let labels = labels.split(", ").map(|label| label.trim_matches('`').to_owned());
        let mut labels: BTreeSet<String> = labels.filter(|label| !label.is_empty()).collect();
        if *kind == "histogram" {
            known.insert(format!("{name}_sum"), labels.clone());
            known.insert(format!("{name}_count"), labels.clone());
            labels.insert("le".to_owned());
            known.insert(format!("{name}_bucket"), labels);
        } else {
            known.insert(name.to_owned(), labels);
        }
    }
    Ok(known)
}

struct Playground {
    child: Child,
    address: String,
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Playground {
    /// One with more pods than fit.
    fn start() -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let child = Command::new(secondmate_binary()?)
            .args([
                "playground",
                "--nodes",
                "1",
                "--node-pods",
                "5",
                "--pods",
                "20",
                "--keep",
                "--listen",
                &address,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, address })
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        ensure!(head.contains(" 200 "), "{path}: {head}");
        Ok(body.to_owned())
    }

    /// What it shows once it has bound pods and rejected others.
    fn scrape(&self) -> Result<String> {
        let end = Instant::now() + DEADLINE;
        loop {
            // The probe is what fills `/metrics/slis`.
            let scraped =
                self.get("/livez").and_then(|_| Ok(self.get("/metrics")? + &self.get("/metrics/slis")?));
            let text = scraped.as_deref().unwrap_or_default();
            if ["result=\"scheduled\"", "result=\"unschedulable\"", "scheduler_unschedulable_pods{"]
                .iter()
                .all(|part| text.contains(part))
            {
                return scraped;
            }
            ensure!(Instant::now() < end, "it never did: {scraped:?}");
            std::thread::sleep(POLL);
        }
    }
}

/// A query of the board, and the labels that its legend shows.
struct Query {
    place: String,
    text: String,
    legend: Vec<String>,
}

fn queries() -> Result<Vec<Query>> {
    let path = manifests().join("components/grafana-dashboard/secondmate.json");
    let board: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().context("panels")? {
        let place = panel["title"].as_str().context("a title")?;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let legend = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            let text = target["expr"].as_str().context("an expression")?;
            queries.push(Query {
                place: place.to_owned(),
                text: text.replace("$__rate_interval", "2m").replace("=~\"$", "=~\".+$"),
                legend: legend.map(str::to_owned).collect(),
            });
        }
    }
    for variable in board["templating"]["list"].as_array().context("variables")? {
        let Some(text) = variable["query"]["query"].as_str() else { continue };
        let inside = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (text, label) = inside.and_then(|inside| inside.rsplit_once(", ")).context("label_values")?;
        queries.push(Query {
            place: format!("variable {}", variable["name"]),
            text: text.replace("=~\"$job\"", "=~\".+\""),
            legend: vec![label.to_owned()],
        });
    }
    // Whatever is chosen: `All`.
    for query in &mut queries {
        for variable in ["job", "instance", "profile"] {
            query.text = query.text.replace(&format!("\".+${variable}\""), "\".+\"");
        }
        ensure!(!query.text.contains('$'), "{}: {}", query.place, query.text);
    }
    Ok(queries)
}

/// 1 where a query has an answer, of which at least one element has the label.
fn answered(query: &str, label: Option<&str>) -> String {
    match label {
        None => format!("clamp_max(count({query}), 1)"),
        Some(label) => format!(
            "clamp_max(count(label_replace({query}, \"has\", \"yes\", \"{label}\", \".+\") and on (has) label_replace(vector(1), \"has\", \"yes\", \"\", \"\")), 1)"
        ),
    }
}

/// promtool is given what a playground shows as the samples of some minutes, and asked every query.
#[test]
fn every_query_of_the_board_is_answered_by_a_running_scheduler() -> Result<()> {
    let test = "every_query_of_the_board_is_answered_by_a_running_scheduler";
    let Some(program) = require_promtool_or_skip(test) else { return Ok(()) };
    let documented = documented()?;
    let scraped = Playground::start()?.scrape()?;
    let mut input = Vec::new();
    let mut known = Known::new();
    for series in series_of(&scraped) {
        let (name, labels) = parts(series);
        known.entry(name.to_owned()).or_default().extend(labels.iter().map(|(label, _)| (*label).to_owned()));
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        let labels =
            [labels, vec!["job=\"mate\"".to_owned(), "instance=\"a\"".to_owned()]].concat().join(",");
        input.push(json!({ "series": format!("{name}{{{labels}}}"), "values": "1x20" }));
    }
    for (metric, _) in NOT_IN_A_PLAYGROUND {
        let of_metric = |sample: &&String| {
            ["", "_sum", "_count", "_bucket"].iter().any(|end| **sample == format!("{metric}{end}"))
        };
        let mut found = false;
        for name in documented.keys().filter(of_metric) {
            found = true;
            let labels: String = documented[name]
                .iter()
                .map(|label| format!("{label}=\"{}\",", if label == "le" { "+Inf" } else { "x" }))
                .collect();
            let series = format!("{name}{{{labels}job=\"other\",instance=\"b\"}}");
            input.push(json!({ "series": series, "values": "1x20" }));
        }
        ensure!(found, "{metric} is in no line of docs/metrics.md");
    }
    // What the tests of the alerts are fed is something that is shown, too.
    let tests: Value = serde_saphyr::from_str(&tests_of_alerts()?)?;
    for test in tests["tests"].as_array().context("tests")? {
        for series in test["input_series"].as_array().context("series")? {
            let (name, labels) = parts(series["series"].as_str().context("a series")?);
            let found =
                known.get(name).or(documented.get(name)).with_context(|| format!("there is no {name}"))?;
            for (label, _) in labels.iter().filter(|(label, _)| !matches!(*label, "job" | "instance")) {
                ensure!(found.contains(*label), "{name} has no label {label}, but {found:?}");
            }
        }
    }
    let queries = queries()?;
    assert!(queries.len() > 50, "{}", queries.len());
    let mut asked = Vec::new();
    for query in &queries {
        for label in std::iter::once(None).chain(query.legend.iter().map(|label| Some(label.as_str()))) {
            asked.push(json!({
                "expr": answered(&query.text, label), "eval_time": "8m",
                "exp_samples": [{ "labels": "{}", "value": 1 }],
            }));
        }
    }
    // A test that cannot fail would be none.
    let wrong = [answered("scheduler_pending_pods", Some("profile")), answered("scheduler_no_such", None)];
    let count = asked.len() + wrong.len();
    asked.extend(wrong.map(|expr| json!({ "expr": expr, "eval_time": "8m", "exp_samples": [] })));
    assert!(count > 100, "{count}");
    let file = json!({
        "rule_files": [], "evaluation_interval": "1m",
        "tests": [{ "interval": "30s", "input_series": input, "promql_expr_test": asked }],
    });
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("board.yaml"), file.to_string())?;
    promtool(program, folder.path(), &["test", "rules", "board.yaml"])?;
    Ok(())
}
