//! Which pods something happened to, for checks that look only at these.

use secondmate_model::Uid;
use std::collections::BTreeSet;

/// Pods whose state changed since the last check. Nothing is recorded unless a check needs it: in tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched(Option<BTreeSet<Uid>>);

impl Touched {
    /// Starts recording.
    pub fn keep(&mut self) {
        self.0.get_or_insert_default();
    }

    /// Something changed about the pod.
    #[inline]
    pub fn note(&mut self, uid: &Uid) {
        if let Some(pods) = &mut self.0
            && !pods.contains(uid)
        {
            pods.insert(uid.clone());
        }
    }

    /// Moves the recorded pods into `all`.
    pub fn take_into(&mut self, all: &mut BTreeSet<Uid>) {
        if let Some(pods) = &mut self.0 {
            all.append(pods);
        }
    }
}
