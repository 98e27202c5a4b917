//! What one pod asks for, in each of the ways in which kube-scheduler counts it.
//!
//! Upstream: `component-helpers/resource` (the sum over containers, overhead, in-place resize), `NodeInfo`'s pod resources in
//! `pkg/scheduler/framework/types.go`, and `plugins/noderesources`, all of 1.36.

use super::amounts::{Amounts, CPU, MEMORY};
use super::{ResourceError, Resources};
use crate::quantity::Quantity;
use crate::wire;
use smallvec::SmallVec;

/// CPU that a container without a CPU request counts for where a default is wanted, in milli-CPU.
pub const DEFAULT_MILLI_CPU_REQUEST: i64 = 100;
/// Memory that a container without a memory request counts for where a default is wanted, in bytes.
pub const DEFAULT_MEMORY_REQUEST: i64 = 200 * 1024 * 1024;

/// What one pod asks for. Overhead is included in all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodRequests {
    /// What NodeResourcesFit's filter compares: as the spec says, requests of the whole pod before those of its containers.
    /// Never negative.
    pub filter: Resources,
    /// What the pod takes on its node (`NodeInfo.Requested`), and what NodeResourcesBalancedAllocation adds: as `filter`, but
    /// during a resize of a running pod the most that may be in use.
    pub on_node: Resources,
    /// What NodeResourcesFit's scorer adds: containers of the spec only, with the defaults where one names no CPU or memory.
    pub scoring: Resources,
    /// CPU that the pod takes for scoring others (`NodeInfo.NonZeroRequested`): as `on_node` with the default.
    pub non_zero_milli_cpu: i64,
    /// Memory that the pod takes for scoring others (`NodeInfo.NonZeroRequested`): as `on_node` with the default.
    pub non_zero_memory: i64,
}

impl PodRequests {
    /// Computes the requests of a pod.
    ///
    /// # Errors
    /// If a quantity that counts does not parse.
    pub fn of(pod: &wire::Pod) -> Result<Self, ResourceError> {
        let overhead = Amounts::read(&pod.spec.overhead, format_args!("spec.overhead"))?;
        let pod_level = PodLevel::read(pod)?;
        let specified = Containers::read(pod)?;
        let running = specified.during_resize(pod)?;

        let scoring = {
            let mut sum = specified.sum(Defaults::BOTH);
            sum.add(&overhead);
            sum.to_resources()
        };
        let mut filter = specified.sum(Defaults::NONE);
        let mut on_node = match (&running, &pod_level) {
            (Some(running), _) => Some(running.sum(Defaults::NONE)),
            (None, Some(PodLevel { running: Some(_), .. })) => Some(filter.clone()),
            (None, _) => None,
        };
        if let Some(pod_level) = &pod_level {
            filter.replace(&pod_level.specified, &pod_level.specified);
            if let Some(on_node) = &mut on_node {
                pod_level.apply_running(on_node);
            }
        }
        filter.add(&overhead);
        if let Some(on_node) = &mut on_node {
            on_node.add(&overhead);
        }
        let on_node_amounts = on_node.as_ref().unwrap_or(&filter);
        let on_node = on_node_amounts.to_resources();

        let running = running.as_ref().unwrap_or(&specified);
        let (non_zero_milli_cpu, non_zero_memory) = match &pod_level {
            None if std::ptr::eq(running, &specified) => (scoring.milli_cpu, scoring.memory),
            None => {
                let mut sum = running.sum(Defaults::BOTH);
                sum.add(&overhead);
                cpu_and_memory(&sum)
            }
            // Where the pod as a whole asks for something, only what nobody names gets a default; overhead names it too.
            Some(pod_level) => match Defaults::missing_in(on_node_amounts) {
                Defaults::NONE => (on_node.milli_cpu, on_node.memory),
                defaults => {
                    let mut sum = running.sum(defaults);
                    pod_level.apply_running(&mut sum);
                    sum.add(&overhead);
                    cpu_and_memory(&sum)
                }
            },
        };

        // Upstream fills the filter's vector through a maximum with 0.
        let mut filter =
            if std::ptr::eq(on_node_amounts, &filter) { on_node.clone() } else { filter.to_resources() };
        filter.milli_cpu = filter.milli_cpu.max(0);
        filter.memory = filter.memory.max(0);
        filter.ephemeral_storage = filter.ephemeral_storage.max(0);
        for (_, amount) in &mut filter.scalars {
            *amount = (*amount).max(0);
        }
        Ok(Self { filter, on_node, scoring, non_zero_milli_cpu, non_zero_memory })
    }
}

fn cpu_and_memory(amounts: &Amounts) -> (i64, i64) {
    (
        amounts.native[CPU].unwrap_or_default().milli_value(),
        amounts.native[MEMORY].unwrap_or_default().value(),
    )
}

/// Which resources of a container get a default where it does not name them.
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

#[derive(Clone)]
struct InitContainer {
    /// Runs on beside the app containers.
    sidecar: bool,
    requests: Amounts,
}

impl Containers {
    /// As the spec says.
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

    /// As the status says too, where it reports resources of an app container or a sidecar. `None` where it does not.
    fn during_resize(&self, pod: &wire::Pod) -> Result<Option<Self>, ResourceError> {
        let app = &pod.status.container_statuses;
        let init = &pod.status.init_container_statuses;
        if app.iter().chain(init).all(|status| status.resources.is_none()) {
            return Ok(None);
        }
        let infeasible = is_resize_infeasible(pod);
        // Of several statuses of one name the last counts, and those of init containers come last.
        let requests = |name: &str, specified: &Amounts| {
            let last = |list: &str, statuses: &[wire::ContainerStatus]| {
                let index = statuses.iter().rposition(|status| *status.name == *name)?;
                let resources = match &statuses[index].resources {
                    Some(resources) => resources,
                    None => return Some(Ok(specified.clone())),
                };
                Some(
                    ResizeState::read(
                        &resources.requests,
                        &statuses[index].allocated_resources,
                        format_args!("status.{list}[{index}]"),
                    )
                    .map(|state| state.requests(specified, infeasible)),
                )
            };
            last("initContainerStatuses", init)
                .or_else(|| last("containerStatuses", app))
                .unwrap_or_else(|| Ok(specified.clone()))
        };
        let app =
            pod.spec.containers.iter().zip(&self.app).map(|(container, own)| requests(&container.name, own));
        let init = pod.spec.init_containers.iter().zip(&self.init).map(|(container, own)| {
            // An init container that is not a sidecar cannot be resized.
            if !own.sidecar {
                return Ok(own.clone());
            }
            Ok(InitContainer { sidecar: true, requests: requests(&container.name, &own.requests)? })
        });
        Ok(Some(Self { app: app.collect::<Result<_, _>>()?, init: init.collect::<Result<_, _>>()? }))
    }

    /// The most that the containers need at one time: while an init container runs, it and the sidecars before it; later the
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

/// Requests of the pod as a whole: they replace the sum over its containers.
struct PodLevel {
    specified: Amounts,
    /// As the status says too, where it reports resources of the pod.
    running: Option<Amounts>,
}

impl PodLevel {
    /// `None` where the pod as a whole asks for nothing that can be asked for at its level.
    fn read(pod: &wire::Pod) -> Result<Option<Self>, ResourceError> {
        let Some(resources) = &pod.spec.resources else { return Ok(None) };
        let specified =
            Amounts::read(&resources.requests, format_args!("spec.resources.requests"))?.pod_level();
        if specified.is_empty() {
            return Ok(None);
        }
        let running = match &pod.status.resources {
            None => None,
            Some(resources) => Some(
                ResizeState::read(
                    &resources.requests,
                    &pod.status.allocated_resources,
                    format_args!("status"),
                )?
                .requests(&specified, is_resize_infeasible(pod)),
            ),
        };
        Ok(Some(Self { specified, running }))
    }

    /// Replaces the sum over the containers. What is asked for but missing in the state of an infeasible resize becomes 0.
    fn apply_running(&self, sum: &mut Amounts) {
        sum.replace(&self.specified, self.running.as_ref().unwrap_or(&self.specified));
    }
}

/// What the kubelet says about a resize of a container or of the pod as a whole.
struct ResizeState {
    /// In effect now.
    actuated: Amounts,
    /// Granted, perhaps not in effect yet.
    allocated: Amounts,
}

impl ResizeState {
    /// `path` names the status that holds both lists.
    fn read(
        actuated: &wire::ResourceList,
        allocated: &wire::ResourceList,
        path: std::fmt::Arguments<'_>,
    ) -> Result<Self, ResourceError> {
        Ok(Self {
            actuated: Amounts::read(actuated, format_args!("{path}.resources.requests"))?,
            allocated: Amounts::read(allocated, format_args!("{path}.allocatedResources"))?,
        })
    }

    /// The most of what is asked for, granted and in effect; what is asked for does not count if it can never be granted.
    fn requests(self, specified: &Amounts, infeasible: bool) -> Amounts {
        let mut requests = if infeasible {
            self.actuated
        } else {
            let mut requests = specified.clone();
            requests.raise(&self.actuated);
            requests
        };
        requests.raise(&self.allocated);
        requests
    }
}

fn is_sidecar(container: &wire::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether the kubelet has said that the node can never grant the resize. The first condition of the type decides,
/// whatever its status.
fn is_resize_infeasible(pod: &wire::Pod) -> bool {
    let condition = pod.status.conditions.iter().find(|condition| *condition.kind == *"PodResizePending");
    condition.is_some_and(|condition| *condition.reason == *"Infeasible")
}
