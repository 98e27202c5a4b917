//! `secondmate explain`: what the scheduler would decide about the pods of a live cluster, or of a cluster in a file.

mod answers;

use crate::cluster::ClusterArgs;
use crate::dump::{Live, Slim, live};
use crate::{App, ConfigurationSource, profiles};
use answers::Answers;
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use secondmate_cycle::Profile;
use secondmate_explain::{
    Cluster, Explainer, FilledIn, Ignored, Item, Keep, Reading, Style, explain_kinds, gaps, read, read_live,
    render, write_json,
};
use secondmate_model::Timestamp;
use secondmate_telemetry::logging::print;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Maximum number of names in a remark.
const NAMES_TOLD_MAX: usize = 3;
/// The profile's name if neither file nor option gives one.
const DEFAULT_NAME: &str = "my-scheduler";
/// Namespace of pods in a file that are named without one.
const FILE_NAMESPACE: &str = "default";

pub(crate) const EXAMPLES: &str = "\
Examples:
  secondmate explain web-1 -n shop
  secondmate dump > cluster.json && secondmate explain -f cluster.json
  secondmate explain -f cluster.json shop/web-1 -o json
  secondmate explain -f cluster.json --config scheduler.yaml \\
    --record-answers answers.jsonl
  secondmate explain -f cluster.json --config scheduler.yaml \\
    --replay-answers answers.jsonl";

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Dump written by `secondmate dump` or `kubectl get -o yaml`, or manifests: YAML or JSON, multiple documents and lists
    /// included; - for standard input [default: read the live cluster, and change nothing].
    #[arg(short = 'f', long = "filename", visible_alias = "from", value_name = "FILE", conflicts_with_all = ["kubeconfig", "context", "timeout"])]
    from: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Pods to explain, as NAME or NAMESPACE/NAME [default: all that are pending for the profiles' schedulers]. For a pod that is
    /// already on a node, shows where it would go now.
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Namespace of pods named without one [default: that of the kubeconfig context, else default; with -f: default].
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
    /// KubeSchedulerConfiguration file (kubescheduler.config.k8s.io/v1) [default: one profile with kube-scheduler's defaults].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Scheduler name of the profile. May be repeated [default: those in --config, else those of the named pods, else my-scheduler].
    #[arg(long, value_name = "NAME")]
    scheduler_name: Vec<String>,
    /// Same as POD. May be repeated.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Vec<String>,
    /// Do not call the configuration's HTTP extenders; their verdicts and scores are then missing [default: call them as the
    /// scheduler does (filter, prioritize, preempt), but never to bind].
    #[arg(long)]
    without_extenders: bool,
    /// Record the answers of WebAssembly guests and HTTP extenders in this file, to reproduce the explanation elsewhere without them.
    #[arg(long, value_name = "FILE", requires = "config")]
    record_answers: Option<PathBuf>,
    /// Replay the answers of WebAssembly guests and HTTP extenders from a file written by --record-answers. No guest is loaded and
    /// no extender called; the configuration and the dump must be those of the recording.
    #[arg(long, value_name = "FILE", requires = "config", conflicts_with = "record_answers")]
    replay_answers: Option<PathBuf>,
    /// Output format.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// Maximum nodes shown per table.
    #[arg(long, value_name = "N", default_value_t = 5)]
    nodes: usize,
}

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Human-readable tables; identical pods are shown once.
    #[default]
    Table,
    /// One JSON object per line, in the order of the pods in the file.
    Json,
}

/// Runs it.
///
/// # Errors
/// The file or the configuration cannot be decoded, or a requested pod is not pending.
pub(crate) fn explain(app: &App, args: &ExplainArgs) -> Result<ExitCode> {
    let (app, answers) = Answers::open(app, args)?;
    let code = explained(&app, args, &answers)?;
    answers.end()?;
    Ok(code)
}

fn explained(app: &App, args: &ExplainArgs, answers: &Answers) -> Result<ExitCode> {
    let mut source = ConfigurationSource {
        file: args.config.clone(),
        scheduler_names: args.scheduler_name.clone(),
        // Nothing is placed, so it is safe to ask what the default scheduler would say.
        replace_default_scheduler: true,
    };
    let unnamed = source.scheduler_names.is_empty() && source.file.is_none();
    if unnamed {
        source.scheduler_names.push(DEFAULT_NAME.to_owned());
    }
    let mut configuration = source.read(app)?;
    let mut profiles = profiles(app, &configuration)?;
    let called = answers.extenders(&configuration.extenders)?;
    if let Some(called) = &called {
        profiles = profiles.into_iter().map(|p| p.with_extenders(called.extenders.clone())).collect();
    }
    let Input { reading, name, namespace, now } = input(args, &profiles)?;
    let Reading { mut items, ignored, filled_in, .. } = reading;
    let asked = args.named_pods(&namespace);
    take_off_their_nodes(&mut items, &asked);
    let schedulers = schedulers_of(&items, &asked);
    if unnamed && !schedulers.is_empty() {
        source.scheduler_names = schedulers;
        configuration = source.read(app)?;
        profiles = crate::profiles(app, &configuration)?;
    }
    let cluster = Cluster::load(items, &profiles);
    let pods = cluster.select(&asked).with_context(|| name.clone())?;
    let mut explainer = Explainer::new(&cluster, &profiles).at(now);
    if let Some(called) = &called {
        explainer = explainer.with_notes(&called.notes);
    }
    for notice in configuration.notices() {
        print(&format!("configuration: {notice}"));
    }
    match &called {
        Some(called) => called.announce(&pods),
        None if !configuration.extenders.is_empty() => print(
            "extenders are not asked: a node that passes here may be rejected by one, and their scores are missing",
        ),
        None => {}
    }
    remark(&cluster, &ignored, &configuration.scheduler_names(), pods.len(), asked.is_empty());
    remark_on_filling(&filled_in);
    for gap in gaps(&cluster, &profiles, &pods) {
        print(&format!("{name}: {gap}"));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match args.output {
        Output::Json => write_json(&explainer, &pods, &mut out),
        Output::Table => {
            let style = Style { nodes_max: args.nodes, ..Style::default() };
            explain_kinds(&explainer, &pods, |explanation, members| {
                let others: Vec<String> = members[1..].iter().map(|at| pods[*at].full_name()).collect();
                writeln!(out, "{}", render(explanation, &others, style))
            })
        }
    };
    let written = written.and_then(|()| out.flush());
    if let Some(called) = &called {
        called.tell_failures();
    }
    match written {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

impl ExplainArgs {
    /// The requested pods, as `NAMESPACE/NAME`, with this namespace if none was given.
    fn named_pods(&self, namespace: &str) -> Vec<String> {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        let full = |name: &String| match name.contains('/') {
            true => name.clone(),
            false => format!("{namespace}/{name}"),
        };
        self.pods.iter().chain(&self.pod).map(full).collect()
    }
}

/// Takes the named pods off their nodes, and says so: for a pod that is already placed, the answer is where it would go now.
fn take_off_their_nodes(items: &mut [Item], names: &[String]) {
    for item in items {
        if let Item::Pod(pod) = item
            && let Some(node) = pod.node_name.clone()
            && !(pod.terminal || pod.deleting)
            && names.contains(&pod.full_name())
        {
            print(&format!(
                "pod {} is on node {node}: the answer is where it would go now, had it not been placed",
                pod.full_name()
            ));
            *pod = Arc::new(pod.off_its_node());
        }
    }
}

/// The schedulers that the named pods are waiting for.
fn schedulers_of(items: &[Item], names: &[String]) -> Vec<String> {
    let mut schedulers = Vec::new();
    for item in items {
        if let Item::Pod(pod) = item
            && pod.node_name.is_none()
            && names.contains(&pod.full_name())
        {
            let scheduler = pod.scheduler_name.to_string();
            if !schedulers.contains(&scheduler) {
                schedulers.push(scheduler);
            }
        }
    }
    schedulers
}

/// What is explained.
struct Input {
    reading: Reading,
    /// The name of its source.
    name: String,
    /// The namespace of pods that are named without one.
    namespace: String,
    /// The time of the cycles.
    now: Timestamp,
}

fn input(args: &ExplainArgs, profiles: &[Profile]) -> Result<Input> {
    let keep = Keep::for_profiles(profiles);
    let Some(from) = &args.from else {
        let name = "the cluster".to_owned();
        let Live { objects, namespace } = live(&args.cluster, profiles, Slim::No)?;
        let secondmate_explain::Live { items, ignored, left_out } = read_live(&objects, &name, keep)?;
        remark_on_left_out(&name, &left_out);
        let reading = Reading { items, ignored, ..Reading::default() };
        let nanos = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0);
        return Ok(Input { reading, name, namespace, now: Timestamp { nanos } });
    };
    let (name, text) = if from.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        ("standard input".to_owned(), text)
    } else {
        let name = from.display().to_string();
        if from.is_dir() {
            bail!("{name} is a folder: give a file, or `-` and the objects on standard input");
        }
        let text = std::fs::read_to_string(from)
            .map_err(|why| anyhow!("cannot read {name}: {why}; give a readable file by -f"))?;
        (name, text)
    };
    let reading = read(&text, &name, keep)?;
    let now = reading.time();
    // A file has no context.
    Ok(Input { reading, name, namespace: FILE_NAMESPACE.to_owned(), now })
}

/// Reports the objects that are left out because the scheduler leaves them out too.
fn remark_on_left_out(name: &str, left_out: &[String]) {
    for object in left_out.iter().take(NAMES_TOLD_MAX) {
        print(&format!(
            "{name}: {object}: left out, as the scheduler leaves it out; correct it or delete it"
        ));
    }
    if left_out.len() > NAMES_TOLD_MAX {
        print(&format!("{name}: {} more objects are left out", left_out.len() - NAMES_TOLD_MAX));
    }
}

/// Reports the pods that are not evaluated as they are written.
fn remark_on_filling(filled_in: &FilledIn) {
    let shown = |pods: &[String]| {
        let more = if pods.len() > NAMES_TOLD_MAX { ", …" } else { "" };
        format!("{}{more}", pods.iter().take(NAMES_TOLD_MAX).cloned().collect::<Vec<_>>().join(", "))
    };
    if !filled_in.pods.is_empty() {
        print(&format!(
            "filled in as an API server would (limits stand for requests, classes for priorities), since no UID says that they were in one: {} pod{} ({})",
            filled_in.pods.len(),
            if filled_in.pods.len() == 1 { "" } else { "s" },
            shown(&filled_in.pods)
        ));
    }
    for refusal in filled_in.refused.iter().take(NAMES_TOLD_MAX) {
        print(&format!("an API server would say: {refusal}; evaluated as written"));
    }
}

/// Prints to standard error what a reader of the answer might miss.
fn remark(cluster: &Cluster, ignored: &Ignored, names: &[&str], pods: usize, all: bool) {
    if !ignored.is_empty() {
        let list: Vec<String> = ignored.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
        print(&format!("not read, as scheduling does not look at them: {}", list.join(", ")));
    }
    if pods == 0 {
        print(&format!(
            "no pod waits for {}: a pod that does has this spec.schedulerName and no spec.nodeName",
            names.join(" or ")
        ));
    }
    if !all {
        return;
    }
    let others = cluster.waiting_for_others();
    for (name, count) in others.iter().take(NAMES_TOLD_MAX) {
        let (pods, wait) = if *count == 1 { ("pod", "waits") } else { ("pods", "wait") };
        print(&format!(
            "{count} {pods} {wait} for {name}, not explained here: ask with --scheduler-name {name}"
        ));
    }
    if others.len() > NAMES_TOLD_MAX {
        print(&format!("pods wait for {} more schedulers", others.len() - NAMES_TOLD_MAX));
    }
}
