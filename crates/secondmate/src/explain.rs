//! `secondmate explain`: what the scheduler would say about the pods of a cluster in a file.

use crate::{App, ConfigurationSource, profiles};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use secondmate_explain::{
    Cluster, Explainer, FilledIn, Ignored, Reading, Style, explain_kinds, gaps, read, render, write_json,
};
use secondmate_telemetry::logging::print;
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Most names in a remark.
const NAMES_TOLD_MAX: usize = 3;
/// The profile's name where neither file nor option gives one.
const DEFAULT_NAME: &str = "my-scheduler";

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Kubernetes objects, YAML or JSON, several documents and lists too, as `kubectl get -o yaml` writes them; `-` is standard
    /// input. Nodes and the pods on them are the cluster, pods without a node are asked about.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// A KubeSchedulerConfiguration. Without it: one profile with kube-scheduler's defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Scheduler name of the profile [default: my-scheduler, or as the configuration has it]. May be repeated.
    #[arg(long, value_name = "NAME")]
    scheduler_name: Vec<String>,
    /// Ask about this pod only. May be repeated.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pod: Vec<String>,
    /// Form of the answer.
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// Most nodes that a table shows with their scores.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    nodes: usize,
}

/// Form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people: pods that are alike are told once.
    #[default]
    Table,
    /// One JSON object a line, in the order of the pods in the file.
    Json,
}

/// Runs it.
///
/// # Errors
/// The file or the configuration is not understood, or a pod that was asked for does not wait.
pub(crate) fn explain(app: &App, args: &ExplainArgs) -> Result<ExitCode> {
    let mut names = args.scheduler_name.clone();
    if names.is_empty() && args.config.is_none() {
        names.push(DEFAULT_NAME.to_owned());
    }
    let source = ConfigurationSource {
        file: args.config.clone(),
        scheduler_names: names,
        // Nothing is placed: it is safe to ask what the default scheduler would say.
        replace_default_scheduler: true,
    };
    let configuration = source.read(app)?;
    let profiles = profiles(app, &configuration)?;
    let (text, name) = input(args)?;
    let Reading { items, ignored, filled_in } = read(&text, &name)?;
    drop(text);
    let cluster = Cluster::load(items, &profiles);
    let pods = cluster.select(&args.pod).with_context(|| name.clone())?;
    let explainer = Explainer::new(&cluster, &profiles);
    for notice in configuration.notices() {
        print(&format!("configuration: {notice}"));
    }
    remark(&cluster, &ignored, &configuration.scheduler_names(), pods.len());
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
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

fn input(args: &ExplainArgs) -> Result<(String, String)> {
    if args.from.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok((text, "standard input".to_owned()));
    }
    let name = args.from.display().to_string();
    if args.from.is_dir() {
        bail!("{name} is a folder: give a file, or `-` and the objects on standard input");
    }
    let text = std::fs::read_to_string(&args.from)
        .with_context(|| format!("cannot read {name}: give a readable file by --from"))?;
    Ok((text, name))
}

/// Tells which pods are not evaluated as they are written.
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

/// Tells on standard error what a reader of the answer may miss in it.
fn remark(cluster: &Cluster, ignored: &Ignored, names: &[&str], pods: usize) {
    if !ignored.is_empty() {
        let list: Vec<String> = ignored.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
        print(&format!("not read, as scheduling does not look at them: {}", list.join(", ")));
    }
    if pods == 0 {
        print(&format!(
            "no pod waits for {}: a pod that does has this spec.schedulerName and no spec.nodeName",
            names.join(" or ")
        ));
        for (name, count) in cluster.waiting_for_others() {
            print(&format!("  {count} wait for {name}: ask with --scheduler-name {name}"));
        }
    }
}
