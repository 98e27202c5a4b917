/// A kind of object whose changes may make a pod schedulable that was rejected, with the ABI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "each is the kind of its name")]
pub enum Resource {
    Pod = 0,
    Node = 1,
    PersistentVolume = 2,
    PersistentVolumeClaim = 3,
    ResourceClaim = 5,
    StorageClass = 6,
    CsiNode = 7,
    CsiDriver = 8,
    CsiStorageCapacity = 9,
    /// Any.
    Any = 10,
}

/// What happens to an object: bits that may be combined.
#[allow(missing_docs, reason = "each is the action of its name")]
pub mod action {
    pub const ADD: u32 = 1;
    pub const DELETE: u32 = 1 << 1;
    pub const UPDATE_NODE_ALLOCATABLE: u32 = 1 << 2;
    pub const UPDATE_NODE_LABEL: u32 = 1 << 3;
    pub const UPDATE_NODE_TAINT: u32 = 1 << 4;
    pub const UPDATE_NODE_CONDITION: u32 = 1 << 5;
    /// Every update.
    pub const UPDATE: u32 = 60;
    /// Everything.
    pub const ALL: u32 = 63;
}

/// An event after which a pod that this plugin rejected is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterEvent {
    /// Whose.
    pub resource: Resource,
    /// What: bits of [`action`].
    pub actions: u32,
}
