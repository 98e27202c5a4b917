//! Pods that wait for events: in order of arrival, and by kind, so that the cost of an event depends on what it can concern.
//!
//! Pods are of the same kind if the same plugins of a profile rejected them and they are equal in everything that those plugins
//! read ([`Declaration::pod`](secondmate_framework::Declaration::pod)). A hint is the same for all pods of a kind, so it is
//! requested once. If a plugin does not declare what it reads, or what it reads cannot be compared, each pod is a kind of its
//! own.

use super::moves::Strategy;
use super::{Entry, Profiles};
use rustc_hash::{FxHashMap, FxHasher};
use secondmate_cycle::{Profile, hash_parts, same_parts};
use secondmate_framework::{ClusterEvent, EventResource, PodParts};
use secondmate_model::{Atom, Pod, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Waiting pods.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By ticket: each pod and the number of its kind.
    pods: BTreeMap<u64, (Arc<Pod>, u64)>,
    kinds: FxHashMap<u64, Kind>,
    /// Kinds by the profile and the plugin that rejected their pods.
    by_rejector: BTreeMap<(Atom, Atom), BTreeSet<u64>>,
    /// Kinds of pods that can be compared, by hash.
    by_hash: FxHashMap<u64, Vec<u64>>,
    next_kind: u64,
}

/// Pods that are equivalent for the plugins that rejected them.
#[derive(Debug)]
struct Kind {
    profile: Atom,
    rejected_by: BTreeSet<Atom>,
    pending_by: BTreeSet<Atom>,
    /// The parts in which they are equal; `None` if the pod is the only one of its kind.
    parts: Option<PodParts>,
    hash: u64,
    tickets: BTreeSet<u64>,
}

impl Kind {
    fn of(entry: &Entry, profiles: &Profiles) -> Self {
        let pod = &entry.queued.pod;
        let profile = profiles.get(&pod.scheduler_name);
        let parts = profile.and_then(|profile| comparable_parts(entry, profile));
        let mut hasher = FxHasher::default();
        if let Some(parts) = parts {
            (&pod.scheduler_name, &entry.rejected_by, &entry.pending_by).hash(&mut hasher);
            hash_parts(pod, parts, &mut hasher);
        }
        Self {
            profile: pod.scheduler_name.clone(),
            rejected_by: entry.rejected_by.clone(),
            pending_by: entry.pending_by.clone(),
            parts,
            hash: hasher.finish(),
            tickets: BTreeSet::new(),
        }
    }

    fn rejectors(&self) -> impl Iterator<Item = &Atom> {
        self.rejected_by.iter().chain(self.pending_by.difference(&self.rejected_by))
    }
}

/// All parts that the rejecting plugins read of the pod, if those can be compared.
fn comparable_parts(entry: &Entry, profile: &Profile) -> Option<PodParts> {
    let mut parts = PodParts::NONE;
    for name in entry.rejectors() {
        // A plugin that is not in the profile gives no hint for any event.
        let Some(plugin) = profile.plugins().iter().find(|plugin| plugin.name == *name) else { continue };
        let declared = profile.declaration(plugin);
        if !declared.tells_what_it_reads() {
            return None;
        }
        parts = parts | declared.pod;
    }
    let volumes = parts.contains(PodParts::VOLUMES) && !entry.queued.pod.volumes.is_empty();
    (!volumes).then_some(parts)
}

impl Waiting {
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    pub fn get(&self, ticket: u64) -> Option<&Uid> {
        self.pods.get(&ticket).map(|(pod, _)| &pod.uid)
    }

    pub fn all(&self) -> impl Iterator<Item = &Uid> {
        self.pods.values().map(|(pod, _)| &pod.uid)
    }

    /// Number of kinds.
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// The pods that an event `concerns` and may help, in order of arrival, each with the effect of the event: for a wildcard,
    /// all of them; otherwise those for which a rejecting plugin registered the event and whose `strategy` is not to wait. The
    /// strategy is determined for one pod of each kind, and for the pod that the event is about if that one waits itself, under
    /// the ticket `own`.
    pub fn helped(
        &self,
        event: &ClusterEvent,
        own: Option<u64>,
        profiles: &Profiles,
        concerns: &dyn Fn(&Pod) -> bool,
        strategy: impl Fn(&Pod) -> Strategy,
    ) -> Vec<(Uid, Strategy)> {
        if event.resource == EventResource::Wildcard {
            let pods = self.pods.values().map(|(pod, _)| pod).filter(|pod| concerns(pod));
            return pods.map(|pod| (pod.uid.clone(), Strategy::AfterBackoff)).collect();
        }
        let mut concerned = BTreeSet::new();
        for ((profile, plugin), kinds) in &self.by_rejector {
            if profiles.get(profile).is_some_and(|p| p.plugin_registers(plugin, event)) {
                concerned.extend(kinds);
            }
        }
        let mut helped: Vec<(u64, Strategy)> = Vec::new();
        for kind in concerned.iter().filter_map(|kind| self.kinds.get(kind)) {
            let is_concerned = |ticket: &u64| self.pods.get(ticket).is_some_and(|(pod, _)| concerns(pod));
            let own = own.filter(|own| kind.tickets.contains(own) && is_concerned(own));
            let ask = |ticket: u64| self.pods.get(&ticket).map_or(Strategy::Wait, |(pod, _)| strategy(pod));
            let others =
                kind.tickets.iter().copied().filter(|ticket| Some(*ticket) != own && is_concerned(ticket));
            let of_others = others.clone().next().map_or(Strategy::Wait, ask);
            if of_others != Strategy::Wait {
                helped.extend(others.map(|ticket| (ticket, of_others)));
            }
            let own = own.map(|own| (own, ask(own)));
            helped.extend(own.filter(|(_, means)| *means != Strategy::Wait));
        }
        helped.sort_unstable_by_key(|(ticket, _)| *ticket);
        let uid = |(ticket, means)| self.pods.get(&ticket).map(|(pod, _)| (pod.uid.clone(), means));
        helped.into_iter().filter_map(uid).collect()
    }

    pub fn insert(&mut self, ticket: u64, entry: &Entry, profiles: &Profiles) {
        let pod = &entry.queued.pod;
        let kind = Kind::of(entry, profiles);
        let number = self.find(&kind, pod).unwrap_or_else(|| self.add(kind));
        self.pods.insert(ticket, (Arc::clone(pod), number));
        if let Some(kind) = self.kinds.get_mut(&number) {
            kind.tickets.insert(ticket);
        }
    }

    fn find(&self, like: &Kind, pod: &Pod) -> Option<u64> {
        let parts = like.parts?;
        let alike = |number: &&u64| {
            self.kinds.get(number).is_some_and(|kind| {
                kind.parts == like.parts
                    && (&kind.profile, &kind.rejected_by, &kind.pending_by)
                        == (&like.profile, &like.rejected_by, &like.pending_by)
                    && kind
                        .tickets
                        .first()
                        .and_then(|ticket| self.pods.get(ticket))
                        .is_some_and(|(other, _)| same_parts(pod, other, parts))
            })
        };
        self.by_hash.get(&like.hash)?.iter().find(alike).copied()
    }

    fn add(&mut self, kind: Kind) -> u64 {
        let number = self.next_kind;
        self.next_kind += 1;
        for plugin in kind.rejectors() {
            self.by_rejector.entry((kind.profile.clone(), plugin.clone())).or_default().insert(number);
        }
        if kind.parts.is_some() {
            self.by_hash.entry(kind.hash).or_default().push(number);
        }
        self.kinds.insert(number, kind);
        number
    }

    pub fn remove(&mut self, ticket: u64) {
        let Some((_, number)) = self.pods.remove(&ticket) else { return };
        let Some(kind) = self.kinds.get_mut(&number) else { return };
        kind.tickets.remove(&ticket);
        if !kind.tickets.is_empty() {
            return;
        }
        let Some(kind) = self.kinds.remove(&number) else { return };
        for plugin in kind.rejectors() {
            let key = (kind.profile.clone(), plugin.clone());
            if let Some(kinds) = self.by_rejector.get_mut(&key) {
                kinds.remove(&number);
                if kinds.is_empty() {
                    self.by_rejector.remove(&key);
                }
            }
        }
        if let Some(kinds) = self.by_hash.get_mut(&kind.hash) {
            kinds.retain(|kind| *kind != number);
            if kinds.is_empty() {
                self.by_hash.remove(&kind.hash);
            }
        }
    }

    /// Checks that a waiting pod is filed under its kind.
    pub fn check(&self, entry: &Entry, profiles: &Profiles) -> Result<(), String> {
        let pod = &entry.queued.pod;
        let right = self.pods.get(&entry.ticket).is_some_and(|(listed, number)| {
            let is = Kind::of(entry, profiles);
            Arc::ptr_eq(listed, pod)
                && self.kinds.get(number).is_some_and(|kind| {
                    kind.tickets.contains(&entry.ticket)
                        && (kind.parts, kind.hash) == (is.parts, is.hash)
                        && (&kind.rejected_by, &kind.pending_by) == (&is.rejected_by, &is.pending_by)
                })
        });
        if right { Ok(()) } else { Err(format!("pod {} waits among pods that are not like it", pod.uid)) }
    }
}
