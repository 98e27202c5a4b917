//! Recently deleted pods. The read of a pod (after a binding whose answer was lost) or of a node's pods can be overtaken by a deletion: its
//! result arrives after the watch has reported that the pod is gone. The result must not bring the pod back, since the watch would never
//! remove it again, and it would keep its room.

use rustc_hash::FxHashSet;
use secondmate_core::port::{Input, PodWatch, Verified};
use secondmate_model::Uid;
use std::collections::VecDeque;

/// How many pods are remembered; beyond that, those deleted first are forgotten. Such a read takes a few seconds at most.
const DEPARTED_MAX: usize = 16_384;

/// The most recently deleted pods.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    order: VecDeque<Uid>,
    known: FxHashSet<Uid>,
}

impl Departed {
    /// Returns the input as the core should see it.
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
                // An older list did not contain it, and now it is back.
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
