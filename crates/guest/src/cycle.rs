use crate::abi;
use crate::export::json;
use crate::objects::Pod;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::OnceCell;

/// The scheduling cycle in which a plugin is asked.
#[derive(Debug, Default)]
pub struct Cycle {
    pod: OnceCell<Pod>,
}

impl Cycle {
    /// The cycle of this pod, to try a plugin out without a host.
    #[must_use]
    pub fn of(pod: Pod) -> Self {
        Self { pod: pod.into() }
    }

    /// The pod that is scheduled.
    pub fn pod(&self) -> &Pod {
        self.pod.get_or_init(|| Pod(abi::current_pod()))
    }

    /// In PreScore: the names of the nodes that passed the filters.
    #[must_use]
    pub fn feasible_nodes(&self) -> Vec<String> {
        json::texts(&abi::feasible_nodes()).map(Into::into).collect()
    }
}

/// `guestConfig` of the configuration, as it is written there.
#[must_use]
pub fn config() -> String {
    String::from_utf8(abi::config()).unwrap_or_default()
}
