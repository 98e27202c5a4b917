//! Informs the owners of pods that cannot be understood, by an event and a condition.

use crate::watch::UnfitObjects;
use crate::write::{EventNote, EventSink, Leading, PodRef, StatusChange, StatusWriter};
use secondmate_core::port::{EventType, NominationPatch, ScheduledCondition};
use secondmate_model::{Atom, Uid};
use std::sync::Arc;

/// Informs the owners of pods that cannot be understood, as soon as this process may write.
pub(crate) async fn tell(
    unfit: Arc<UnfitObjects>,
    mut leading: Leading,
    status: StatusWriter,
    events: EventSink,
) {
    loop {
        if leading.may_write() {
            for (pod, scheduler_name) in unfit.take_untold() {
                let reference = PodRef {
                    namespace: Atom::new(&pod.namespace),
                    name: pod.name.clone(),
                    uid: Uid::from(&*pod.uid),
                    resource_version: pod.resource_version.clone(),
                };
                let note = format!("the pod cannot be understood: {}; correct it or delete it", pod.reason);
                status.submit(StatusChange {
                    pod: reference.clone(),
                    condition: Some(ScheduledCondition {
                        reason: "SchedulerError",
                        message: note.clone(),
                        observed_generation: pod.generation,
                    }),
                    flips: true,
                    nomination: NominationPatch::Keep,
                });
                events.submit(EventNote {
                    regarding: reference,
                    related: None,
                    kind: EventType::Warning,
                    reason: "FailedScheduling".into(),
                    action: "Scheduling".into(),
                    note,
                    controller: Atom::new(&scheduler_name),
                    time: jiff::Timestamp::now(),
                });
            }
        }
        tokio::select! {
            () = unfit.changed() => {}
            () = leading.changed() => {}
        }
    }
}
