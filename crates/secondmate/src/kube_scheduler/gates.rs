//! Feature gates: which ones exist, and what each means here.
//!
//! Control planes pass the same gates to all their components, so gates that concern other components are accepted. For those that concern
//! a scheduler, this program behaves as the defaults say; another value is rejected if it would change which node a pod gets, or whether it
//! gets one, since no pod must be scheduled by rules other than those that were asked for.

use super::values::{boolean, list};
use std::collections::BTreeMap;

const TABLE: &str = include_str!("feature-gates.txt");
/// The components that have these gates.
const COMPONENT: &str = "kube";

/// What a gate is about, if it concerns a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    /// Where pods go.
    Decisions,
    /// Pods with resource claims, which are not scheduled here.
    Claims,
    /// How kube-scheduler works internally.
    Inside,
    /// A page, which is served or not.
    Page,
}

/// The gate of the page `/flagz`.
const FLAGZ: &str = "ComponentFlagz";

use Concern::{Claims, Decisions, Inside, Page};

const OURS: &[(&str, Concern)] = &[
    ("CompositePodGroup", Decisions),
    ("GenericWorkload", Decisions),
    ("InPlacePodLevelResourcesVerticalScaling", Decisions),
    ("InPlacePodVerticalScalingSchedulerPreemption", Decisions),
    ("MatchLabelKeysInPodTopologySpread", Decisions),
    ("PodGroupPreemptionPolicy", Decisions),
    ("PodLevelResources", Decisions),
    ("StorageCapacityScoring", Decisions),
    ("TaintTolerationComparisonOperators", Decisions),
    ("TopologyAwareWorkloadScheduling", Decisions),
    ("VolumeLimitScaling", Decisions),
    ("DRAConsumableCapacity", Claims),
    ("DRADerivedAttributes", Claims),
    ("DRADeviceBindingConditions", Claims),
    ("DRADeviceCompatibilityGroups", Claims),
    ("DRADeviceTaintRules", Claims),
    ("DRADeviceTaints", Claims),
    ("DRAFractionalCapacityRange", Claims),
    ("DRAListTypeAttributes", Claims),
    ("DRANodeAllocatableResources", Claims),
    ("DRAOptionalNodeOperations", Claims),
    ("DRAPartitionableDevices", Claims),
    ("DRASchedulerFilterTimeout", Claims),
    ("DRAWorkloadResourceClaims", Claims),
    ("AtomicFIFO", Inside),
    ("ContextualLogging", Inside),
    ("CoordinatedLeaderElection", Inside),
    ("InOrderInformersBatchProcess", Inside),
    ("InterPodAffinityHostnameFastPath", Inside),
    ("LoggingAlphaOptions", Inside),
    ("LoggingBetaOptions", Inside),
    ("NominatedNodeNameForExpectation", Inside),
    ("OpportunisticBatching", Inside),
    ("SchedulerAsyncAPICalls", Inside),
    ("SchedulerAsyncPreemption", Inside),
    ("SchedulerPopFromBackoffQ", Inside),
    ("SchedulerPreQueueingHints", Inside),
    ("UnlockWhileProcessingFIFO", Inside),
    ("WatchListClient", Inside),
    (FLAGZ, Page),
    ("ComponentStatusz", Page),
];

/// A gate of kube-scheduler's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    default: bool,
    stage: &'static str,
    locked: bool,
}

fn known() -> BTreeMap<&'static str, Known> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let gate = |line: &'static str| {
        let mut words = line.split(' ');
        let (name, default, stage) = (words.next()?, words.next()?, words.next()?);
        Some((name, Known { default: default == "true", stage, locked: words.next().is_some() }))
    };
    lines.filter_map(gate).collect()
}

/// A gate whose state is known here, for `kubernetes_feature_enabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    /// Its name.
    pub gate: &'static str,
    /// Its stage: `alpha`, `beta`, `ga`, `deprecated`.
    pub stage: &'static str,
    /// Whether it is on.
    pub enabled: bool,
}

/// The gates that decide where pods go, and those of the pages, which are served or not. There is nothing to report for the others, since
/// this program does not have what they are about.
pub(crate) fn features(flagz: bool, statusz: bool) -> Vec<Feature> {
    let known = known();
    let of = |(gate, concern): &(&'static str, Concern)| {
        let Known { default, stage, .. } = *known.get(gate)?;
        let enabled = match concern {
            Decisions => default,
            Page if *gate == FLAGZ => flagz,
            Page => statusz,
            Claims | Inside => return None,
        };
        Some(Feature { gate, stage, enabled })
    };
    OURS.iter().filter_map(of).collect()
}

/// The result of reading the gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gates {
    /// Remarks on them.
    pub remarks: Vec<String>,
    /// Whether `/flagz` is served.
    pub flagz: bool,
    /// Whether `/statusz` is served.
    pub statusz: bool,
}

/// Reads the gates of the command line.
///
/// # Errors
/// A gate does not exist, its value is not a boolean or not allowed, or it would change decisions.
pub(super) fn read(given: &[String]) -> Result<Gates, String> {
    let known = known();
    let mut asked: BTreeMap<&str, bool> = BTreeMap::new();
    let items = list(given);
    for item in &items {
        let (name, value) = item
            .split_once('=')
            .ok_or_else(|| format!("feature gate {item:?}: expected NAME=true or NAME=false"))?;
        let name = match name.split_once(':') {
            None | Some((COMPONENT, _)) => name.rsplit(':').next().unwrap_or(name),
            Some((component, _)) => {
                return Err(format!(
                    "feature gate {item:?}: there is no component {component:?} but {COMPONENT}"
                ));
            }
        };
        let value = boolean(value).map_err(|why| format!("feature gate {item:?}: {why}"))?;
        let Some((name, gate)) = known.get_key_value(name) else {
            let nearest = nearest(name, known.keys().copied());
            return Err(format!("there is no feature gate {name:?}{nearest}"));
        };
        if gate.locked && value != gate.default {
            return Err(format!("feature gate {name} is locked to {}: remove it", gate.default));
        }
        asked.insert(name, value);
    }
    // All gates of a stage, except those that are named. Only those that concern us matter.
    for (all, stage) in [("AllAlpha", "alpha"), ("AllBeta", "beta")] {
        let Some(value) = asked.get(all).copied() else { continue };
        for (name, gate) in known.iter().filter(|(name, gate)| gate.stage == stage && **name != all) {
            if value != gate.default {
                asked.entry(name).or_insert(value);
            }
        }
    }
    judged(&asked, &known)
}

fn judged(asked: &BTreeMap<&str, bool>, known: &BTreeMap<&str, Known>) -> Result<Gates, String> {
    let mut gates = Gates { remarks: Vec::new(), flagz: true, statusz: true };
    let mut inside = Vec::new();
    for (name, concern) in OURS {
        let (Some(value), Some(gate)) = (asked.get(name), known.get(name)) else { continue };
        if *value == gate.default {
            continue;
        }
        match concern {
            Decisions => {
                return Err(format!(
                    "feature gate {name}={value} would change what is decided: here it is always {}; remove it",
                    gate.default
                ));
            }
            Claims => gates.remarks.push(format!(
                "feature gate {name} has no effect: pods with resource claims wait here whatever it says"
            )),
            Inside => inside.push(*name),
            Page if *name == FLAGZ => gates.flagz = *value,
            Page => gates.statusz = *value,
        }
    }
    if !inside.is_empty() {
        gates.remarks.push(format!(
            "feature gates {} have no effect: they are about how kube-scheduler works inside, not about what it decides",
            inside.join(", ")
        ));
    }
    Ok(gates)
}

/// Another name that may have been meant.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let distance = |other: &str| strsim::levenshtein(&name.to_lowercase(), &other.to_lowercase());
    match names.map(|other| (distance(other), other)).min() {
        Some((distance, other)) if distance <= name.len() / 3 + 1 => format!("; did you mean {other}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(gates: &str) -> Result<Gates, String> {
        read(&[gates.to_owned()])
    }

    #[test]
    fn every_gate_that_concerns_us_exists() {
        let known = known();
        for (name, _) in OURS {
            assert!(known.contains_key(name), "{name}");
        }
    }

    #[test]
    fn features_are_told_as_they_are_here() {
        let features = features(false, true);
        let enabled = |gate: &str| features.iter().find(|feature| feature.gate == gate).map(|f| f.enabled);
        assert_eq!(enabled("PodLevelResources"), Some(true));
        assert_eq!(enabled("GenericWorkload"), Some(false));
        assert_eq!((enabled("ComponentFlagz"), enabled("ComponentStatusz")), (Some(false), Some(true)));
        assert_eq!((enabled("OpportunisticBatching"), enabled("DRAConsumableCapacity")), (None, None));
    }

    #[test]
    fn gates_of_others_and_defaults_are_accepted() {
        let quiet = Gates { remarks: vec![], flagz: true, statusz: true };
        assert_eq!(of(""), Ok(quiet.clone()));
        assert_eq!(of("MemoryQoS=false,kube:HPAScaleToZero=false,PodLevelResources=true"), Ok(quiet.clone()));
        assert_eq!(of("DynamicResourceAllocation=true"), Ok(quiet.clone()));
        assert_eq!(of("AllAlpha=false"), Ok(quiet));
        let gates = of("ComponentFlagz=false,ComponentStatusz=0").expect("pages");
        assert_eq!((gates.flagz, gates.statusz), (false, false));
    }

    #[test]
    fn what_would_change_decisions_is_refused() {
        for (gates, why) in [
            ("GenericWorkload=true", "GenericWorkload=true would change what is decided"),
            ("PodLevelResources=false", "always true"),
            ("AllBeta=true", "GenericWorkload=true would change"),
            ("AllAlpha=true,CompositePodGroup=false", "InPlacePodVerticalScalingSchedulerPreemption=true"),
            ("DynamicResourceAllocation=false", "locked to true"),
            ("SchedulerAsyncPremption=true", "did you mean SchedulerAsyncPreemption?"),
            ("Nonsense=true", "there is no feature gate \"Nonsense\""),
            ("PodLevelResources", "NAME=true"),
            ("PodLevelResources=maybe", "true or false"),
            ("wardle:PodLevelResources=true", "no component \"wardle\""),
        ] {
            let error = of(gates).expect_err(gates);
            assert!(error.contains(why), "{gates}: {error}");
        }
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let gates = of("SchedulerAsyncAPICalls=true,DRAConsumableCapacity=false").expect("accepted");
        assert_eq!(gates.remarks.len(), 2, "{gates:?}");
        assert!(
            gates.remarks[0].contains("DRAConsumableCapacity")
                && gates.remarks[1].contains("SchedulerAsyncAPICalls")
        );
    }
}
