//! The resources that the sandbox serves: one table, read by discovery, routing, storage and selectors.

mod table;

pub(crate) use table::{EVENT_SOURCE, POD_NODE_NAME, POD_PHASE, RESOURCES};

/// What a client may do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// All verbs.
    Full,
    /// get, list and watch: nothing in the sandbox would act on a created object, but the scheduler reads the kind.
    ReadOnly,
    /// create only, and nothing is stored (reviews and bindings).
    CreateOnly,
    /// get and list, computed on request (metrics).
    Derived,
}

/// The store of a resource's objects. Two resources may be views of one store (events).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub(crate) u8);

/// One resource type.
#[derive(Debug)]
pub(crate) struct ResourceType {
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub access: Access,
    pub subresources: &'static [&'static str],
    pub store: StoreId,
    /// Supported field selectors in addition to metadata.name and metadata.namespace: label and JSON pointer.
    pub fields: &'static [(&'static str, &'static str)],
    /// `metadata.generation` counts changes of the spec.
    pub has_generation: bool,
    /// PUT to a name that does not exist creates.
    pub create_on_update: bool,
    /// PUT without resourceVersion is allowed.
    pub unconditional_update: bool,
    /// The rule for the name of an object.
    pub name_rule: NameRule,
}

/// The rule for the name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    Subdomain,
    Label,
    /// Anything that is possible in a path.
    PathSegment,
}

impl ResourceType {
    /// `v1` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `leases.coordination.k8s.io`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The discovery verbs.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match self.access {
            Access::Full => {
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            }
            Access::ReadOnly => &["get", "list", "watch"],
            Access::CreateOnly => &["create"],
            Access::Derived => &["get", "list"],
        }
    }

    /// Whether this row has no store of its own, because it is a second view of one, or nothing is stored.
    pub(crate) fn is_view_or_unstored(&self) -> bool {
        self.store == NO_STORE || !std::ptr::eq(stored_as(self.store), self)
    }

    /// Whether it shows events in the form of events.k8s.io/v1, not as they are stored.
    pub(crate) fn is_new_event(&self) -> bool {
        self.store == EVENTS && !self.group.is_empty()
    }

    /// Whether objects are stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.store != NO_STORE
    }

    /// Whether status is written through `/status` only.
    pub(crate) fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }
}

/// Pods: the store that binding, kubelets and history read.
pub const PODS: StoreId = StoreId(0);
/// Nodes.
pub const NODES: StoreId = StoreId(1);
/// Namespaces.
pub const NAMESPACES: StoreId = StoreId(2);
/// Events of both API groups, stored in the form of core/v1.
pub const EVENTS: StoreId = StoreId(3);
pub(crate) const PRIORITY_CLASSES: StoreId = StoreId(4);
pub(crate) const REPLICA_SETS: StoreId = StoreId(5);
pub(crate) const DISRUPTION_BUDGETS: StoreId = StoreId(6);
pub(crate) const DEPLOYMENTS: StoreId = StoreId(23);
pub(crate) const CLAIMS: StoreId = StoreId(10);
pub(crate) const VOLUMES: StoreId = StoreId(11);
pub(crate) const STORAGE_CLASSES: StoreId = StoreId(15);
pub(crate) const STATEFUL_SETS: StoreId = StoreId(13);
pub(crate) const DAEMON_SETS: StoreId = StoreId(26);
pub(crate) const JOBS: StoreId = StoreId(27);
pub(crate) const CRON_JOBS: StoreId = StoreId(28);
pub(crate) const CONTROLLER_REVISIONS: StoreId = StoreId(29);
/// Read by the admission of pods.
pub(crate) const LIMIT_RANGES: StoreId = StoreId(24);
/// Read by the admission of pods.
pub(crate) const RUNTIME_CLASSES: StoreId = StoreId(25);
/// Called before a pod is bound.
pub(crate) const VALIDATING_WEBHOOKS: StoreId = StoreId(31);
/// The addresses of webhooks that name a Service.
pub(crate) const ENDPOINT_SLICES: StoreId = StoreId(32);
/// Resources without a store.
const NO_STORE: StoreId = StoreId(255);
/// One more than the largest store.
pub(crate) const STORE_COUNT: usize = 38;

/// The resource at `group/version` with this plural name.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static ResourceType> {
    RESOURCES.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The resource with the stored form.
pub(crate) fn stored_as(store: StoreId) -> &'static ResourceType {
    RESOURCES.iter().find(|r| r.store == store).expect("each store id is that of a row in RESOURCES")
}

/// The resource of an object's `apiVersion` and `kind`.
pub(crate) fn of_kind(api_version: &str, kind: &str) -> Option<&'static ResourceType> {
    RESOURCES.iter().find(|r| r.kind == kind && r.api_version() == api_version)
}

/// Group versions in the order of discovery, the core group (empty) first.
pub(crate) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for resource in RESOURCES {
        if !all.contains(&(resource.group, resource.version)) {
            all.push((resource.group, resource.version));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::table::{CORE_EVENT_FIELDS, NEW_EVENT_FIELDS, POD_FIELDS};
    use super::*;

    #[test]
    fn stores_are_numbered_without_gaps_and_only_events_share_one() {
        let mut seen = [0; STORE_COUNT];
        for resource in RESOURCES.iter().filter(|r| r.store != NO_STORE) {
            seen[usize::from(resource.store.0)] += 1;
        }
        for (id, count) in seen.iter().enumerate() {
            assert_eq!(*count, if StoreId(id as u8) == EVENTS { 2 } else { 1 }, "store {id}");
        }
    }

    #[test]
    fn positions_of_extracted_pod_fields_are_right() {
        assert_eq!(POD_FIELDS[POD_NODE_NAME].0, "spec.nodeName");
        assert_eq!(POD_FIELDS[POD_PHASE].0, "status.phase");
    }

    #[test]
    fn the_newer_event_view_selects_by_the_first_fields_of_the_stored_one() {
        let core: Vec<_> = CORE_EVENT_FIELDS.iter().map(|f| f.1).collect();
        let new: Vec<_> = NEW_EVENT_FIELDS.iter().map(|f| f.1).collect();
        assert_eq!(core[..new.len()], new);
    }
}
