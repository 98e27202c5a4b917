//! Whether the watches have shown everything there is, as far as they can know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The state of each watch. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Currency {
    watches: Arc<Mutex<BTreeMap<usize, State>>>,
}

#[derive(Clone, Debug)]
struct State {
    name: String,
    /// A list is in progress, including the first one: what vanished before it has not been reported yet.
    listing: bool,
    /// The last request failed, or the stream broke.
    failed: bool,
    /// How often it has begun to list or failed.
    interruptions: u64,
}

impl Currency {
    fn with(&self, number: usize, change: impl FnOnce(&mut State)) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = watches.get_mut(&number) {
            change(state);
        }
    }

    /// Adds a watch that has not shown anything yet.
    pub fn add(&self, number: usize, name: String) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.insert(number, State { name, listing: true, failed: false, interruptions: 0 });
    }

    /// The API server has answered it.
    pub fn answered(&self, number: usize) {
        self.with(number, |state| state.failed = false);
    }

    /// The watch is listing, for the first time or again.
    pub fn listing(&self, number: usize) {
        self.with(number, |state| {
            state.listing = true;
            state.interruptions += 1;
        });
    }

    /// A list is complete.
    pub fn listed(&self, number: usize) {
        self.with(number, |state| {
            state.listing = false;
            state.failed = false;
        });
    }

    /// One of its requests failed, or its stream broke.
    pub fn failed(&self, number: usize) {
        self.with(number, |state| {
            state.failed = true;
            state.interruptions += 1;
        });
    }

    /// How often the watches have begun to list or failed so far. A watch that is up to date again has more to show than it has shown:
    /// whatever happened in between.
    pub fn interruptions(&self) -> u64 {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.values().map(|state| state.interruptions).sum()
    }

    /// Checks that all watches are up to date.
    ///
    /// # Errors
    /// Names a watch that is not, and says why.
    pub fn check(&self) -> Result<(), String> {
        self.check_those(|_| true)
    }

    /// Checks that the watches whose name is one of these are up to date.
    ///
    /// # Errors
    /// Names a watch that is not, and says why.
    pub fn check_those(&self, wanted: impl Fn(&str) -> bool) -> Result<(), String> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        match watches.values().find(|state| wanted(&state.name) && (state.listing || state.failed)) {
            None => Ok(()),
            Some(State { name, failed: true, .. }) => Err(format!("the watch of {name} was interrupted")),
            Some(State { name, .. }) => Err(format!("{name} are being listed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_behind_until_it_has_listed_and_while_it_is_interrupted() {
        let currency = Currency::default();
        currency.add(0, "nodes".to_owned());
        currency.add(1, "pods".to_owned());
        currency.listed(0);
        assert_eq!(currency.check(), Err("pods are being listed".to_owned()));
        currency.listed(1);
        assert_eq!(currency.check(), Ok(()));
        currency.failed(0);
        assert_eq!(currency.check(), Err("the watch of nodes was interrupted".to_owned()));
        assert_eq!(currency.check_those(|name| name == "pods"), Ok(()));
        currency.answered(0);
        assert_eq!(currency.check(), Ok(()));
        // An answer is not yet the complete list.
        currency.listing(1);
        currency.answered(1);
        assert!(currency.check().is_err());
        currency.listed(1);
        assert_eq!((currency.check(), currency.interruptions()), (Ok(()), 2));
    }
}
