//! Pods of ours that are bound by something else: noticed while this process leads, counted, and reported to [`crate::rivals`], which finds
//! out by whom.

use crate::rivals::Sightings;
use crate::write::Leading;
use secondmate_core::Scheduler;
use secondmate_core::port::{Input, PodWatch, Verified};
use secondmate_model::{Atom, Pod};
use secondmate_telemetry::Counter;

/// Looks at inputs before the core takes them.
pub(crate) struct OtherBinders {
    names: Vec<Atom>,
    leading: Leading,
    sightings: Sightings,
    count: Counter,
}

impl OtherBinders {
    pub fn new(names: Vec<Atom>, leading: Leading, sightings: Sightings, count: Counter) -> Self {
        Self { names, leading, sightings, count }
    }

    /// Looks at an input. Until all lists are complete (`synced`), it cannot be known who bound what.
    pub fn look(&mut self, input: &Input, core: &Scheduler, synced: bool) {
        let pods = match input {
            Input::Pod(PodWatch::Assigned, pod) | Input::Verified(_, Verified::Found(pod)) => {
                std::slice::from_ref(pod)
            }
            // What a read shows is known to the core from then on, so the watch will be too late.
            Input::NodeRead { pods: Ok(pods), .. } => pods.as_slice(),
            _ => return,
        };
        for pod in pods {
            self.look_at(pod, core, synced);
        }
    }

    fn look_at(&mut self, pod: &Pod, core: &Scheduler, synced: bool) {
        let Some(node) = &pod.node_name else { return };
        // A pod that is known or assumed to be there was bound by us, or has already been counted.
        let known = core.cache().pod(&pod.uid).is_some_and(|known| known.node_name.as_ref() == Some(node));
        if known || !self.names.contains(&pod.scheduler_name) {
            return;
        }
        let waited = core.queue().get(&pod.uid).is_some();
        // A standby sees the leader's work, and so does a new leader for a while after taking over.
        if waited && synced && self.leading.is_settled() {
            self.count.inc();
            self.sightings.tell(pod.full_name(), node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Caller;
    use crate::lease::Term;
    use crate::rivals::Rivals;
    use http::{Request, Response};
    use kube_client::Client;
    use kube_client::client::Body;
    use secondmate_config::{Configuration, make_profiles};
    use secondmate_core::SchedulerConfig;
    use secondmate_model::{Timestamp, wire};
    use serde_json::json;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::watch;

    /// A pod of ours, on a node unless that is empty.
    fn pod(name: &str, node: &str) -> Arc<Pod> {
        let wire: wire::Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"schedulerName": "mate", "nodeName": node, "containers": []},
        }))
        .expect("a pod");
        Arc::new(Pod::new(&wire).expect("it compiles"))
    }

    fn scheduler() -> Scheduler {
        let registry = secondmate_plugins::registry().expect("in-tree names differ");
        let configuration = Configuration::for_scheduler_names(&["mate"]).expect("a name");
        let profiles = make_profiles(&configuration, &registry).expect("the default profile");
        Scheduler::new(SchedulerConfig::default(), profiles)
    }

    /// Looks at inputs while this process leads, and counts.
    fn others() -> (OtherBinders, Counter) {
        let service = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, kube_client::Error>>()
        });
        let caller = Caller::new(Client::new(service, "default"), None, Duration::from_secs(60));
        let names = vec![Atom::new("mate")];
        let (_, sightings) = Rivals::new(caller, None, names.iter().map(ToString::to_string));
        let (_, term) = watch::channel(Some(Term::unlimited()));
        let count = Counter::default();
        (OtherBinders::new(names, Leading::new(term), sightings, count.clone()), count)
    }

    #[tokio::test]
    async fn a_pod_that_a_read_shows_before_the_watch_is_counted_once() {
        let (mut others, count) = others();
        let (mut core, now) = (scheduler(), Timestamp::from_secs(1000));
        core.apply(Input::Pod(PodWatch::Pending, pod("taken", "")), now);
        let read =
            || Input::NodeRead { node: "n1".into(), pods: Ok(vec![pod("taken", "n1"), pod("known", "n1")]) };
        // Before all lists are complete, it cannot be known who bound what.
        others.look(&read(), &core, false);
        assert_eq!(count.get(), 0);
        others.look(&read(), &core, true);
        assert_eq!(count.get(), 1, "the other pod never waited here");
        // The core has taken it from the read when the watch shows it.
        let shown = Input::Pod(PodWatch::Assigned, pod("taken", "n1"));
        core.apply(shown.clone(), now);
        others.look(&shown, &core, true);
        others.look(&read(), &core, true);
        others.look(&Input::NodeRead { node: "n1".into(), pods: Err("no answer".to_owned()) }, &core, true);
        assert_eq!(count.get(), 1);
    }
}
