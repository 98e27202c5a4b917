//! Extension points that span several inputs, PreBind and Bind: they are measured by the times that are passed in.

use secondmate_cycle::probe::Point;
use secondmate_cycle::{PluginRef, Profile};
use secondmate_framework::Code;
use secondmate_model::Timestamp;

/// The extension point that is running for a pod that is being bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    point: Point,
    began: Timestamp,
    /// The plugin that is being called, and since when.
    plugin: Option<(usize, Timestamp)>,
}

/// The profile whose probe is notified, and whether calls are timed individually in this cycle.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    pub profile: &'a Profile,
    pub timed: bool,
}

impl Running {
    /// An extension point begins.
    pub fn begin(point: Point, now: Timestamp) -> Self {
        Self { point, began: now, plugin: None }
    }

    /// A plugin is called, for the first time or again.
    pub fn begin_plugin(&mut self, at: usize, now: Timestamp) {
        if self.plugin.is_none_or(|(before, _)| before != at) {
            self.plugin = Some((at, now));
        }
    }

    /// The plugin that was called has given its final answer.
    pub fn end_plugin(&mut self, measured: Measured<'_>, code: Code, now: Timestamp) {
        let Some((at, began)) = self.plugin.take() else { return };
        let Measured { profile, timed } = measured;
        let plugin: Option<&PluginRef> = match self.point {
            Point::PreBind => profile.pre_bind.get(at).map(|plugin| &**plugin),
            _ => profile.bind.get(at).map(|plugin| &**plugin),
        };
        if timed && let Some(plugin) = plugin {
            profile.probe().plugin_called(plugin, self.point, code, now.since(began));
        }
    }

    /// The extension point has ended, and with it the plugin that was being called.
    pub fn end(mut self, measured: Measured<'_>, code: Code, now: Timestamp) {
        self.end_plugin(measured, code, now);
        measured.profile.probe().point_done(self.point, code, now.since(self.began));
    }
}
