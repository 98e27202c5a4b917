//! Which pods something happened to, for a judge that looks at these alone.

use secondmate_model::Uid;
use std::collections::BTreeSet;

/// Pods whose standing changed since somebody looked. Nothing is kept unless somebody does: in tests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched(Option<BTreeSet<Uid>>);

impl Touched {
    /// From now on it keeps them.
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

    /// Takes what is kept.
    pub fn take_into(&mut self, all: &mut BTreeSet<Uid>) {
        if let Some(pods) = &mut self.0 {
            all.append(pods);
        }
    }
}
