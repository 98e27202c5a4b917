//! A slow plugin: it makes some pods wait on permit, and does work before they are bound.
//!
//! What it does to a pod is determined by the number in the pod's name and by how often it has seen the pod, so a history
//! still depends only on its seed.

use secondmate_framework::{
    ActionType, ApiWrite, Context, CycleState, EventRegistration, EventResource, Handle, Permit, Plugin,
    PostBind, PreBind, PreBindStep, Registry, Reserve, Status, WriteVerb,
};
use secondmate_model::{Atom, Pod, Timestamp, Uid};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub const NAME: &str = "Slow";

#[derive(Default)]
pub struct Books {
    /// How often each pod has been seen.
    visits: BTreeMap<Uid, u64>,
    /// Pods that wait on permit.
    pub waiting: Vec<Uid>,
    /// Reserved and neither released nor bound: a second reservation of the same pod is an error of the core.
    reserved: BTreeMap<Uid, Atom>,
    pub handle: Option<Handle>,
}

#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Books>>);

impl Shared {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().expect("no plugin panics")
    }

    pub fn register(&self, registry: &mut Registry) {
        let shared = self.clone();
        let make = move |_: &serde_json::Value, handle: &Handle| {
            shared.books().handle = Some(handle.clone());
            Ok(Arc::new(Slow(shared.clone())) as Arc<dyn Plugin>)
        };
        registry.register(NAME, make).expect("a new name");
    }
}

struct Slow(Shared);

impl Slow {
    fn is_first_visit(&self, pod: &Pod) -> bool {
        self.0.books().visits.get(&pod.uid) == Some(&1)
    }
}

fn number(pod: &Pod) -> u64 {
    let digits = pod.name.bytes().filter(u8::is_ascii_digit);
    digits.fold(0, |number, digit| number.wrapping_mul(10) + u64::from(digit - b'0'))
}

/// The progress of PreBind in this cycle.
#[derive(Clone)]
struct Progress(u32, Option<Timestamp>);

impl Plugin for Slow {
    fn name(&self) -> &str {
        NAME
    }
    fn as_reserve(self: Arc<Self>) -> Option<Arc<dyn Reserve>> {
        Some(self)
    }
    fn as_permit(self: Arc<Self>) -> Option<Arc<dyn Permit>> {
        Some(self)
    }
    fn as_post_bind(self: Arc<Self>) -> Option<Arc<dyn PostBind>> {
        Some(self)
    }
    fn as_pre_bind(self: Arc<Self>) -> Option<Arc<dyn PreBind>> {
        Some(self)
    }
    fn events(&self) -> Vec<EventRegistration> {
        vec![EventRegistration::new(EventResource::Node, ActionType::ADD | ActionType::UPDATE_NODE_TAINT)]
    }
}

impl Reserve for Slow {
    fn reserve(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, node: &Atom) -> Status {
        let before = self.0.books().reserved.insert(pod.uid.clone(), node.clone());
        assert_eq!(before, None, "pod {} is reserved twice", pod.uid);
        Status::SUCCESS
    }
    fn unreserve(&self, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) {
        self.0.books().reserved.remove(&pod.uid);
    }
}

impl PostBind for Slow {
    fn post_bind(&self, _: &CycleState, pod: &Arc<Pod>, _: &Atom) {
        self.0.books().reserved.remove(&pod.uid);
    }
}

impl Permit for Slow {
    fn permit(&self, _: &Context<'_>, _: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> (Status, Duration) {
        let mut books = self.0.books();
        let visits = books.visits.entry(pod.uid.clone()).or_insert(0);
        *visits += 1;
        let first = *visits == 1;
        match number(pod) % 6 {
            0 => {
                books.waiting.push(pod.uid.clone());
                (Status::wait(""), Duration::from_secs(4))
            }
            1 if first => (Status::unschedulable("not the first time"), Duration::ZERO),
            2 if first => (Status::error("a hiccup"), Duration::ZERO),
            _ => (Status::SUCCESS, Duration::ZERO),
        }
    }
}

impl PreBind for Slow {
    fn pre_flight(&self, _: &CycleState, pod: &Arc<Pod>, _: &Atom) -> bool {
        number(pod).is_multiple_of(4)
    }

    fn pre_bind(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>, _: &Atom) -> PreBindStep {
        if !number(pod).is_multiple_of(4) {
            return PreBindStep::Done;
        }
        let Progress(step, deadline) = state.read().cloned().unwrap_or(Progress(0, None));
        let body = serde_json::Value::Null;
        let write = ApiWrite { verb: WriteVerb::MergePatch, path: "/object".to_owned(), body };
        match (step, deadline) {
            (0, _) => {
                state.write(Progress(1, None));
                PreBindStep::Write(vec![write])
            }
            (1, None) => {
                let deadline = cx.now + Duration::from_secs(2);
                state.write(Progress(1, Some(deadline)));
                PreBindStep::Wait { deadline }
            }
            // The first wait of every third pod ends in failure, that of the others with the first change of a node or after some time.
            (1, Some(deadline))
                if cx.now >= deadline && number(pod).is_multiple_of(3) && self.is_first_visit(pod) =>
            {
                PreBindStep::Fail(Status::unschedulable("too late"))
            }
            _ => PreBindStep::Done,
        }
    }
}
