//! A failing task ends the process, which says which task it was and releases the Lease.
//!
//! The program is this file: `secondmate run` with a plugin with a value that panics when it is dropped. At that moment, no panic guard for
//! plugins is active, so the scheduling thread itself panics.

mod support;

use anyhow::{Context as _, Result, ensure};
use secondmate::App;
use secondmate_framework::{Context, CycleState, Plugin, PreFilter, PreFilterOutcome, Status};
use secondmate_model::Pod;
use secondmate_sandbox::{KubeletOptions, NodeShape, Options, Sandbox};
use serde_json::json;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use support::{Killed, until_ended};

struct Brittle;

#[derive(Clone)]
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped");
    }
}

impl Plugin for Brittle {
    fn name(&self) -> &str {
        "Brittle"
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }
}

impl PreFilter for Brittle {
    fn pre_filter(&self, _: &Context<'_>, state: &mut CycleState, _: &Arc<Pod>) -> PreFilterOutcome {
        state.write(Fragile);
        Status::SUCCESS.into()
    }
}

const NAME: &str = "a_task_that_fails_ends_the_process_and_gives_the_lease_up";

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    if first == "run" {
        return App::new().plugin("Brittle", |_, _| Ok(Arc::new(Brittle))).main();
    }
    // As in other tests: responds to a part of the name, and to a list request.
    if first == "--list" || !(first.starts_with('-') || NAME.contains(&first)) {
        return ExitCode::SUCCESS;
    }
    println!("\nrunning 1 test");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(a_task_that_fails_ends_the_process_and_gives_the_lease_up()) {
        Ok(()) => {
            println!(
                "test {NAME} ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!(
                "test {NAME} ... FAILED\n\n{error:?}\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out"
            );
            ExitCode::FAILURE
        }
    }
}

async fn a_task_that_fails_ends_the_process_and_gives_the_lease_up() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sandbox =
        Sandbox::start(Options { kubelets: KubeletOptions::default(), ..Options::default() }).await?;
    sandbox.add_nodes(0, 1, &NodeShape::default());
    let [kubeconfig, config, log] = ["kubeconfig", "config.yaml", "log"].map(|name| folder.path().join(name));
    std::fs::write(&kubeconfig, sandbox.kubeconfig())?;
    std::fs::write(
        &config,
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{schedulerName: mate, plugins: {multiPoint: {enabled: [{name: Brittle}]}}}]\n",
    )?;
    let mut program = Command::new(std::env::current_exe()?);
    program.args(["run", "--listen", "127.0.0.1:0", "--debug-listen", "off", "--kubeconfig"]).arg(kubeconfig);
    program.arg("--config").arg(config).env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Killed(program.stderr(std::fs::File::create(&log)?).spawn()?);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "default" },
        "spec": { "schedulerName": "mate", "containers": [{ "name": "c", "image": "nginx" }] },
    });
    sandbox.objects().create(pod)?;
    let code = until_ended(&mut process)?;
    let log = std::fs::read_to_string(&log)?;
    let lease = sandbox.objects().get("leases", "kube-system", "mate").context("a Lease")?;
    ensure!(code == Some(1), "{code:?}:\n{log}");
    let last = log.lines().last().unwrap_or_default();
    let expected = "error: task \"scheduling thread\" panicked: dropped; the Lease was given up: ";
    ensure!(last.starts_with(expected), "{log}");
    ensure!(log.contains("became leader") && lease["spec"]["holderIdentity"] == "", "{lease}\n{log}");
    Ok(())
}
