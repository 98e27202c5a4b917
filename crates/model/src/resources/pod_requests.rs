//! What one pod requests, in each of the ways in which kube-scheduler counts it.
//!
//! Upstream: `component-helpers/resource` (the sum over containers, overhead, in-place resize), `NodeInfo`'s pod resources in
//! `pkg/scheduler/framework/types.go`, and `plugins/noderesources`, all of 1.37.

use super::amounts::{Amounts, CPU, MEMORY};
use super::{ResourceError, Resources};
use crate::quantity::Quantity;
use crate::wire;
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Default CPU of a container without a CPU request, where a default applies, in milli-CPU.
pub const DEFAULT_MILLI_CPU_REQUEST: i64 = 100;
/// Default memory of a container without a memory request, where a default applies, in bytes.
pub const DEFAULT_MEMORY_REQUEST: i64 = 200 * 1024 * 1024;

/// What one pod requests. All values include the overhead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodRequests {
    /// What NodeResourcesFit's filter compares: the requests of the spec, where those of the whole pod override those of its
    /// containers. Never negative.
    pub filter: Resources,
    /// What the pod uses on its node (`NodeInfo.Requested`), and what NodeResourcesBalancedAllocation adds: like `filter`, but
    /// during a resize of a running pod the maximum that may be in use.
    pub on_node: Resources,
    /// What the kubelet counts when it admits another pod, if that differs from `on_node`: the maximum of what it has allocated
    /// and what is in effect. Schedulers also count what the spec requests and is not allocated yet.
    ///
    /// Upstream: the allocation manager's `getAllocatedPods` replaces the resources of the spec with the allocated ones and keeps
    /// the status, which `NodeInfo` then counts as well.
    pub allocated: Option<Box<Resources>>,
    /// What NodeResourcesFit's scorer adds: only the containers of the spec, with defaults for those without a CPU or memory
    /// request.
    pub scoring: Resources,
    /// The pod's CPU when other pods are scored (`NodeInfo.NonZeroRequested`): like `on_node`, with the default.
    pub non_zero_milli_cpu: i64,
    /// The pod's memory when other pods are scored (`NodeInfo.NonZeroRequested`): like `on_node`, with the default.
    pub non_zero_memory: i64,
}

impl PodRequests {
    /// Computes the requests of a pod.
    ///
    /// # Errors
    /// If a quantity that counts does not parse.
    pub fn of(pod: &wire::Pod) -> Result<Self, ResourceError> {
        Ok(Self::read(pod)?.0)
    }

    /// Like [`Self::of`], and if an amount exceeds [`AMOUNT_MAX`](super::AMOUNT_MAX), also with the amounts clamped.
    ///
    /// # Errors
    /// If a quantity that counts does not parse.
    pub(crate) fn read(pod: &wire::Pod) -> Result<(Self, Option<Box<Self>>), ResourceError> {
        let beyond = Cell::new(false);
        let requests = Self::compute(pod, &|amounts| {
            beyond.set(beyond.get() || amounts.exceeds_bound());
            amounts.to_resources()
        })?;
        let bounded = match beyond.get() {
            true => Some(Box::new(Self::compute(pod, &Amounts::to_bounded_resources)?)),
            false => None,
        };
        Ok((requests, bounded))
    }

    fn compute(pod: &wire::Pod, integers: &dyn Fn(&Amounts) -> Resources) -> Result<Self, ResourceError> {
        let overhead = Amounts::read(&pod.spec.overhead, format_args!("spec.overhead"))?;
        let pod_level = PodLevel::read(pod)?;
        let specified = Containers::read(pod)?;
        let running = Running::read(pod, &specified)?;

        let scoring = {
            let mut sum = specified.sum(Defaults::BOTH);
            sum.add(&overhead);
            integers(&sum)
        };
        let on_node_sum = |defaults: Defaults| {
            let mut sum = match &running {
                Some(running) => running.sum(&specified, defaults),
                None => specified.sum(defaults),
            };
            if let Some(pod_level) = &pod_level {
                sum.replace(pod_level.effective.as_ref().unwrap_or(&pod_level.specified));
            }
            sum.add(&overhead);
            sum
        };
        let mut filter = specified.sum(Defaults::NONE);
        if let Some(pod_level) = &pod_level {
            filter.replace(&pod_level.specified);
        }
        filter.add(&overhead);
        let resized = running.is_some() || pod_level.as_ref().is_some_and(|level| level.effective.is_some());
        let in_use = resized.then(|| on_node_sum(Defaults::NONE));
        let on_node_amounts = in_use.as_ref().unwrap_or(&filter);
        let on_node = integers(on_node_amounts);
        let allocated = resized.then(|| {
            let mut sum = match &running {
                Some(running) => running.without_spec(),
                None => specified.sum(Defaults::NONE),
            };
            if let Some(pod_level) = &pod_level {
                sum.replace(pod_level.without_spec.as_ref().unwrap_or(&pod_level.specified));
            }
            sum.add(&overhead);
            integers(&sum)
        });
        let allocated = allocated.filter(|allocated| *allocated != on_node).map(Box::new);
        let cpu_and_memory = |sum: Amounts| {
            let Resources { milli_cpu, memory, .. } = integers(&sum);
            (milli_cpu, memory)
        };

        let (non_zero_milli_cpu, non_zero_memory) = match &pod_level {
            None if !resized => (scoring.milli_cpu, scoring.memory),
            None => cpu_and_memory(on_node_sum(Defaults::BOTH)),
            // If there are pod-level requests, only what nothing names gets a default; overhead counts as naming it.
            Some(_) => match Defaults::missing_in(on_node_amounts) {
                Defaults::NONE => (on_node.milli_cpu, on_node.memory),
                defaults => cpu_and_memory(on_node_sum(defaults)),
            },
        };

        // Upstream computes the filter's vector through a maximum with 0.
        let mut filter = if resized { integers(&filter) } else { on_node.clone() };
        filter.milli_cpu = filter.milli_cpu.max(0);
        filter.memory = filter.memory.max(0);
        filter.ephemeral_storage = filter.ephemeral_storage.max(0);
        for (_, amount) in &mut filter.scalars {
            *amount = (*amount).max(0);
        }
        Ok(Self { filter, on_node, allocated, scoring, non_zero_milli_cpu, non_zero_memory })
    }
}

/// Which resources of a container get a default if it does not request them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Defaults {
    cpu: bool,
    memory: bool,
}

impl Defaults {
    const NONE: Self = Self { cpu: false, memory: false };
    const BOTH: Self = Self { cpu: true, memory: true };

    fn missing_in(amounts: &Amounts) -> Self {
        Self { cpu: amounts.native[CPU].is_none(), memory: amounts.native[MEMORY].is_none() }
    }

    fn fill(self, sum: &mut Amounts, container: &Amounts) {
        let mut fill = |index: usize, amount: Quantity| {
            if container.native[index].is_none() {
                sum.native[index] = Some(sum.native[index].map_or(amount, |own| own.saturating_add(amount)));
            }
        };
        if self.cpu {
            fill(CPU, Quantity::from_milli(DEFAULT_MILLI_CPU_REQUEST));
        }
        if self.memory {
            fill(MEMORY, Quantity::from_units(DEFAULT_MEMORY_REQUEST));
        }
    }
}

/// Requests of the containers, in the order of the spec.
struct Containers {
    app: SmallVec<[Amounts; 1]>,
    init: Vec<InitContainer>,
}

struct InitContainer {
    /// Keeps running beside the app containers.
    sidecar: bool,
    requests: Amounts,
}

impl Containers {
    /// The requests of the spec.
    fn read(pod: &wire::Pod) -> Result<Self, ResourceError> {
        let mut containers = Self { app: SmallVec::new(), init: Vec::new() };
        for (index, container) in pod.spec.containers.iter().enumerate() {
            let path = format_args!("spec.containers[{index}].resources.requests");
            containers.app.push(Amounts::read(&container.resources.requests, path)?);
        }
        for (index, container) in pod.spec.init_containers.iter().enumerate() {
            let path = format_args!("spec.initContainers[{index}].resources.requests");
            let requests = Amounts::read(&container.resources.requests, path)?;
            containers.init.push(InitContainer { sidecar: is_sidecar(container), requests });
        }
        Ok(containers)
    }

    /// The same containers with other requests; `of` is given each name and the requests of its spec.
    fn with_requests<'a>(&'a self, pod: &wire::Pod, of: impl Fn(&str, &'a Amounts) -> Amounts) -> Self {
        let app = pod.spec.containers.iter().zip(&self.app).map(|(container, own)| of(&container.name, own));
        let init = pod.spec.init_containers.iter().zip(&self.init).map(|(container, own)| InitContainer {
            sidecar: own.sidecar,
            requests: of(&container.name, &own.requests),
        });
        Self { app: app.collect(), init: init.collect() }
    }

    /// The maximum that the containers need at one time: an init container and the sidecars before it while it runs; later, the
    /// app containers and all sidecars.
    fn sum(&self, defaults: Defaults) -> Amounts {
        let mut sum = Amounts::default();
        for container in &self.app {
            sum.add(container);
            defaults.fill(&mut sum, container);
        }
        if self.init.is_empty() {
            return sum;
        }
        let mut sidecars = Amounts::default();
        let mut peak = Amounts::default();
        for InitContainer { sidecar, requests } in &self.init {
            if *sidecar {
                for sum in [&mut sum, &mut sidecars] {
                    sum.add(requests);
                    defaults.fill(sum, requests);
                }
                peak.raise(&sidecars);
            } else {
                let mut starting = requests.clone();
                defaults.fill(&mut starting, requests);
                starting.add(&sidecars);
                peak.raise(&starting);
            }
        }
        sum.raise(&peak);
        sum
    }
}

/// What the kubelet reports about a resize of a container.
#[derive(Default)]
struct Reported {
    /// Granted, possibly not in effect yet.
    allocated: Option<Amounts>,
    /// In effect now.
    actuated: Option<Amounts>,
}

/// The requests of a pod on a node whose status differs from its spec. Each is a sum over the whole pod, and the greatest counts.
struct Running {
    allocated: Part,
    actuated: Part,
    /// The node can never grant what the spec requests, so the spec does not count.
    infeasible: bool,
}

/// One of the two sums of the status.
enum Part {
    /// Reported per container.
    Containers(Containers),
    /// Reported for the pod as a whole.
    Pod(Amounts),
}

impl Part {
    fn raise(&self, sum: &mut Amounts, defaults: Defaults) {
        match self {
            Self::Containers(containers) => sum.raise(&containers.sum(defaults)),
            Self::Pod(amounts) => sum.raise(amounts),
        }
    }
}

impl Running {
    /// `None` if the status changes nothing.
    fn read(pod: &wire::Pod, specified: &Containers) -> Result<Option<Self>, ResourceError> {
        let infeasible = is_resize_infeasible(pod);
        let actuated = pod.status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        if let (Some(allocated), Some(actuated)) = (&pod.status.allocated_resources, actuated) {
            return Ok(Some(Self {
                allocated: Part::Pod(Amounts::read(allocated, format_args!("status.allocatedResources"))?),
                actuated: Part::Pod(Amounts::read(actuated, format_args!("status.resources.requests"))?),
                infeasible,
            }));
        }
        let reported = Reported::of(pod)?;
        if !infeasible && reported.values().all(|r| r.allocated.is_none() && r.actuated.is_none()) {
            return Ok(None);
        }
        let unknown = |own: &Amounts| if infeasible { Amounts::default() } else { own.clone() };
        let status = |name: &str| reported.get(name);
        let allocated = specified.with_requests(pod, |name, own| {
            status(name).and_then(|r| r.allocated.clone()).unwrap_or_else(|| unknown(own))
        });
        let actuated = specified.with_requests(pod, |name, own| {
            status(name)
                .and_then(|r| r.actuated.as_ref().or(r.allocated.as_ref()).cloned())
                .unwrap_or_else(|| unknown(own))
        });
        Ok(Some(Self {
            allocated: Part::Containers(allocated),
            actuated: Part::Containers(actuated),
            infeasible,
        }))
    }

    fn sum(&self, specified: &Containers, defaults: Defaults) -> Amounts {
        let mut sum = if self.infeasible { Amounts::default() } else { specified.sum(defaults) };
        self.raise(&mut sum, defaults);
        sum
    }

    /// What the kubelet counts, in whose eyes the spec is what it has allocated.
    fn without_spec(&self) -> Amounts {
        let mut sum = Amounts::default();
        self.raise(&mut sum, Defaults::NONE);
        sum
    }

    fn raise(&self, sum: &mut Amounts, defaults: Defaults) {
        self.actuated.raise(sum, defaults);
        self.allocated.raise(sum, defaults);
    }
}

impl Reported {
    /// By container name. Of several statuses with the same name, the first counts; those of app containers come first.
    fn of(pod: &wire::Pod) -> Result<BTreeMap<&str, Self>, ResourceError> {
        let mut reported = BTreeMap::new();
        let lists = [
            ("containerStatuses", &pod.status.container_statuses),
            ("initContainerStatuses", &pod.status.init_container_statuses),
        ];
        for (list, statuses) in lists {
            for (index, status) in statuses.iter().enumerate() {
                let actuated = status.resources.as_ref().and_then(|resources| resources.requests.as_ref());
                let read = |amounts: Option<&wire::ResourceList>, field: &str| {
                    let path = format_args!("status.{list}[{index}].{field}");
                    amounts.map(|amounts| Amounts::read(amounts, path)).transpose()
                };
                let status_reported = Self {
                    allocated: read(status.allocated_resources.as_ref(), "allocatedResources")?,
                    actuated: read(actuated, "resources.requests")?,
                };
                reported.entry(&*status.name).or_insert(status_reported);
            }
        }
        Ok(reported)
    }
}

/// Pod-level requests: they replace the sum over the containers.
struct PodLevel {
    specified: Amounts,
    /// Combined with the status, if it reports pod-level resources.
    effective: Option<Amounts>,
    /// Likewise, but what is allocated takes the place of what is specified, as far as the status says so.
    without_spec: Option<Amounts>,
}

impl PodLevel {
    /// `None` if nothing is requested that can be requested at the pod level.
    fn read(pod: &wire::Pod) -> Result<Option<Self>, ResourceError> {
        let Some(resources) = &pod.spec.resources else { return Ok(None) };
        let specified =
            Amounts::read(&resources.requests, format_args!("spec.resources.requests"))?.pod_level();
        if specified.is_empty() {
            return Ok(None);
        }
        let Some(actuated) = &pod.status.resources else {
            return Ok(Some(Self { specified, effective: None, without_spec: None }));
        };
        // What can never be granted does not count.
        let mut effective = if is_resize_infeasible(pod) { Amounts::default() } else { specified.clone() };
        let mut without_spec = match &pod.status.allocated_resources {
            Some(list) => Amounts::read(list, format_args!("status.allocatedResources"))?.pod_level(),
            None => effective.clone(),
        };
        if let Some(list) = &actuated.requests {
            without_spec.raise(&Amounts::read(list, format_args!("status.resources.requests"))?.pod_level());
        }
        effective.raise(&without_spec);
        Ok(Some(Self { specified, effective: Some(effective), without_spec: Some(without_spec) }))
    }
}

fn is_sidecar(container: &wire::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether the kubelet has said that the node can never grant the resize. Upstream looks at the first condition of the type,
/// whatever its status.
fn is_resize_infeasible(pod: &wire::Pod) -> bool {
    let condition = pod.status.conditions.iter().find(|condition| *condition.kind == *"PodResizePending");
    condition.is_some_and(|condition| *condition.reason == *"Infeasible")
}
