//! The command line. `cargo xtask chaos` includes this file too, so that help and mistakes need no build.

use clap::Parser;
use clap::builder::PossibleValuesParser;

/// The scenes, in the order in which they are played: name, and what happens.
pub(crate) const SCENES: [(&str, &str); 47] = [
    ("freeze-apiserver", "kube-apiserver is stopped (SIGSTOP) for 8 s amid the binding, then goes on"),
    ("freeze-etcd", "the same with etcd"),
    (
        "freeze-controllers",
        "kube-controller-manager is stopped while it makes a ReplicaSet's pods: those that are there are bound, the others when it goes on",
    ),
    (
        "freeze-kubelets",
        "kwok, in the kubelets' place, is stopped while pods that fill the nodes are deleted: their room is used when they are gone",
    ),
    (
        "freeze-leader",
        "the leader of two is stopped until the other has taken over, then goes on: it must not write any more",
    ),
    ("kill-apiserver", "kube-apiserver is killed (SIGKILL) amid the binding and started again"),
    ("kill-etcd", "the same with etcd"),
    ("kill-controllers", "the same with kube-controller-manager, amid the making of a ReplicaSet's pods"),
    ("kill-kubelets", "the same with kwok, while pods that fill the nodes are deleted"),
    ("kill-scheduler", "the scheduler is killed twenty times, each time amid the binding"),
    (
        "kill-leader",
        "the leader of two is killed soon after it has begun, three times, each time with a new standby",
    ),
    ("partition", "the leader's connections are cut and refused until another has taken over"),
    ("lease-lost", "only the leader's Lease is refused (500), until another has taken over"),
    (
        "starvation",
        "two candidates with leases of 4 s are starved of processor time, and stopped at random for up to 5 s",
    ),
    ("churn", "rounds of pods are created, bound and deleted, some before they are bound; memory stays flat"),
    ("answers-500", "half of all requests are answered 500 and not carried out"),
    ("answers-500-done", "half of the writes are carried out and answered 500"),
    ("answers-503-later", "half of all requests are answered 503 with Retry-After and not carried out"),
    ("answers-504-done", "half of the writes are carried out and answered 504"),
    ("answers-429", "half of all requests are answered 429 with Retry-After"),
    ("answers-409", "half of the writes are answered 409 and not carried out"),
    ("answers-409-done", "half of the writes are carried out and answered 409"),
    ("answers-403", "half of the writes are answered 403"),
    ("answers-401", "half of all requests are answered 401"),
    ("answers-html", "half of all requests are answered 502 with a page of a load balancer"),
    ("answers-closed", "half of all requests are not carried out, and their connection is closed"),
    ("answers-lost", "half of the writes are carried out, and their connection is closed before the answer"),
    ("answers-truncated", "half of all requests are carried out, and the answer breaks off"),
    (
        "answers-half",
        "half of all requests are carried out, and half of the answer's JSON comes, as if it were all",
    ),
    ("answers-garbage", "half of all requests are carried out, and the body of the answer is no JSON"),
    ("answers-empty", "half of all requests are carried out, and the answer has no body"),
    ("answers-slow", "half of all requests are carried out and answered 1 s to 4 s later"),
    ("answers-drip", "half of all answers come in small pieces with pauses"),
    (
        "answers-held",
        "half of the writes are not carried out and held for 6 s, then their connection is closed",
    ),
    ("answers-held-done", "half of the writes are carried out, held for 6 s, and their connection is closed"),
    (
        "answers-overtaken",
        "half of the bindings lose their connection and are carried out up to 3 s later all the same",
    ),
    ("watch-cut", "watches break off again and again, before an event"),
    ("watch-half-line", "watches end in the middle of an event"),
    ("watch-410-start", "half of the watches are refused with 410 when they are asked for"),
    ("watch-410", "watches end with the event 410 Expired"),
    ("watch-500", "watches end with the event 500"),
    ("watch-twice", "every event comes twice"),
    ("watch-stale", "watches end with an event of earlier, so that they go on in the past"),
    ("watch-garbage", "events are replaced by bytes that are no JSON"),
    ("watch-silent", "watches stay open and show nothing"),
    ("watch-late", "every event comes up to 1 s late"),
    ("list-stale", "watches are refused with 410, and every list is answered as it was at first"),
];

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask chaos",
    about = "Break a real control plane, and the connection to it, while the scheduler binds pods",
    long_about = "Break a real control plane, and the connection to it, while the scheduler binds pods.\n\n\
        Each scene has its own schedulers (with leases of 8 s if there is an election), its own pods, and one kind of fault \
        until the middle of the binding is over. Then the fault ends, and the result is judged: every pod that fits is \
        bound, by exactly one binding in the audit log of the API server, to the node that this binding named; no other pod \
        is bound; no node is overcommitted; the scheduler is still running and exits with 0 on SIGTERM, or has exited as \
        planned. No wait takes longer than three minutes. The program prints a table at the end, and exits with 1 if a scene failed.",
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
    /// Number of pods in a scene in which processes are stopped or killed; scenes with broken answers have a fifth of it.
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
