//! `secondmate playground`: an API server, simulated nodes, pods and the scheduler in one process.
//!
//! ```text
//!            ┌─────────────── HTTP on loopback ───────────────┐
//!  creation ─┤                                                ├─ scheduler (the same as `run`)
//!  observer ─┤  sandbox: API server, kubelets, small          ├─ kubectl, with --keep
//!            │  controllers                                   │
//!            └────────────────────────────────────────────────┘
//! ```
//!
//! All measurements are made by the observer, a watch on its own thread. The scheduler is asked only whether it has something left to
//! try, to know when to end.

mod api;
mod creation;
mod left_over;
mod manifests;
mod observations;
mod observer;
mod options;
mod pods;
mod progress;
mod scheduler;
mod settling;
mod stage;
mod summary;

pub(crate) use options::PlaygroundArgs;

use crate::App;
use crate::log::LogArgs;
use crate::process::{self, Stop};
use anyhow::{Context, bail};
use options::{Output, Plan};
use progress::Progress;
use scheduler::RunningScheduler;
use secondmate_telemetry::logging;
use stage::Stage;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use summary::{Ended, Summary, counted};

/// The exit code that shells report for a process ended by Ctrl-C.
const INTERRUPTED_EXIT_CODE: u8 = 130;

macro_rules! examples {
    () => {
        "\
Examples:
  secondmate playground
  secondmate playground --nodes 5000 --pods 10000 --rate 500
  secondmate playground -f deployment.yaml --keep --kubeconfig-out pg.yaml"
    };
}

pub(crate) const EXAMPLES: &str = examples!();

/// What the summary contains, for `--help`.
pub(crate) const SUMMARY_HELP: &str = concat!(
    examples!(),
    "

It ends when every pod is bound or has a final verdict, and prints a summary. \
With -o json that is one object:
  bound, pending    pods with and without a node
  pods_per_s        bindings per second, from the first creation to the last
                    binding (elapsed_s); null if that took less than 10 ms
  latency_ms        p50, p99, max: from creation to bound, as seen by a watch
  reasons           why pods are pending or were never created:
                    [{group, pods, reason, message}]; pods are grouped by owner
                    or template
  spread            nodes, pods_per_node {min, median, max}, also per zone
  missing, deleted  pods that were never created, or were deleted meanwhile
  ended_pods        pods that Succeeded or Failed
  ended             settled, stalled, timedOut or interrupted

Exit codes: 0 settled, 1 an error, stalled or timed out, or pods that are not
bound with --fail-on-pending, 130 interrupted."
);

pub(crate) fn playground(app: &App, args: PlaygroundArgs, log: LogArgs) -> anyhow::Result<ExitCode> {
    // Mistakes in files and options are found before anything is started.
    let plan = Plan::new(app, args)?;
    // The user should see the progress, not the scheduler's log.
    log.init(true)?;
    process::run(None, |stop| perform(app, plan, stop))
}

/// Sets the stage, creates the pods, waits until they are settled, prints the summary, and stays up if requested.
async fn perform(app: &App, plan: Plan, mut stop: Stop) -> anyhow::Result<ExitCode> {
    let mut stage = tokio::select! {
        stage = Stage::set(&plan) => stage?,
        _ = stop.asked() => return Ok(ExitCode::from(INTERRUPTED_EXIT_CODE)),
    };
    let mut progress = Progress::new(plan.pods_expected());
    progress.note(&format!("{}, API server at {}", counted(stage.nodes(), "node"), stage.url()));
    if let Some(skipped) = stage.skipped() {
        progress.note(&skipped);
    }
    let kubeconfig = stage.write_kubeconfig(&plan)?;
    let cluster = stage.kubeconfig();
    let mut scheduler = tokio::select! {
        scheduler = RunningScheduler::start(app, &plan, &cluster) => scheduler?,
        _ = stop.asked() => return Ok(ExitCode::from(INTERRUPTED_EXIT_CODE)),
    };
    for (what, address) in scheduler.endpoints() {
        progress.note(&format!("{what} at http://{address}"));
    }
    let idle = scheduler.idleness();
    let mut cluster_failed = pin!(stage.failed());
    let ended = tokio::select! {
        ended = stage.settle(&plan, idle, &mut progress) => ended?,
        error = scheduler.failed() => return Err(error),
        failure = &mut cluster_failed => bail!("{failure}: this is a bug, please report it with the log"),
        _ = stop.asked() => Ended::Interrupted,
    };
    let (summary, sandbox) = stage.summary(&plan, ended).await?;
    print(&summary, plan.output)?;
    let pending = summary.pending + summary.missing;
    if pending > 0 && ended == Ended::Settled && !plan.fail_on_pending {
        progress
            .note(&format!("{} not bound: --fail-on-pending makes that an error", counted(pending, "pod")));
    }
    if let (Some(kubeconfig), true) = (kubeconfig.path(), ended != Ended::Interrupted) {
        logging::print(&format!("\n{}", invitation(&plan, kubeconfig)));
        tokio::select! {
            error = scheduler.failed() => return Err(error),
            failure = &mut cluster_failed => bail!("{failure}: this is a bug, please report it with the log"),
            _ = stop.asked() => {}
        }
    }
    scheduler.stop().await;
    sandbox.shutdown().await;
    Ok(match ended {
        Ended::Settled if pending > 0 && plan.fail_on_pending => ExitCode::FAILURE,
        Ended::Settled => ExitCode::SUCCESS,
        Ended::Interrupted => ExitCode::from(INTERRUPTED_EXIT_CODE),
        Ended::Stalled | Ended::TimedOut => ExitCode::FAILURE,
    })
}

fn print(summary: &Summary, output: Output) -> anyhow::Result<()> {
    use std::io::Write;
    let text = match output {
        Output::Text => summary.to_string(),
        Output::Json => format!("{}\n", serde_json::to_string(summary)?),
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write the summary")
}

/// Instructions for a playground that stays up.
fn invitation(plan: &Plan, kubeconfig: &Path) -> String {
    let name = plan.names_of_pods.first().cloned().unwrap_or_default();
    let names = plan.scheduler_names();
    let others = if names.iter().any(|name| name == "default-scheduler") {
        "; so are those that name no scheduler."
    } else {
        "; those of other names, default-scheduler's too, stay pending."
    };
    format!(
        "The playground stays up until Ctrl-C. In another terminal:\n\
         \x20 export KUBECONFIG={}\n\
         \x20 kubectl get pods -o wide\n\
         Pods with `schedulerName: {name}` are scheduled{others}",
        shell_word(&kubeconfig.display().to_string())
    )
}

/// A word that a shell leaves unchanged.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(shell_word("/tmp/kube-1.yaml"), "/tmp/kube-1.yaml");
        assert_eq!(shell_word("/tmp/it's here"), r"'/tmp/it'\''s here'");
    }
}
