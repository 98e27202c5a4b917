//! After a node was chosen: the pod is assumed there, Reserve and Permit run, and its binding begins.

use super::bindings::{Binding, unreserve};
use super::drive::point_failure;
use super::{Scheduler, binding, plain_context};
use crate::port::{Effect, NominationPatch};
use secondmate_cycle::Profile;
use secondmate_cycle::panics::{ask, ask_at, points};
use secondmate_cycle::probe::{Point, call};
use secondmate_framework::{Code, CycleState, Status};
use secondmate_model::{Atom, Pod, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Maximum wait on permit, whatever the plugin requests.
const MAX_PERMIT_WAIT: Duration = Duration::from_secs(15 * 60);

impl Scheduler {
    /// Assumes the pod on the node and runs Reserve and Permit. On a rejection, everything is undone.
    pub(super) fn begin_binding(
        &mut self,
        profile: &Arc<Profile>,
        pod: &Arc<Pod>,
        node: &Atom,
        mut state: CycleState,
        now: Timestamp,
    ) -> Result<(), Status> {
        let assumed = Arc::new(pod.on_node(node));
        self.cache.assume(Arc::clone(&assumed)).map_err(|error| Status::error(error.to_string()))?;
        self.nominator.remove(&pod.uid);
        self.audit_assumed(pod, node);
        let asked = self.reserve_and_permit(profile, pod, node, &mut state, now);
        let asked = asked.and_then(|plugins| Ok((has_work(profile, &state, pod, node)?, plugins)));
        let (has_work, plugins) = match asked {
            Ok(asked) => asked,
            Err(status) => {
                unreserve(profile, &mut state, pod, node);
                // No other pod has seen the room taken, so none needs to be notified that it is free.
                let forgotten = self.cache.forget(&pod.uid);
                debug_assert!(forgotten.is_ok(), "it was assumed a moment ago");
                return Err(status);
            }
        };
        let waits = !plugins.is_empty();
        if (waits || has_work) && !self.asked.is_written(pod, Some(node)) {
            self.asked.ask(pod, Some(node.clone()), now);
            self.effects.push(Effect::PatchStatus {
                pod: Arc::clone(pod),
                condition: None,
                nomination: NominationPatch::Set(Some(node.clone())),
            });
        }
        let entry = self.queue.get(&pod.uid);
        let binding = Box::new(Binding {
            pod: Arc::clone(pod),
            node: node.clone(),
            chosen: self.snapshot.node(node).map(|info| Arc::clone(info.node())),
            chosen_at: self.cache.changes(),
            profile: Arc::clone(profile),
            state,
            running: None,
            popped: now,
            attempts: entry.map_or(1, |e| e.queued.attempts),
            first_active: entry.and_then(|e| e.first_active).unwrap_or(now),
            flushed: entry.is_some_and(|e| e.flushed),
            yielded: entry.map_or(Duration::ZERO, |e| e.yielded),
            has_written: entry.is_some_and(|e| e.has_written),
            looks_failed: 0,
        });
        self.drive(binding, binding::start(plugins, now), now);
        Ok(())
    }

    /// Plugins that make the pod wait, with their deadlines.
    fn reserve_and_permit(
        &self,
        profile: &Profile,
        pod: &Arc<Pod>,
        node: &Atom,
        state: &mut CycleState,
        now: Timestamp,
    ) -> Result<BTreeMap<Atom, Timestamp>, Status> {
        let probe = profile.probe();
        let began = probe.now();
        let reserved = self.reserve(profile, pod, node, state, now);
        let code = reserved.as_ref().map_or_else(Status::code, |()| Code::Success);
        let permitting = probe.now();
        probe.point_done(Point::Reserve, code, permitting.since(began));
        reserved?;
        let permitted = self.permit(profile, pod, node, state, now);
        let code = match &permitted {
            Ok(waiting) if waiting.is_empty() => Code::Success,
            Ok(_) => Code::Wait,
            Err(status) => status.code(),
        };
        probe.point_done(Point::Permit, code, probe.now().since(permitting));
        permitted
    }

    fn reserve(
        &self,
        profile: &Profile,
        pod: &Arc<Pod>,
        node: &Atom,
        state: &mut CycleState,
        now: Timestamp,
    ) -> Result<(), Status> {
        let (cx, timed) = (plain_context(&self.snapshot, &self.nominator, now), state.is_timed());
        for plugin in &profile.reserve {
            let ask = || {
                let ask = || plugin.point.reserve(&cx, state, pod, node);
                ask_at(profile, plugin, Point::Reserve, pod, ask)
                    .unwrap_or_else(|panic| Status::error(panic.what()))
            };
            let status = call(profile.probe(), timed, plugin, Point::Reserve, ask, Status::code);
            if status.is_rejected() {
                return Err(status.by(&plugin.name));
            }
            if !status.is_success() {
                return Err(point_failure("Reserve", &plugin.name, &status.message()));
            }
        }
        Ok(())
    }

    fn permit(
        &self,
        profile: &Profile,
        pod: &Arc<Pod>,
        node: &Atom,
        state: &mut CycleState,
        now: Timestamp,
    ) -> Result<BTreeMap<Atom, Timestamp>, Status> {
        let (cx, timed) = (plain_context(&self.snapshot, &self.nominator, now), state.is_timed());
        let mut waiting = BTreeMap::new();
        for plugin in &profile.permit {
            let ask = || {
                let ask = || plugin.point.permit(&cx, state, pod, node);
                ask_at(profile, plugin, Point::Permit, pod, ask)
                    .unwrap_or_else(|panic| (Status::error(panic.what()), Duration::ZERO))
            };
            let (status, timeout) =
                call(profile.probe(), timed, plugin, Point::Permit, ask, |(status, _)| status.code());
            match status.code() {
                Code::Success => {}
                Code::Wait => {
                    waiting.insert(plugin.name.clone(), now + timeout.min(MAX_PERMIT_WAIT));
                }
                _ if status.is_rejected() => return Err(status.by(&plugin.name)),
                _ => return Err(point_failure("Permit", &plugin.name, &status.message())),
            }
        }
        Ok(waiting)
    }
}

/// Whether a PreBind plugin has anything to do for the pod.
fn has_work(profile: &Profile, state: &CycleState, pod: &Arc<Pod>, node: &Atom) -> Result<bool, Status> {
    for plugin in &profile.pre_bind {
        let pre_flight = || plugin.point.pre_flight(state, pod, node);
        if ask(profile, plugin, points::PRE_BIND_PRE_FLIGHT, pod, pre_flight)
            .map_err(|panic| panic.status())?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
