//! Many pods: each kind of pod is evaluated once, and kinds are evaluated in parallel.

use crate::answer::Explanation;
use crate::evaluate::Explainer;
use secondmate_model::{Pod, Uid, VolumeSource};
use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of kinds that a thread evaluates before answers are passed on: bounds the memory if answers are large.
const KINDS_PER_THREAD: usize = 8;
/// Maximum size of the answers kept for later pods of their kind, in bytes; what does not fit is evaluated again.
const KEPT_BYTES_MAX: usize = 512 << 20;

/// Pods that no plugin can distinguish.
///
/// They are equal in everything but UID, name, version and the condition in their status. A pod with a generic ephemeral volume is
/// of its own kind, since the claim's name derives from the pod's, and so is a nominated pod, since it does not count against
/// itself. So is each pod of a profile with a plugin that does not tell what it reads of pods: it may go by their names.
#[derive(Clone, Debug)]
pub struct Kinds {
    /// The indices of the pods of each kind, in the order of their first pods.
    members: Vec<Vec<usize>>,
    /// The kind of each pod.
    of_pod: Vec<usize>,
}

impl Kinds {
    /// The kinds of the pods of a list, all of which the explainer can be asked about.
    #[must_use]
    pub fn new(explainer: &Explainer<'_>, pods: &[Arc<Pod>]) -> Self {
        Self::divide(pods, |pod| is_its_own(pod) || !explainer.profile(pod).answers_alike())
    }

    fn divide(pods: &[Arc<Pod>], is_its_own: impl Fn(&Pod) -> bool) -> Self {
        let mut kinds = Self { members: Vec::new(), of_pod: Vec::with_capacity(pods.len()) };
        let mut by_key: HashMap<String, usize> = HashMap::new();
        for (at, pod) in pods.iter().enumerate() {
            let fresh = kinds.members.len();
            let kind = if is_its_own(pod) { fresh } else { *by_key.entry(key(pod)).or_insert(fresh) };
            if kind == fresh {
                kinds.members.push(Vec::new());
            }
            kinds.members[kind].push(at);
            kinds.of_pod.push(kind);
        }
        kinds
    }

    /// The indices of the pods of each kind in the list, in the order of their first pods.
    #[must_use]
    pub fn members(&self) -> &[Vec<usize>] {
        &self.members
    }
}

fn is_its_own(pod: &Pod) -> bool {
    pod.nominated_node_name.is_some()
        || pod.volumes.iter().any(|v| matches!(v.source, VolumeSource::Ephemeral))
}

/// Everything about a pod that a plugin may read and that is not its identity, as text: equal texts mean equivalent pods.
fn key(pod: &Pod) -> String {
    let mut stripped = pod.clone();
    stripped.uid = Uid::from("");
    stripped.name = Box::default();
    stripped.resource_version = Box::default();
    stripped.generation = 0;
    stripped.scheduled_condition = None;
    format!("{stripped:?}")
}

/// Explains one pod of each kind for people; `each` is called in the order of the kinds, with the indices of the kind's pods.
///
/// # Errors
/// Errors returned by `each`.
pub fn explain_kinds<E>(
    explainer: &Explainer<'_>,
    pods: &[Arc<Pod>],
    mut each: impl FnMut(&Explanation, &[usize]) -> Result<(), E>,
) -> Result<(), E> {
    let kinds = Kinds::new(explainer, pods);
    for round in kinds.members.chunks(round_length()) {
        let firsts: Vec<&Arc<Pod>> = round.iter().map(|members| &pods[members[0]]).collect();
        let answers = side_by_side(&firsts, threads(explainer), |pod| explainer.explain_to_people(pod));
        for (answer, members) in answers.iter().zip(round) {
            each(answer, members)?;
        }
    }
    Ok(())
}

/// Writes the answer for each pod as one line of JSON, in the order of the pods.
///
/// # Errors
/// Errors returned by the writer.
pub fn write_json(explainer: &Explainer<'_>, pods: &[Arc<Pod>], out: &mut impl Write) -> io::Result<()> {
    let kinds = Kinds::new(explainer, pods);
    let mut left: Vec<usize> = kinds.members.iter().map(Vec::len).collect();
    // The line of each kind, after the pod's name.
    let mut kept: HashMap<usize, String> = HashMap::new();
    let mut bytes = 0;
    for (at, pod) in pods.iter().enumerate() {
        let kind = kinds.of_pod[at];
        if !kept.contains_key(&kind) {
            if bytes > KEPT_BYTES_MAX {
                kept.clear();
                bytes = 0;
            }
            let mut wanted: Vec<usize> = Vec::new();
            for kind in &kinds.of_pod[at..] {
                if !kept.contains_key(kind) && !wanted.contains(kind) {
                    wanted.push(*kind);
                    if wanted.len() == round_length() {
                        break;
                    }
                }
            }
            let lines = side_by_side(&wanted, threads(explainer), |kind| {
                let first = &pods[kinds.members[*kind][0]];
                let line = explainer.explain(first).to_json();
                line[name_field(first).len()..].to_owned()
            });
            bytes += lines.iter().map(String::len).sum::<usize>();
            kept.extend(wanted.into_iter().zip(lines));
        }
        out.write_all(name_field(pod).as_bytes())?;
        out.write_all(kept[&kind].as_bytes())?;
        out.write_all(b"\n")?;
        left[kind] -= 1;
        if left[kind] == 0
            && let Some(line) = kept.remove(&kind)
        {
            bytes -= line.len();
        }
    }
    Ok(())
}

/// The beginning of a pod's line.
fn name_field(pod: &Pod) -> String {
    format!("{{\"pod\":{}", serde_json::Value::from(pod.full_name()))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Extenders are asked about one pod after the other, as by a scheduler.
fn threads(explainer: &Explainer<'_>) -> usize {
    if explainer.asks_extenders() { 1 } else { cores() }
}

fn round_length() -> usize {
    cores() * KINDS_PER_THREAD
}

/// Applies `work` to all elements on this many threads; the results are in the order of the elements.
fn side_by_side<T: Sync, R: Send>(elements: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(element) = elements.get(at) else { return done };
            done.push((at, work(element)));
        }
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(elements.len())).map(|_| scope.spawn(take)).collect();
        let mut all = take();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::wire;
    use serde_json::{Value, json};

    fn pod(name: &str, more: Value) -> Arc<Pod> {
        let mut object =
            json!({"metadata": {"name": name, "uid": name}, "spec": {"containers": [{"name": "c"}]}});
        for (field, value) in more.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        let wire: wire::Pod = serde_json::from_value(object).expect("a pod");
        Arc::new(Pod::new(&wire).expect("a pod that compiles"))
    }

    #[test]
    fn pods_of_one_template_are_of_one_kind() {
        let ephemeral = json!({"volumes": [{"name": "v", "ephemeral": {}}]});
        let pods = [
            pod("a", json!({})),
            pod("b", json!({"priority": 1})),
            pod("c", json!({})),
            pod("d", ephemeral.clone()),
            pod("e", ephemeral),
            pod("f", json!({"priority": 1})),
        ];
        let kinds = Kinds::divide(&pods, is_its_own);
        assert_eq!(kinds.members(), [vec![0, 2], vec![1, 5], vec![3], vec![4]]);
        assert_eq!(kinds.of_pod, [0, 1, 0, 2, 3, 1]);
    }

    #[test]
    fn work_is_done_once_and_stays_in_order() {
        let numbers: Vec<usize> = (0..1000).collect();
        let doubled: Vec<usize> = numbers.iter().map(|n| n * 2).collect();
        for threads in [1, 4] {
            assert_eq!(side_by_side(&numbers, threads, |n| n * 2), doubled);
        }
    }
}
