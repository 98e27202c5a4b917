//! Panics of plugins: a panic fails only the attempt in which it happens, and names the plugin, the extension point, the pod and
//! the node.
//!
//! This costs nothing while nothing panics: a guard that is dropped only by unwinding records what was running. A panic outside
//! of any plugin is a bug in the scheduler itself, and is propagated.
//!
//! The results of the attempt are discarded. The plugin itself is called again for the next pod, in whatever state the panic left
//! it: handling that is up to its author (see [`Plugin`](secondmate_framework::Plugin)).

use crate::probe::Point;
use crate::profile::{PluginRef, Profile};
use secondmate_framework::Status;
use secondmate_model::{Atom, Pod};
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The methods that are not extension points, as named in messages and metrics.
pub mod points {
    /// A PreFilter plugin is notified that a pod is added.
    pub const ADD_POD: &str = "AddPod";
    /// A PreFilter plugin is notified that a pod is removed.
    pub const REMOVE_POD: &str = "RemovePod";
    /// A PreBind plugin is asked whether it has anything to do.
    pub const PRE_BIND_PRE_FLIGHT: &str = "PreBindPreFlight";
    /// A plugin is asked what an event means for a pod.
    pub const QUEUEING_HINT: &str = "QueueingHint";
    /// The queue order.
    pub const QUEUE_SORT: &str = "QueueSort";
}

/// A plugin panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginPanic {
    /// The plugin.
    pub plugin: Atom,
    /// The extension point, or one of [`points`].
    pub point: &'static str,
    /// The node that it was asked about, if any.
    pub node: Option<Atom>,
    /// The panic message.
    pub message: String,
}

impl PluginPanic {
    /// What happened, for use next to the names of plugin and point.
    #[must_use]
    pub fn what(&self) -> String {
        match &self.node {
            Some(node) => format!("panicked on node {node}: {}", self.message),
            None => format!("panicked: {}", self.message),
        }
    }

    /// The failure as a status of the plugin.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::error(self.to_string()).by(&self.plugin)
    }
}

impl fmt::Display for PluginPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "running {} plugin {:?}: {}", self.point, self.plugin.as_str(), self.what())
    }
}

struct Culprit {
    plugin: Atom,
    point: &'static str,
    node: Option<Atom>,
}

thread_local! {
    /// What was running when the panic began that is unwinding this thread.
    static CULPRIT: RefCell<Option<Culprit>> = const { RefCell::new(None) };
}

/// Dropped only by a panic.
struct Running<'a> {
    plugin: &'a Atom,
    point: &'static str,
    node: Option<&'a Atom>,
}

impl Drop for Running<'_> {
    // Inlined, so that the fields stay in the registers that hold them anyway: a call that does not panic stores nothing.
    #[inline(always)]
    fn drop(&mut self) {
        note_culprit(self.plugin, self.point, self.node);
    }
}

#[cold]
#[inline(never)]
fn note_culprit(plugin: &Atom, point: &'static str, node: Option<&Atom>) {
    CULPRIT.with_borrow_mut(|culprit| {
        // If plugins run inside of another one, such as the filters in a preemption, the inner one is dropped first and wins.
        culprit.get_or_insert_with(|| Culprit { plugin: plugin.clone(), point, node: node.cloned() });
    });
}

/// Runs a plugin: a panic inside is attributed to it and reported by [`catch`].
#[inline]
pub(crate) fn run<T>(plugin: &Atom, point: &'static str, node: Option<&Atom>, ask: impl FnOnce() -> T) -> T {
    let running = Running { plugin, point, node };
    let answer = ask();
    std::mem::forget(running);
    answer
}

/// Does work that calls plugins for a pod. A panic of one of them is reported to the profile's probe.
///
/// # Errors
/// If a plugin panicked.
pub(crate) fn catch<T>(profile: &Profile, pod: &Pod, work: impl FnOnce() -> T) -> Result<T, PluginPanic> {
    // May be left over from a panic that was not caught here.
    CULPRIT.take();
    // Unwinding drops everything that the work owned; the caller has to judge what outlives it.
    let panic = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => return Ok(answer),
        Err(panic) => panic,
    };
    let Some(Culprit { plugin, point, node }) = CULPRIT.take() else { resume_unwind(panic) };
    let panic = PluginPanic { plugin, point, node, message: message(&*panic) };
    profile.probe().plugin_panicked(&panic, pod);
    Err(panic)
}

/// Calls one plugin, outside of an evaluation.
///
/// # Errors
/// If the plugin panicked; the profile's probe has been notified.
pub fn ask<T>(
    profile: &Profile,
    plugin: &PluginRef,
    point: &'static str,
    pod: &Pod,
    ask: impl FnOnce() -> T,
) -> Result<T, PluginPanic> {
    catch(profile, pod, || run(&plugin.name, point, None, ask))
}

/// [`ask`] at an extension point.
///
/// # Errors
/// Like [`ask`].
pub fn ask_at<T>(
    profile: &Profile,
    plugin: &PluginRef,
    point: Point,
    pod: &Pod,
    work: impl FnOnce() -> T,
) -> Result<T, PluginPanic> {
    ask(profile, plugin, point.name(), pod, work)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
