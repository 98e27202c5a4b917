//! Pods that were deleted lately. A look at a pod, after a binding whose answer was lost, or a read of a node's pods can be overtaken by
//! the pod's deletion: what it found is told after the watch has told that the pod is no more. It must not bring the pod back, since the watch would never
//! take it away again, and its room with it.

use rustc_hash::FxHashSet;
use secondmate_core::port::{Input, PodWatch, Verified};
use secondmate_model::Uid;
use std::collections::VecDeque;

/// Pods that are remembered; of more, those that were deleted first are forgotten. A look takes seconds at most.
const DEPARTED_MAX: usize = 16_384;

/// The pods that were deleted last.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    order: VecDeque<Uid>,
    known: FxHashSet<Uid>,
}

impl Departed {
    /// The input as the core is to be told of it.
    pub fn sift(&mut self, input: Input) -> Input {
        match input {
            Input::PodGone(PodWatch::Assigned, uid) => {
                if self.known.insert(uid.clone()) {
                    self.order.push_back(uid.clone());
                    if self.order.len() > DEPARTED_MAX
                        && let Some(first) = self.order.pop_front()
                    {
                        self.known.remove(&first);
                    }
                }
                Input::PodGone(PodWatch::Assigned, uid)
            }
            Input::Pod(watch, pod) => {
                // An older list had lost it, and it is back.
                self.known.remove(&pod.uid);
                Input::Pod(watch, pod)
            }
            Input::Verified(uid, Verified::Found(_)) if self.known.contains(&uid) => {
                Input::Verified(uid, Verified::Gone)
            }
            Input::NodeRead { node, pods: Ok(mut pods) } => {
                pods.retain(|pod| !self.known.contains(&pod.uid));
                Input::NodeRead { node, pods: Ok(pods) }
            }
            input => input,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secondmate_model::{Pod, wire};
    use std::sync::Arc;

    fn pod(name: &str) -> Arc<Pod> {
        let wire: wire::Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "uid": name}, "spec": {"nodeName": "n", "containers": []},
        }))
        .expect("a pod");
        Arc::new(Pod::new(&wire).expect("it compiles"))
    }

    fn found(name: &str) -> Input {
        Input::Verified(Uid::from(name), Verified::Found(pod(name)))
    }

    #[test]
    fn a_look_that_the_deletion_has_overtaken_finds_nothing() {
        let mut departed = Departed::default();
        let is_found = |input| matches!(input, Input::Verified(_, Verified::Found(_)));
        assert!(is_found(departed.sift(found("a"))));
        departed.sift(Input::PodGone(PodWatch::Pending, Uid::from("a")));
        assert!(is_found(departed.sift(found("a"))), "it has been bound");
        departed.sift(Input::PodGone(PodWatch::Assigned, Uid::from("a")));
        assert!(matches!(departed.sift(found("a")), Input::Verified(_, Verified::Gone)));
        assert!(is_found(departed.sift(found("b"))));
        let read = Input::NodeRead { node: "n".into(), pods: Ok(vec![pod("a"), pod("b")]) };
        let Input::NodeRead { pods: Ok(read), .. } = departed.sift(read) else { panic!("it was read") };
        assert_eq!(read.iter().map(|pod| &*pod.name).collect::<Vec<_>>(), ["b"]);
        departed.sift(Input::Pod(PodWatch::Pending, pod("a")));
        assert!(is_found(departed.sift(found("a"))), "the list that had lost it was an old one");
        departed.sift(Input::PodGone(PodWatch::Assigned, Uid::from("a")));
        for number in 0..DEPARTED_MAX {
            departed.sift(Input::PodGone(PodWatch::Assigned, Uid::from(&*format!("p{number}"))));
        }
        assert!(is_found(departed.sift(found("a"))), "forgotten");
        assert_eq!(departed.order.len(), DEPARTED_MAX);
        assert!(departed.known.len() <= DEPARTED_MAX);
    }
}
