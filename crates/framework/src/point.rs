//! The extension points that plugins are listed under, in one table that generates everything that covers all of them.

use crate::plugin::Plugin;
use serde::Serialize;
use std::sync::Arc;

macro_rules! extension_points {
    ($($(#[doc = $doc:literal])* $point:ident, $name:literal, $field:ident, $field_name:literal, $accessor:ident;)*) => {
        /// A stage in the scheduling of a pod at which plugins run, named as in kube-scheduler.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ExtensionPoint {
            $($(#[doc = $doc])* $point,)*
        }

        impl ExtensionPoint {
            /// Number of extension points.
            pub const COUNT: usize = [$($name,)*].len();

            /// All extension points, in the order in which kube-scheduler sets them up, which determines which error is reported
            /// first.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$point,)*];

            /// The name in metrics and messages: `PreFilter`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }

            /// The field of `plugins` in the configuration: `preFilter`.
            #[must_use]
            pub const fn field(self) -> &'static str {
                match self {
                    $(Self::$point => $field_name,)*
                }
            }

            /// Whether the plugin implements this extension point.
            #[must_use]
            pub fn is_point_of(self, plugin: &Arc<dyn Plugin>) -> bool {
                match self {
                    $(Self::$point => Arc::clone(plugin).$accessor().is_some(),)*
                }
            }
        }

        /// A value for each extension point.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct PerPoint<T> {
            $($(#[doc = $doc])* pub $field: T,)*
        }

        impl<T> PerPoint<T> {
            /// The value for one extension point.
            pub fn at(&self, point: ExtensionPoint) -> &T {
                match point {
                    $(ExtensionPoint::$point => &self.$field,)*
                }
            }

            /// Mutable access to the value for one extension point.
            pub fn at_mut(&mut self, point: ExtensionPoint) -> &mut T {
                match point {
                    $(ExtensionPoint::$point => &mut self.$field,)*
                }
            }
        }
    };
}

extension_points! {
    /// Once per pod, before any node is considered.
    PreFilter, "PreFilter", pre_filter, "preFilter", as_pre_filter;
    /// Once per pod and node: may the pod run there?
    Filter, "Filter", filter, "filter", as_filter;
    /// When no feasible node was found: can room be made?
    PostFilter, "PostFilter", post_filter, "postFilter", as_post_filter;
    /// After a node was chosen: claims what the pod needs, or releases it.
    Reserve, "Reserve", reserve, "reserve", as_reserve;
    /// Once per pod, before nodes are scored.
    PreScore, "PreScore", pre_score, "preScore", as_pre_score;
    /// Once per pod and feasible node: how good is it?
    Score, "Score", score, "score", as_score;
    /// Work that must be done before the pod is bound.
    PreBind, "PreBind", pre_bind, "preBind", as_pre_bind;
    /// Binds the pod: at least one plugin.
    Bind, "Bind", bind, "bind", as_bind;
    /// After the pod was bound.
    PostBind, "PostBind", post_bind, "postBind", as_post_bind;
    /// The last decision before binding: approve, deny, or wait.
    Permit, "Permit", permit, "permit", as_permit;
    /// Before a pod enters the active queue.
    PreEnqueue, "PreEnqueue", pre_enqueue, "preEnqueue", as_pre_enqueue;
    /// Orders the active queue: exactly one plugin, the same in all profiles.
    QueueSort, "QueueSort", queue_sort, "queueSort", as_queue_sort;
}
