//! The host's functions, and what has to be unsafe to call them.
#![allow(unsafe_code, reason = "imports are called with addresses and lengths")]

pub use crate::export::Running;

use alloc::vec::Vec;
use core::cell::RefCell;

/// What a guest keeps between two calls of the host.
pub struct State<T>(RefCell<Option<T>>);

// SAFETY: a guest has one thread, and the host makes one call at a time.
#[cfg(target_arch = "wasm32")]
unsafe impl<T> Sync for State<T> {}
// SAFETY: elsewhere nobody calls the exports.
#[cfg(not(target_arch = "wasm32"))]
unsafe impl<T> Sync for State<T> {}

impl<T> State<T> {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Replaces it.
    pub fn set(&self, value: T) {
        *self.0.borrow_mut() = Some(value);
    }

    /// Does something with it; it is made first where it is not there.
    pub fn with<R>(&self, make: impl FnOnce() -> T, act: impl FnOnce(&mut T) -> R) -> R {
        act(self.0.borrow_mut().get_or_insert_with(make))
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where bytes lie, as the host reads it: the address in the upper half, the length in the lower.
#[must_use]
pub fn place<T>(items: &[T]) -> i64 {
    let address = u64::try_from(items.as_ptr().addr()).unwrap_or(0) << 32;
    let length = u64::try_from(size_of_val(items)).unwrap_or(0) & 0xffff_ffff;
    i64::from_le_bytes((address | length).to_le_bytes())
}

#[cfg(target_arch = "wasm32")]
mod host {
    #[link(wasm_import_module = "k8s.io/api")]
    unsafe extern "C" {
        #[link_name = "node"]
        pub fn node(name: *const u8, length: usize, buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "nodeList"]
        pub fn node_list(buffer: *mut u8, limit: usize) -> usize;
    }

    #[link(wasm_import_module = "k8s.io/klog")]
    unsafe extern "C" {
        #[link_name = "log"]
        pub fn log(severity: i32, message: *const u8, length: usize);
    }

    #[link(wasm_import_module = "k8s.io/scheduler")]
    unsafe extern "C" {
        #[link_name = "get_config"]
        pub fn get_config(buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "currentPod"]
        pub fn current_pod(buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "targetPod"]
        pub fn target_pod(buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "currentNodeName"]
        pub fn current_node_name(buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "filteredNodeList"]
        pub fn filtered_node_list(buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "nodeToStatusMap"]
        pub fn node_to_status_map(buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "nodeScoreList"]
        pub fn node_score_list(buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "result.status_reason"]
        pub fn status_reason(text: *const u8, length: usize);
        #[link_name = "result.node_names"]
        pub fn node_names(names: *const u8, length: usize);
        #[link_name = "result.cluster_events"]
        pub fn cluster_events(events: *const u8, length: usize);
        #[link_name = "result.nominated_node_name"]
        pub fn nominated_node_name(name: *const u8, length: usize);
        #[link_name = "result.normalized_score_list"]
        pub fn normalized_score_list(scores: *const u8, length: usize);
        #[link_name = "nodeImageStates"]
        pub fn node_image_states(name: *const u8, length: usize, buffer: *mut u8, limit: usize) -> usize;
        #[link_name = "handle.eventrecorder.eventf"]
        pub fn event(event: *const u8, length: usize);
        #[link_name = "handle.reject_waiting_pod"]
        pub fn reject_waiting_pod(uid: *const u8, length: usize, done: *mut u64, limit: usize);
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        #[link_name = "fd_write"]
        pub fn fd_write(descriptor: i32, pieces: *const Piece, number: usize, written: *mut usize) -> i32;
    }

    /// A piece of text, as WASI has it.
    #[repr(C)]
    pub struct Piece {
        pub text: *const u8,
        pub length: usize,
    }
}

/// Room for a first answer: most pods and all names fit.
#[cfg(target_arch = "wasm32")]
const FIRST_BYTES: usize = 4096;

/// Asks until the answer fits. The host returns its length in any case, and writes it where it fits.
#[cfg(target_arch = "wasm32")]
fn fetch(ask: impl Fn(*mut u8, usize) -> usize) -> Vec<u8> {
    let mut buffer: Vec<u8> = Vec::with_capacity(FIRST_BYTES);
    loop {
        let length = ask(buffer.as_mut_ptr(), buffer.capacity());
        if length <= buffer.capacity() {
            // SAFETY: the host has written so many bytes, or there are none.
            unsafe { buffer.set_len(length) };
            return buffer;
        }
        buffer.reserve(length);
    }
}

/// Functions by which the host is asked; where there is no host, nothing is known.
macro_rules! asking {
    ($($name:ident: $import:ident,)*) => {
        $(pub(crate) fn $name() -> Vec<u8> {
            #[cfg(target_arch = "wasm32")]
            {
                // SAFETY: the host writes no more than the buffer holds.
                fetch(|buffer, limit| unsafe { host::$import(buffer, limit) })
            }
            #[cfg(not(target_arch = "wasm32"))]
            Vec::new()
        })*
    };
}

asking! {
    config: get_config,
    current_pod: current_pod,
    target_pod: target_pod,
    current_node: current_node_name,
    node_list: node_list,
    feasible_nodes: filtered_node_list,
    statuses: node_to_status_map,
    scores: node_score_list,
}

/// Functions by which the host is told something.
macro_rules! telling {
    ($($name:ident: $import:ident,)*) => {
        $(pub(crate) fn $name(bytes: &[u8]) {
            #[cfg(target_arch = "wasm32")]
            // SAFETY: the host reads the bytes before it returns.
            unsafe {
                host::$import(bytes.as_ptr(), bytes.len());
            }
            #[cfg(not(target_arch = "wasm32"))]
            let _ = bytes;
        })*
    };
}

telling! {
    tell_reason: status_reason,
    tell_nodes: node_names,
    tell_events: cluster_events,
    tell_nomination: nominated_node_name,
    tell_scores: normalized_score_list,
    tell_event: event,
}

/// Functions by which the host is asked about a node.
macro_rules! asking_about {
    ($($name:ident: $import:ident,)*) => {
        $(pub(crate) fn $name(node: &str) -> Vec<u8> {
            #[cfg(target_arch = "wasm32")]
            {
                // SAFETY: as above.
                fetch(|buffer, limit| unsafe { host::$import(node.as_ptr(), node.len(), buffer, limit) })
            }
            #[cfg(not(target_arch = "wasm32"))]
            {
                let _ = node;
                Vec::new()
            }
        })*
    };
}

asking_about! {
    node: node,
    images: node_image_states,
}

/// Whether the pod waited and waits no more.
pub(crate) fn reject_waiting_pod(uid: &str) -> bool {
    #[cfg(target_arch = "wasm32")]
    {
        let mut done = 0;
        // SAFETY: the host writes so many bytes.
        unsafe {
            host::reject_waiting_pod(uid.as_ptr(), uid.len(), &mut done, size_of::<u64>());
        }
        done != 0
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        let _ = uid;
        false
    }
}

pub(crate) fn log(severity: i32, message: &str) {
    #[cfg(target_arch = "wasm32")]
    // SAFETY: the host reads the text before it returns.
    unsafe {
        host::log(severity, message.as_ptr(), message.len());
    }
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (severity, message);
}

/// What a guest of this crate needs that has no standard library.
#[cfg(target_arch = "wasm32")]
mod runtime {
    use alloc::string::ToString;

    #[global_allocator]
    static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

    /// The message goes to standard error: the host makes it part of what it says about the call.
    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        let text = info.to_string();
        let mut written = 0;
        let piece = super::host::Piece { text: text.as_ptr(), length: text.len() };
        // SAFETY: the host reads the text, and writes the length, before it returns.
        unsafe {
            super::host::fd_write(2, &piece, 1, &mut written);
        }
        core::arch::wasm32::unreachable()
    }
}
