//! Volumes of a pod, compiled.

use crate::migration::InlineMigration;
use crate::{Atom, wire};

/// A volume with a source that scheduling reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Name inside the pod.
    pub name: Box<str>,
    /// Source.
    pub source: VolumeSource,
    /// The result of CSI migration, if the source is that of an in-tree plugin.
    pub migration: Option<Box<InlineMigration>>,
}

/// Sources that scheduling reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum VolumeSource {
    /// A claim by name.
    Claim {
        /// Claim in the pod's namespace.
        name: Box<str>,
        /// Mounted read only.
        read_only: bool,
    },
    /// A generic ephemeral volume: its claim is named `POD-VOLUME`.
    Ephemeral,
    /// An inline CSI volume.
    Csi {
        /// Driver.
        driver: Atom,
    },
    /// An inline GCE persistent disk.
    GcePersistentDisk {
        /// Disk name.
        name: Box<str>,
        /// Read only.
        read_only: bool,
    },
    /// An inline EBS volume.
    AwsElasticBlockStore {
        /// Volume id.
        id: Box<str>,
    },
    /// An inline Azure disk.
    AzureDisk {
        /// Disk name.
        name: Box<str>,
        /// Disk URI.
        uri: Box<str>,
    },
    /// An inline Cinder volume.
    Cinder {
        /// Volume id.
        id: Box<str>,
    },
    /// An inline Portworx volume.
    Portworx {
        /// Volume id.
        id: Box<str>,
    },
    /// An inline RBD image.
    Rbd {
        /// Monitors.
        monitors: Box<[Box<str>]>,
        /// Pool.
        pool: Box<str>,
        /// Image.
        image: Box<str>,
        /// Read only.
        read_only: bool,
    },
    /// An inline iSCSI target.
    Iscsi {
        /// Qualified name.
        iqn: Box<str>,
        /// Read only.
        read_only: bool,
    },
    /// An inline Azure file share or vSphere volume: only its migration matters.
    OtherInTree,
}

impl Volume {
    /// Compiles a volume; `None` if scheduling does not read its source.
    #[must_use]
    pub fn new(volume: &wire::Volume) -> Option<Self> {
        let source = if let Some(s) = &volume.persistent_volume_claim {
            VolumeSource::Claim { name: s.claim_name.clone(), read_only: s.read_only }
        } else if volume.ephemeral.is_some() {
            VolumeSource::Ephemeral
        } else if let Some(s) = &volume.csi {
            VolumeSource::Csi { driver: Atom::new(&s.driver) }
        } else if let Some(s) = &volume.gce_persistent_disk {
            VolumeSource::GcePersistentDisk { name: s.pd_name.clone(), read_only: s.read_only }
        } else if let Some(s) = &volume.aws_elastic_block_store {
            VolumeSource::AwsElasticBlockStore { id: s.volume_id.clone() }
        } else if let Some(s) = &volume.azure_disk {
            VolumeSource::AzureDisk { name: s.disk_name.clone(), uri: s.disk_uri.clone() }
        } else if let Some(s) = &volume.cinder {
            VolumeSource::Cinder { id: s.volume_id.clone() }
        } else if let Some(s) = &volume.portworx_volume {
            VolumeSource::Portworx { id: s.volume_id.clone() }
        } else if let Some(s) = &volume.rbd {
            VolumeSource::Rbd {
                monitors: s.monitors.clone().into(),
                pool: s.pool.clone(),
                image: s.image.clone(),
                read_only: s.read_only,
            }
        } else if let Some(s) = &volume.iscsi {
            VolumeSource::Iscsi { iqn: s.iqn.clone(), read_only: s.read_only }
        } else if volume.azure_file.is_some() || volume.vsphere_volume.is_some() {
            VolumeSource::OtherInTree
        } else {
            return None;
        };
        let migration = InlineMigration::of(volume).map(Box::new);
        Some(Self { name: volume.name.clone(), source, migration })
    }

    /// Whether it is an inline volume that counts toward a CSI driver's limit.
    #[must_use]
    pub fn is_attachable_inline(&self) -> bool {
        self.migration.as_ref().is_some_and(|migration| migration.handle.is_some())
    }
}
