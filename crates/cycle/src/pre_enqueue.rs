//! PreEnqueue.

use crate::panics::{PluginPanic, ask_at};
use crate::probe::Point;
use crate::profile::{At, Profile};
use secondmate_framework::{PreEnqueue, Status};
use secondmate_model::Pod;

impl Profile {
    /// The status of the first PreEnqueue plugin that holds the pod back, if any.
    #[must_use]
    pub fn holds_back(&self, pod: &Pod) -> Option<Status> {
        self.pre_enqueue.iter().find_map(|plugin| {
            let status = self.ask_pre_enqueue(plugin, pod);
            (!status.is_success()).then(|| status.by(&plugin.name))
        })
    }

    /// The status of one PreEnqueue plugin. One that panics holds the pod back.
    #[must_use]
    pub fn ask_pre_enqueue(&self, plugin: &At<dyn PreEnqueue>, pod: &Pod) -> Status {
        let ask = || plugin.point.pre_enqueue(pod);
        ask_at(self, plugin, Point::PreEnqueue, pod, ask).unwrap_or_else(|panic: PluginPanic| panic.status())
    }
}
