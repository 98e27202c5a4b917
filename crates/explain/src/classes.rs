//! Many pods: each kind of pod is evaluated once, and kinds are evaluated side by side.

use crate::answer::Explanation;
use crate::evaluate::Explainer;
use secondmate_model::{Pod, Uid};
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Kinds that a thread evaluates before answers are handed on: what bounds the memory when answers are large.
const KINDS_PER_THREAD: usize = 8;

/// An answer, with the other pods that it holds for.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The answer for the first pod of its kind.
    pub explanation: Explanation,
    /// The places of all pods of the kind in the list that was asked for, the first one's first.
    pub pods: Vec<usize>,
}

/// Explains pods, each on its own. Pods that no plugin can tell apart are evaluated once; `each` is told of the kinds in the
/// order of their first pods.
///
/// Pods are of one kind when they are equal in everything but UID, name, version and the condition in their status. A pod with a
/// generic ephemeral volume is of its own kind, since the claim's name derives from the pod's, and so is a nominated pod, since
/// it does not count against itself.
pub fn explain_all(explainer: &Explainer<'_>, pods: &[Arc<Pod>], mut each: impl FnMut(Explained)) {
    let kinds = kinds(pods);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    // A round ends when its slowest kind does; answers of one round are held at the same time.
    for round in kinds.chunks(threads * KINDS_PER_THREAD) {
        let next = AtomicUsize::new(0);
        let mut answers: Vec<(usize, Explanation)> = std::thread::scope(|scope| {
            let work = || {
                let mut done = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(kind) = round.get(at) else { return done };
                    done.push((at, explainer.explain(&pods[kind[0]])));
                }
            };
            let others: Vec<_> = (1..threads.min(round.len())).map(|_| scope.spawn(work)).collect();
            let mut all = work();
            for other in others {
                all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all
        });
        answers.sort_unstable_by_key(|(at, _)| *at);
        for (at, explanation) in answers {
            each(Explained { explanation, pods: round[at].clone() });
        }
    }
}

/// The kinds of the pods, each as the places of its pods, in the order of their first pods.
fn kinds(pods: &[Arc<Pod>]) -> Vec<Vec<usize>> {
    let mut kinds: Vec<Vec<usize>> = Vec::new();
    let mut by_key: BTreeMap<String, usize> = BTreeMap::new();
    for (at, pod) in pods.iter().enumerate() {
        let own = pod.nominated_node_name.is_some()
            || pod.volumes.iter().any(|v| matches!(v.source, secondmate_model::VolumeSource::Ephemeral));
        if own {
            kinds.push(vec![at]);
            continue;
        }
        match by_key.get(&key(pod)) {
            Some(kind) => kinds[*kind].push(at),
            None => {
                by_key.insert(key(pod), kinds.len());
                kinds.push(vec![at]);
            }
        }
    }
    kinds
}

/// Everything about a pod that a plugin may read and that is not its identity, as text: equal texts are equal pods.
fn key(pod: &Pod) -> String {
    let stripped = Pod {
        uid: Uid::from(""),
        name: Box::default(),
        resource_version: Box::default(),
        generation: 0,
        scheduled_condition: None,
        ..pod.clone()
    };
    format!("{stripped:?}")
}
