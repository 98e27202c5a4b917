//! Extension points that stretch over inputs, PreBind and Bind: they are measured by the times that come in.

use super::Scheduler;
use super::stage::Binding;
use secondmate_cycle::PluginRef;
use secondmate_cycle::probe::Point;
use secondmate_framework::Code;
use secondmate_model::{Timestamp, Uid};

/// The extension point that is running for a pod on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    point: Point,
    began: Timestamp,
    /// The plugin that is being asked, and since when.
    plugin: Option<(usize, Timestamp)>,
}

impl Binding {
    /// An extension point begins.
    pub fn begin_point(&mut self, point: Point, now: Timestamp) {
        self.running = Some(Running { point, began: now, plugin: None });
    }

    /// A plugin is asked, for the first time or once more.
    pub fn begin_plugin(&mut self, at: usize, now: Timestamp) {
        if let Some(running) = &mut self.running
            && running.plugin.is_none_or(|(before, _)| before != at)
        {
            running.plugin = Some((at, now));
        }
    }

    /// The plugin that was asked has answered for good.
    pub fn end_plugin(&mut self, code: Code, now: Timestamp) {
        let Some(running) = &mut self.running else { return };
        let point = running.point;
        let Some((at, began)) = running.plugin.take() else { return };
        if self.state.is_timed()
            && let Some(plugin) = self.plugins_of(point).get(at)
        {
            self.profile.probe().plugin_called(plugin, point, code, now.since(began));
        }
    }

    /// The extension point that is running, if one is, has ended, and with it the plugin that was being asked.
    pub fn end_point(&mut self, code: Code, now: Timestamp) {
        self.end_plugin(code, now);
        if let Some(running) = self.running.take() {
            self.profile.probe().point_done(running.point, code, now.since(running.began));
        }
    }

    fn plugins_of(&self, point: Point) -> &[PluginRef] {
        if point == Point::PreBind { &self.profile.pre_bind } else { &self.profile.bind }
    }
}

impl Scheduler {
    /// The extension point that is running for the pod, if one is, has ended.
    pub(super) fn end_point(&mut self, uid: &Uid, code: Code, now: Timestamp) {
        if let Some(binding) = self.bindings.get_mut(uid) {
            binding.end_point(code, now);
        }
    }
}
