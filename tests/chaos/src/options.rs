//! The command line. `cargo xtask chaos` includes this file too, so that help and mistakes need no build.

use clap::Parser;
use clap::builder::PossibleValuesParser;

/// The scenes, in the order in which they are played: name, and what happens.
pub(crate) const SCENES: [(&str, &str); 47] = [
    (
        "freeze-apiserver",
        "kube-apiserver is stopped (SIGSTOP) for 8 s in the middle of the binding, then resumed",
    ),
    ("freeze-etcd", "the same for etcd"),
    (
        "freeze-controllers",
        "kube-controller-manager is stopped while it creates a ReplicaSet's pods: those that exist are bound, the others after it resumes",
    ),
    (
        "freeze-kubelets",
        "kwok, which stands in for the kubelets, is stopped while pods that fill the nodes are deleted: their room is not used until they are gone",
    ),
    (
        "freeze-leader",
        "the leader of two is stopped until the other takes over, then resumed: it must not write any more",
    ),
    ("kill-apiserver", "kube-apiserver is killed (SIGKILL) in the middle of the binding and restarted"),
    ("kill-etcd", "the same for etcd"),
    ("kill-controllers", "the same for kube-controller-manager, while it creates a ReplicaSet's pods"),
    ("kill-kubelets", "the same for kwok, while pods that fill the nodes are deleted"),
    ("kill-scheduler", "the scheduler is killed twenty times, each time in the middle of the binding"),
    (
        "kill-leader",
        "the leader of two is killed soon after it starts binding, three times, each time with a new standby",
    ),
    ("partition", "the leader's connections are cut and refused until another process takes over"),
    ("lease-lost", "only the leader's requests for the Lease fail (500), until another process takes over"),
    (
        "starvation",
        "two candidates with leases of 4 s are starved of CPU time, and stopped at random for up to 5 s",
    ),
    (
        "churn",
        "rounds of pods are created, bound and deleted, some before they are bound; memory must stay flat",
    ),
    ("answers-500", "half of all requests are answered with 500 and not carried out"),
    ("answers-500-done", "half of the writes are carried out, but answered with 500"),
    ("answers-503-later", "half of all requests are answered with 503 and Retry-After, and not carried out"),
    ("answers-504-done", "half of the writes are carried out, but answered with 504"),
    ("answers-429", "half of all requests are answered with 429 and Retry-After, and not carried out"),
    ("answers-409", "half of the writes are answered with 409 and not carried out"),
    ("answers-409-done", "half of the writes are carried out, but answered with 409"),
    ("answers-403", "half of the writes are answered with 403 and not carried out"),
    ("answers-401", "half of all requests are answered with 401 and not carried out"),
    (
        "answers-html",
        "half of all requests are answered with 502 and the page of a load balancer, and not carried out",
    ),
    ("answers-closed", "half of all requests are not carried out, and their connections are closed"),
    (
        "answers-lost",
        "half of the writes are carried out, but their connections are closed before the answer",
    ),
    ("answers-truncated", "half of all requests are carried out, but the answer breaks off"),
    (
        "answers-half",
        "half of all requests are carried out, but only half of the answer's JSON arrives, as if it were complete",
    ),
    ("answers-garbage", "half of all requests are carried out, but the body of the answer is not JSON"),
    ("answers-empty", "half of all requests are carried out, but the answer has no body"),
    ("answers-slow", "half of all requests are carried out, and answered 1 s to 4 s later"),
    ("answers-drip", "half of all answers arrive in small pieces, with pauses in between"),
    (
        "answers-held",
        "half of the writes are held for 6 s and not carried out, and their connections are closed",
    ),
    (
        "answers-held-done",
        "half of the writes are carried out, but their connections are closed 6 s later, without an answer",
    ),
    (
        "answers-overtaken",
        "half of the bindings lose their connection, and are carried out up to 3 s later all the same",
    ),
    ("watch-cut", "watches break off again and again, just before an event"),
    ("watch-half-line", "watches end in the middle of an event"),
    ("watch-410-start", "half of the requests for a watch are refused with 410"),
    ("watch-410", "watches end with an error event, 410 Expired"),
    ("watch-500", "watches end with an error event, 500"),
    ("watch-twice", "every event arrives twice"),
    ("watch-stale", "watches repeat an earlier event and end, so that they resume in the past"),
    ("watch-garbage", "events are replaced by bytes that are not JSON"),
    ("watch-silent", "watches stay open, but nothing arrives"),
    ("watch-late", "events arrive up to 1 s late"),
    (
        "list-stale",
        "half of the requests for a watch are refused with 410, and every list repeats its first answer",
    ),
];

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask chaos",
    about = "Break a real control plane, and the connection to it, while the scheduler binds pods",
    long_about = "Break a real control plane, and the connection to it, while the scheduler binds pods.\n\n\
        Each scene has its own schedulers (with leases of 8 s if they elect a leader), its own pods, and one kind of fault. \
        When the fault is over, the result is judged: every pod that fits must be bound, by exactly \
        one binding in the API server's audit log, to the node that this binding named; no other pod may be bound; no node \
        may be overcommitted; the scheduler must still be running and exit with 0 on SIGTERM, or have exited as the scene \
        intends. No wait takes longer than three minutes. A table is printed at the end; the exit code is 1 if a scene failed.",
    after_help = scenes_as_text()
)]
pub(crate) struct Options {
    /// Scenes to play [default: all].
    #[arg(value_name = "SCENE", value_parser = scene_names(), hide_possible_values = true)]
    pub(crate) scenes: Vec<String>,
    /// Seed that determines which requests fail, when, and what is killed [default: a new one, which is printed]. The timing still
    /// depends on the machine.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Number of pods in scenes that stop or kill processes; scenes with broken answers have a fifth of that.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u16).range(50..=1500))]
    pub(crate) pods: u16,
}

fn scene_names() -> PossibleValuesParser {
    PossibleValuesParser::new(SCENES.map(|(name, _)| name))
}

fn scenes_as_text() -> String {
    let lines = SCENES.map(|(name, about)| format!("\n  {name:<18} {about}"));
    format!("Scenes:{}", lines.concat())
}
