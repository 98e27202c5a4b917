//! PreEnqueue.

use crate::profile::Profile;
use secondmate_framework::Status;
use secondmate_model::Pod;

impl Profile {
    /// What the first PreEnqueue plugin says that holds the pod back, if one does.
    #[must_use]
    pub fn holds_back(&self, pod: &Pod) -> Option<Status> {
        self.pre_enqueue.iter().find_map(|plugin| {
            let status = plugin.point.pre_enqueue(pod);
            (!status.is_success()).then(|| status.by(&plugin.name))
        })
    }
}
