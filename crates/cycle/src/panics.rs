//! Panics of plugins: one costs the attempt in which it happens, and names the plugin, the extension point, the pod and the node.
//!
//! It costs nothing while nobody panics: who is running is written down by a guard that only unwinding drops. A panic outside of
//! any plugin is a defect of the scheduler itself, and goes on up.
//!
//! What the attempt computed is thrown away. The plugin itself is asked again for the next pod, in the state in which the panic left
//! it: that is its author's to decide (see [`Plugin`](secondmate_framework::Plugin)).

use crate::probe::Point;
use crate::profile::{PluginRef, Profile};
use secondmate_framework::Status;
use secondmate_model::{Atom, Pod};
use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The methods that are no extension points, as messages and metrics name them.
pub mod points {
    /// A PreFilter plugin is told that a pod is added.
    pub const ADD_POD: &str = "AddPod";
    /// A PreFilter plugin is told that a pod is removed.
    pub const REMOVE_POD: &str = "RemovePod";
    /// A PreBind plugin says whether it has anything to do.
    pub const PRE_BIND_PRE_FLIGHT: &str = "PreBindPreFlight";
    /// A plugin says what an event means for a pod.
    pub const QUEUEING_HINT: &str = "QueueingHint";
    /// The order of the queue.
    pub const QUEUE_SORT: &str = "QueueSort";
}

/// A plugin panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginPanic {
    /// The plugin.
    pub plugin: Atom,
    /// The extension point, or one of [`points`].
    pub point: &'static str,
    /// The node that it was asked about, if it was one.
    pub node: Option<Atom>,
    /// What it said.
    pub message: String,
}

impl PluginPanic {
    /// What happened, where plugin and point are named beside it.
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
    /// Who was running when the panic began that unwinds in this thread.
    static CULPRIT: RefCell<Option<Culprit>> = const { RefCell::new(None) };
}

/// Dropped by a panic only.
struct Running<'a> {
    plugin: &'a Atom,
    point: &'static str,
    node: Option<&'a Atom>,
}

impl Drop for Running<'_> {
    // Inlined, so that the fields stay in registers that hold them anyway: nothing is stored for a call that does not panic.
    #[inline(always)]
    fn drop(&mut self) {
        note_culprit(self.plugin, self.point, self.node);
    }
}

#[cold]
#[inline(never)]
fn note_culprit(plugin: &Atom, point: &'static str, node: Option<&Atom>) {
    CULPRIT.with_borrow_mut(|culprit| {
        // A plugin that others run inside of, such as the filters of a preemption, is dropped after them.
        culprit.get_or_insert_with(|| Culprit { plugin: plugin.clone(), point, node: node.cloned() });
    });
}

/// Runs a plugin: a panic inside is its, and is told by [`catch`].
#[inline]
pub(crate) fn run<T>(plugin: &Atom, point: &'static str, node: Option<&Atom>, ask: impl FnOnce() -> T) -> T {
    let running = Running { plugin, point, node };
    let answer = ask();
    std::mem::forget(running);
    answer
}

/// Does work in which plugins run for a pod. A panic of one of them is told to the profile's probe.
///
/// # Errors
/// A plugin panicked.
pub(crate) fn catch<T>(profile: &Profile, pod: &Pod, work: impl FnOnce() -> T) -> Result<T, PluginPanic> {
    // Left by a panic that nobody caught here.
    CULPRIT.take();
    // Whatever the work had in hand is dropped by unwinding; what outlives it is the caller's to judge.
    let panic = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => return Ok(answer),
        Err(panic) => panic,
    };
    let Some(Culprit { plugin, point, node }) = CULPRIT.take() else { resume_unwind(panic) };
    let panic = PluginPanic { plugin, point, node, message: message(&*panic) };
    profile.probe().plugin_panicked(&panic, pod);
    Err(panic)
}

/// Asks one plugin, outside of an evaluation.
///
/// # Errors
/// The plugin panicked; the profile's probe knows.
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
/// As for [`ask`].
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
