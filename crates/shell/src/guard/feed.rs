//! What keeps the books: the watches tell, and time passes.

use super::desk::{CATCH_UP, Desk};
use crate::inbox::Message;
use crate::tasks::Tasks;
use secondmate_core::port::{Input, PodWatch};
use secondmate_guard::{Guard, Settled};
use secondmate_model::{Pod, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

/// Messages that are taken under one lock, so that no request waits for longer than these take.
const BATCH_MAX: usize = 64;
/// Between two turns.
pub(super) const TURN: Duration = Duration::from_millis(250);
/// Pods looked at at once, because their approvals are unseen or because they are in the way of others. When such a look ends, the next
/// one that is due begins.
const LOOKS_MAX: usize = 16;

/// Keeps the books until the watches end. `unsynced`: the numbers of the watches.
pub(super) async fn feed(
    desk: Desk,
    mut messages: mpsc::Receiver<Message>,
    mut unsynced: BTreeSet<usize>,
    tasks: Tasks,
) {
    let mut turn = interval(TURN);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let slots = Arc::new(Semaphore::new(LOOKS_MAX));
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut catch_up = CatchUp::default();
    loop {
        tokio::select! {
            count = messages.recv_many(&mut batch, BATCH_MAX) => {
                if count == 0 {
                    return;
                }
                take(&desk, &mut batch, &mut unsynced);
                catch_up.taken += count as u64;
            }
            _ = turn.tick() => {
                if let Some(interruptions) = desk.to_catch_up_with()
                    && catch_up.turn(interruptions, messages.len(), desk.now())
                {
                    desk.caught_up(interruptions);
                }
                for look in desk.turn(slots.available_permits()) {
                    let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { break };
                    let desk = desk.clone();
                    tasks.spawn("look at a pod", async move {
                        let mut next = Some(look);
                        while let Some(look) = next {
                            desk.look(look).await;
                            next = desk.next_look();
                        }
                        drop(slot);
                    });
                }
            }
        }
    }
}

/// Whether the books contain what the watches had to tell after an interruption. No event says so, and in a quiet cluster none comes: a
/// while after the watches are up to date again, what they have missed is in the inbox; and once that is taken, in the books.
#[derive(Default)]
struct CatchUp {
    /// Messages taken so far.
    taken: u64,
    /// How many interruptions there have been, and since when the watches are up to date again.
    interruptions: u64,
    since: Timestamp,
    /// Which message was the last one in the inbox after that while.
    last: Option<u64>,
}

impl CatchUp {
    /// Returns whether the books have caught up with so many interruptions; `waiting` is the number of messages in the inbox.
    fn turn(&mut self, interruptions: u64, waiting: usize, now: Timestamp) -> bool {
        if interruptions != self.interruptions {
            *self = Self { taken: self.taken, interruptions, since: now, last: None };
        }
        if now.since(self.since) < CATCH_UP {
            return false;
        }
        // However many come after it.
        let last = *self.last.get_or_insert(self.taken + waiting as u64);
        self.taken >= last
    }
}

fn take(desk: &Desk, batch: &mut Vec<Message>, unsynced: &mut BTreeSet<usize>) {
    let now = desk.now();
    let mut settled = Vec::new();
    let mut unasked = Vec::new();
    {
        let mut guard = desk.guard();
        for message in batch.drain(..) {
            match message {
                Message::Watched(Input::Pod(PodWatch::Assigned, pod)) => {
                    if unsynced.is_empty() && is_unasked(&guard, &pod) {
                        unasked.push(Arc::clone(&pod));
                    }
                    settled.extend(guard.on_node(pod, now));
                }
                Message::Watched(input) => apply(&mut guard, input),
                Message::Synced(number) => {
                    unsynced.remove(&number);
                    if unsynced.is_empty() {
                        guard.listed();
                        let [nodes, pods, waiting] = guard.sizes();
                        info!(nodes, pods, waiting, "caches synced");
                    }
                }
                // The order in which pods are shown does not matter here.
                Message::ListingPods(_) => {}
                // Nobody else writes to this inbox.
                Message::Answered(_) | Message::Look(_) | Message::Wake => {}
            }
        }
    }
    desk.has_news();
    settled.into_iter().for_each(|settled: Settled| desk.settled(Some(settled)));
    unasked.iter().for_each(|pod| desk.unasked(pod));
}

fn apply(guard: &mut Guard, input: Input) {
    match input {
        Input::Pod(_, pod) => guard.waiting(pod),
        Input::PodGone(PodWatch::Assigned, uid) => guard.off_node(&uid),
        Input::PodGone(_, uid) => guard.waiting_gone(&uid),
        Input::Node(node) => guard.node(node),
        Input::NodeGone(name) => guard.node_gone(&name),
        // Of no watch of the guard.
        _ => {}
    }
}

/// Whether somebody bound the pod and the books contain no request for it. A pod that was created on its node has no condition yet.
fn is_unasked(guard: &Guard, pod: &Pod) -> bool {
    let bound = pod.scheduled_condition.as_ref().is_some_and(|condition| &*condition.status == "True");
    bound && !pod.deleting && !guard.knows(&pod.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_inbox_when_the_while_is_over_is_taken_first_and_no_more() {
        let at = Timestamp::from_millis;
        let mut catch_up = CatchUp::default();
        assert!(!catch_up.turn(3, 0, at(5000)));
        assert!(!catch_up.turn(3, 0, at(5999)));
        assert!(!catch_up.turn(3, 500, at(6000)));
        catch_up.taken += 499;
        assert!(!catch_up.turn(3, 4096, at(6250)));
        catch_up.taken += 1;
        assert!(catch_up.turn(3, 4096, at(6500)));
        // The next one comes while this one is being caught up with.
        assert!(!catch_up.turn(4, 0, at(7000)));
        assert!(!catch_up.turn(5, 0, at(7900)));
        assert!(!catch_up.turn(5, 0, at(8000)));
        assert!(catch_up.turn(5, 0, at(8900)));
    }
}
