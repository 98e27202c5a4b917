//! DynamicResources: rejects, with a clear message, pods that need dynamic resource allocation, which this scheduler does not implement.
//!
//! For other pods it behaves like upstream's plugin: it rejects no node and scores 0 everywhere. A pod that requests an extended resource
//! of a DeviceClass may go to nodes where a device plugin provides the resource; all other nodes are rejected.
//!
//! Upstream looks for a pod's claims before the pod enters the queue. Here such a pod enters the queue, so that its owner learns of the
//! rejection: a pod that is held back gets no event.

use crate::arguments;
use crate::device_classes;
use secondmate_framework::{
    ActionType, Code, Context, CycleState, Declaration, EventRegistration, EventResource, Fact, Filter,
    Handle, Hint, NodeParts, NodeStatuses, Normalization, ObjectChange, Plugin, PluginError, PodParts,
    PostFilter, PostFilterOutcome, PreFilter, PreFilterOutcome, Reading, RunFilters, Score, Status,
};
use secondmate_model::objects::ObjectKind;
use secondmate_model::{Atom, NodeInfo, Pod};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use smallvec::SmallVec;
use std::sync::Arc;

/// Name of the plugin.
pub const NAME: &str = "DynamicResources";

const CLAIMS_REFUSED: &str = "pod uses resource claims (dynamic resource allocation), which this scheduler does not allocate: \
                              recreate it with a schedulerName that does, such as default-scheduler";
/// Upstream's error if its PreFilter did not run, for example because an earlier one rejected the pod.
const NO_STATE: &str = "not found";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct DynamicResources;

/// The timeouts are accepted for the sake of existing configurations: nothing is allocated, so nothing is waited for.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Args {
    #[serde(rename = "filterTimeout")]
    _filter_timeout: Option<IgnoredAny>,
    #[serde(rename = "bindingTimeout")]
    _binding_timeout: Option<IgnoredAny>,
}

/// Creates the plugin from `DynamicResourcesArgs`.
///
/// # Errors
/// A field that these arguments do not have.
pub fn new(args: &Value, _handle: &Handle) -> Result<Arc<dyn Plugin>, PluginError> {
    let _: Args = arguments::parse(NAME, args)?;
    Ok(Arc::new(DynamicResources))
}

/// The pod's requests that concern this plugin; empty for pods that need no dynamic resource allocation.
#[derive(Clone, Default)]
struct Extended(SmallVec<[ExtendedResource; 1]>);

#[derive(Clone)]
struct ExtendedResource {
    name: Atom,
    /// The DeviceClass that provides the resource, if one does.
    class: Option<Atom>,
}

impl Extended {
    /// The pod's extended resources, if a DeviceClass provides one of them.
    fn of(cx: &Context<'_>, pod: &Pod) -> Self {
        let objects = cx.snapshot.objects();
        if objects.device_classes.is_empty() {
            return Self::default();
        }
        let asked = pod
            .requests
            .filter
            .scalars
            .iter()
            .filter(|(name, amount)| *amount != 0 && device_classes::may_provide(name));
        let resources: SmallVec<[ExtendedResource; 1]> = asked
            .map(|(name, _)| ExtendedResource {
                name: name.clone(),
                class: device_classes::providing(objects, name).cloned(),
            })
            .collect();
        if resources.iter().any(|resource| resource.class.is_some()) {
            Self(resources)
        } else {
            Self::default()
        }
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &str {
        NAME
    }

    fn declaration(&self) -> Declaration {
        Declaration::of(PodParts::REQUESTS | PodParts::RESOURCE_CLAIMS, NodeParts::ALLOCATABLE)
            .with_objects(&[ObjectKind::DeviceClass])
    }

    fn reading(&self, _cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>) -> Option<Reading> {
        // Most pods do not concern it, whatever they request.
        state.read::<Extended>()?.0.is_empty().then(Reading::nothing)
    }

    fn as_pre_filter(self: Arc<Self>) -> Option<Arc<dyn PreFilter>> {
        Some(self)
    }

    fn as_filter(self: Arc<Self>) -> Option<Arc<dyn Filter>> {
        Some(self)
    }

    fn as_post_filter(self: Arc<Self>) -> Option<Arc<dyn PostFilter>> {
        Some(self)
    }

    fn as_score(self: Arc<Self>) -> Option<Arc<dyn Score>> {
        Some(self)
    }

    /// Upstream also registers for claims and slices, which cannot cure a rejection here.
    fn events(&self) -> Vec<EventRegistration> {
        let nodes = ActionType::ADD | ActionType::UPDATE_NODE_LABEL | ActionType::UPDATE_NODE_ALLOCATABLE;
        vec![
            EventRegistration::new(EventResource::Node, nodes),
            EventRegistration::new(EventResource::DeviceClass, ActionType::ADD | ActionType::UPDATE),
        ]
    }

    fn hint(&self, pod: &Pod, _change: &ObjectChange) -> Hint {
        // A pod's claims never change, and so neither does the rejection.
        if pod.has_resource_claims { Hint::Skip } else { Hint::Queue }
    }

    fn facts(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        _pod: &Arc<Pod>,
        node: Option<&NodeInfo>,
    ) -> Vec<Fact> {
        let (Some(node), Some(Extended(resources))) = (node, state.read()) else { return Vec::new() };
        let offered = |name: &Atom| node.node().allocatable.resources.scalar(name).unwrap_or(0) > 0;
        let fact = |ExtendedResource { name, .. }: &ExtendedResource| {
            Fact::new(format!("offers no {name}"))
                .helped_by(format!("a node with {name} from a device plugin"))
        };
        resources.iter().filter(|resource| !offered(&resource.name)).map(fact).collect()
    }
}

impl PreFilter for DynamicResources {
    fn pre_filter(&self, cx: &Context<'_>, state: &mut CycleState, pod: &Arc<Pod>) -> PreFilterOutcome {
        if pod.has_resource_claims {
            state.write(Extended::default());
            return Status::unresolvable(CLAIMS_REFUSED).into();
        }
        let extended = Extended::of(cx, pod);
        let nothing_to_do = extended.0.is_empty();
        state.write(extended);
        if nothing_to_do { Status::skip().into() } else { Status::SUCCESS.into() }
    }
}

impl Filter for DynamicResources {
    fn filter(&self, _cx: &Context<'_>, state: &CycleState, _pod: &Arc<Pod>, node: &NodeInfo) -> Status {
        let Some(Extended(resources)) = state.read() else { return Status::error(NO_STATE) };
        let mut refused = None;
        for resource in resources {
            let allocatable = node.node().allocatable.resources.scalar(&resource.name);
            match &resource.class {
                Some(class) if allocatable.unwrap_or(0) == 0 => {
                    refused = refused.or(Some((&resource.name, class)))
                }
                None if allocatable.is_none() => return Status::unresolvable("cannot fit resource"),
                _ => {}
            }
        }
        match refused {
            None => Status::SUCCESS,
            Some((name, class)) => Status::unresolvable(format!(
                "node(s) have no {name} from a device plugin, and this scheduler does not allocate devices of \
                 DeviceClass {class} (dynamic resource allocation)"
            )),
        }
    }
}

impl PostFilter for DynamicResources {
    fn post_filter(
        &self,
        _cx: &Context<'_>,
        state: &mut CycleState,
        _pod: &Arc<Pod>,
        _statuses: &NodeStatuses,
        _filters: &dyn RunFilters,
    ) -> PostFilterOutcome {
        match state.read::<Extended>() {
            None => Status::error(NO_STATE).into(),
            // There is nothing that it could free, and that needs no reason.
            Some(_) => Status::with_reasons(Code::Unschedulable, []).into(),
        }
    }

    fn fails_alike(&self) -> bool {
        true
    }
}

impl Score for DynamicResources {
    fn score(
        &self,
        _cx: &Context<'_>,
        state: &CycleState,
        _pod: &Arc<Pod>,
        _node: &NodeInfo,
    ) -> Result<i64, Status> {
        // On a node that passed the filter, nothing is allocated for the pod.
        if state.read::<Extended>().is_some() { Ok(0) } else { Err(Status::error(NO_STATE)) }
    }

    fn normalization(&self) -> Normalization {
        Normalization::ToMaximum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NotAsked, added, context, node, pod, snapshot};
    use secondmate_framework::Snapshot;
    use serde_json::json;

    const REFUSED: &str = "node(s) have no example.com/gpu from a device plugin, and this scheduler does not allocate devices of \
                           DeviceClass gpu (dynamic resource allocation)";

    fn with_class() -> Snapshot {
        snapshot(vec![
            json!({"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}}),
        ])
    }

    fn asking(requests: Value) -> Arc<Pod> {
        pod(json!({"spec": {"containers": [{"resources": {"requests": requests}}]}}))
    }

    fn offering(allocatable: Value) -> NodeInfo {
        node(json!({"metadata": {"name": "n"}, "status": {"allocatable": allocatable}}))
    }

    /// PreFilter's status, and the state that it left.
    fn pre_filter(snapshot: &Snapshot, pod: &Arc<Pod>) -> (Status, CycleState) {
        let mut state = CycleState::new();
        let outcome = DynamicResources.pre_filter(&context(snapshot), &mut state, pod);
        assert_eq!(outcome.nodes, None);
        (outcome.status, state)
    }

    fn post_filter(state: &mut CycleState) -> Status {
        let snapshot = Snapshot::default();
        let statuses = NodeStatuses::default();
        DynamicResources.post_filter(&context(&snapshot), state, &pod(json!({})), &statuses, &NotAsked).status
    }

    #[test]
    fn pods_without_claims_pass_and_score_nothing() {
        for (snapshot, pod) in [
            (Snapshot::default(), pod(json!({}))),
            (Snapshot::default(), asking(json!({"example.com/gpu": "1"}))),
            (with_class(), asking(json!({"example.com/nic": "1", "cpu": "1"}))),
            (with_class(), asking(json!({"example.com/gpu": "0"}))),
        ] {
            let (status, mut state) = pre_filter(&snapshot, &pod);
            assert_eq!(status, Status::skip());
            let cx = context(&snapshot);
            assert_eq!(DynamicResources.score(&cx, &state, &pod, &offering(json!({}))), Ok(0));
            let mut scores = [0, 0];
            assert_eq!(DynamicResources.normalize(&cx, &state, &pod, &[], &mut scores), Status::SUCCESS);
            assert_eq!(scores, [0, 0]);
            assert_eq!(post_filter(&mut state), Status::with_reasons(Code::Unschedulable, []));
        }
    }

    #[test]
    fn pods_with_claims_are_refused_for_good() {
        let claiming = pod(json!({"spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}}));
        let (status, mut state) = pre_filter(&Snapshot::default(), &claiming);
        let reason = "pod uses resource claims (dynamic resource allocation), which this scheduler does not allocate: recreate it \
                      with a schedulerName that does, such as default-scheduler";
        assert_eq!(status, Status::unresolvable(reason));
        assert_eq!(post_filter(&mut state), Status::with_reasons(Code::Unschedulable, []));
        assert_eq!(DynamicResources.hint(&claiming, &added(&offering(json!({})))), Hint::Skip);
        assert_eq!(DynamicResources.hint(&pod(json!({})), &added(&offering(json!({})))), Hint::Queue);
    }

    #[test]
    fn a_resource_of_a_device_class_is_had_from_device_plugins_only() {
        let snapshot = with_class();
        let cx = context(&snapshot);
        let pod = asking(json!({"example.com/gpu": "1", "example.com/nic": "1"}));
        let (status, mut state) = pre_filter(&snapshot, &pod);
        assert_eq!(status, Status::SUCCESS);
        for (allocatable, expected) in [
            (json!({"example.com/gpu": "4", "example.com/nic": "1"}), Status::SUCCESS),
            // If there are too few, it is up to NodeResourcesFit to reject.
            (json!({"example.com/gpu": "4", "example.com/nic": "0"}), Status::SUCCESS),
            (json!({"example.com/gpu": "0", "example.com/nic": "1"}), Status::unresolvable(REFUSED)),
            (json!({"example.com/nic": "1"}), Status::unresolvable(REFUSED)),
            (json!({"example.com/gpu": "4"}), Status::unresolvable("cannot fit resource")),
            (json!({}), Status::unresolvable("cannot fit resource")),
        ] {
            let verdict = DynamicResources.filter(&cx, &state, &pod, &offering(allocatable.clone()));
            assert_eq!(verdict, expected, "{allocatable}");
        }
        assert_eq!(DynamicResources.score(&cx, &state, &pod, &offering(json!({}))), Ok(0));
        assert_eq!(post_filter(&mut state), Status::with_reasons(Code::Unschedulable, []));
    }

    #[test]
    fn without_pre_filter_everything_fails() {
        let snapshot = Snapshot::default();
        let cx = context(&snapshot);
        let mut state = CycleState::new();
        let (pod, node) = (pod(json!({})), offering(json!({})));
        assert_eq!(post_filter(&mut state), Status::error("not found"));
        assert_eq!(DynamicResources.filter(&cx, &state, &pod, &node), Status::error("not found"));
        assert_eq!(DynamicResources.score(&cx, &state, &pod, &node), Err(Status::error("not found")));
    }

    #[test]
    fn timeouts_of_existing_configurations_are_read() {
        let make = |args| new(&args, &Handle::default()).map(|_| ());
        assert_eq!(make(json!({"filterTimeout": "10s", "bindingTimeout": "10m"})), Ok(()));
        assert!(make(json!({"filterTimeouts": "10s"})).is_err());
    }
}
