//! CSI migration: how a volume of an in-tree plugin appears to the CSI driver that replaced the plugin.
//!
//! The rules are those of `k8s.io/csi-translation-lib`: the driver's name, the volume's handle, and the volume's node affinity in
//! terms of the driver's topology key. All three follow from the object alone, so they are computed when it is compiled; whether
//! they apply depends on the node and is up to the plugins.

use crate::node_selector::NodeSelector;
use crate::{Atom, wire};
use std::collections::BTreeSet;

/// Deprecated label of the zone.
pub const BETA_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
/// Deprecated label of the region.
pub const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";
/// Label of the zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Label of the region.
pub const REGION: &str = "topology.kubernetes.io/region";
/// Separates the zones in the label value of a volume that is in several zones.
pub const ZONE_DELIMITER: &str = "__";

/// A former in-tree volume plugin.
struct Plugin {
    name: &'static str,
    driver: &'static str,
    /// The driver's topology key for zones, if the translation rewrites the topology.
    topology_key: Option<&'static str>,
    /// Whether the scheduler counts its volumes as the driver's, because its migration is complete.
    counted: bool,
}

const EBS: Plugin = Plugin {
    name: "kubernetes.io/aws-ebs",
    driver: "ebs.csi.aws.com",
    topology_key: Some("topology.ebs.csi.aws.com/zone"),
    counted: true,
};
const GCE_PD: Plugin = Plugin {
    name: "kubernetes.io/gce-pd",
    driver: "pd.csi.storage.gke.io",
    topology_key: Some("topology.gke.io/zone"),
    counted: true,
};
const CINDER: Plugin = Plugin {
    name: "kubernetes.io/cinder",
    driver: "cinder.csi.openstack.org",
    topology_key: Some("topology.cinder.csi.openstack.org/zone"),
    counted: true,
};
const AZURE_DISK: Plugin = Plugin {
    name: "kubernetes.io/azure-disk",
    driver: "disk.csi.azure.com",
    topology_key: None,
    counted: true,
};
const PORTWORX: Plugin = Plugin {
    name: "kubernetes.io/portworx-volume",
    driver: "pxd.portworx.com",
    topology_key: None,
    counted: true,
};
const AZURE_FILE: Plugin = Plugin {
    name: "kubernetes.io/azure-file",
    driver: "file.csi.azure.com",
    topology_key: None,
    counted: false,
};
const VSPHERE: Plugin = Plugin {
    name: "kubernetes.io/vsphere-volume",
    driver: "csi.vsphere.vmware.com",
    topology_key: None,
    counted: false,
};

/// How a provisioner is affected by CSI migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioner {
    /// Not an in-tree plugin: the name stands for itself.
    Own,
    /// An in-tree plugin that was replaced by this driver.
    Migrated(&'static str),
    /// An in-tree plugin whose volumes the scheduler does not count.
    Uncounted,
}

/// How the provisioner of a class is affected by CSI migration.
#[must_use]
pub fn provisioner(name: &str) -> Provisioner {
    let all = [&EBS, &GCE_PD, &CINDER, &AZURE_DISK, &PORTWORX, &AZURE_FILE, &VSPHERE];
    match all.into_iter().find(|p| p.name == name) {
        None => Provisioner::Own,
        Some(p) if p.counted => Provisioner::Migrated(p.driver),
        Some(_) => Provisioner::Uncounted,
    }
}

/// A PersistentVolume as its CSI driver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigratedVolume {
    /// Handle, unique per driver.
    pub handle: Box<str>,
    /// Which nodes can access the volume, in terms of the driver's topology.
    pub node_affinity: Option<NodeSelector>,
}

/// An in-tree source of a PersistentVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTreeSource {
    /// In-tree plugin such as `kubernetes.io/aws-ebs`.
    pub plugin: &'static str,
    /// CSI driver that replaces it.
    pub driver: Atom,
    /// The translation, or upstream's message if it fails.
    pub migrated: Result<MigratedVolume, Box<str>>,
}

impl InTreeSource {
    /// The in-tree source of a volume, if it has one and the plugin's migration is complete.
    #[must_use]
    pub fn of(volume: &wire::PersistentVolume) -> Option<Self> {
        let spec = &volume.spec;
        let (plugin, handle) = if let Some(s) = &spec.aws_elastic_block_store {
            (&EBS, ebs_handle(&s.volume_id))
        } else if let Some(s) = &spec.gce_persistent_disk {
            (&GCE_PD, gce_handle(&s.pd_name, &volume.metadata.labels))
        } else if let Some(s) = &spec.azure_disk {
            (&AZURE_DISK, azure_disk_handle(s))
        } else if let Some(s) = &spec.cinder {
            (&CINDER, Ok(s.volume_id.clone()))
        } else if let Some(s) = &spec.portworx_volume {
            (&PORTWORX, Ok(s.volume_id.clone()))
        } else {
            return None;
        };
        let migrated = handle.map(|handle| MigratedVolume {
            handle,
            node_affinity: node_affinity(volume, plugin.topology_key).as_ref().map(NodeSelector::new),
        });
        Some(Self { plugin: plugin.name, driver: Atom::new(plugin.driver), migrated })
    }
}

/// The result of CSI migration for an inline volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineMigration {
    /// CSI driver that replaces the plugin.
    pub driver: Atom,
    /// Handle, unique per driver, or upstream's message if there is none. Absent if the scheduler does not count the plugin's
    /// volumes.
    pub handle: Option<Result<Box<str>, Box<str>>>,
}

impl InlineMigration {
    /// The migration of an inline volume, if it belongs to a migrated plugin.
    #[must_use]
    pub fn of(volume: &wire::Volume) -> Option<Self> {
        let (plugin, handle) = if let Some(s) = &volume.aws_elastic_block_store {
            (&EBS, Some(ebs_handle(&s.volume_id)))
        } else if let Some(s) = &volume.gce_persistent_disk {
            (&GCE_PD, Some(gce_handle(&s.pd_name, &wire::StringMap::new())))
        } else if let Some(s) = &volume.azure_disk {
            (&AZURE_DISK, Some(azure_disk_handle(s)))
        } else if let Some(s) = &volume.cinder {
            (&CINDER, Some(Ok(s.volume_id.clone())))
        } else if let Some(s) = &volume.portworx_volume {
            (&PORTWORX, Some(Ok(s.volume_id.clone())))
        } else if volume.azure_file.is_some() {
            (&AZURE_FILE, None)
        } else if volume.vsphere_volume.is_some() {
            (&VSPHERE, None)
        } else {
            return None;
        };
        Some(Self { driver: Atom::new(plugin.driver), handle })
    }
}

/// `aws://ZONE/vol-1` and `aws:///vol-1` become `vol-1`; anything else is used as the handle.
fn ebs_handle(id: &str) -> Result<Box<str>, Box<str>> {
    let Some(rest) = id.strip_prefix("aws://") else { return Ok(id.into()) };
    let rest = rest.split('#').next().unwrap_or(rest);
    let rest = rest.split('?').next().unwrap_or(rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let failed = |why: String| Box::from(format!("failed to translate Kubernetes ID to EBS Volume ID {why}"));
    let path = percent_decoded(path)
        .map_err(|at| failed(format!("Invalid disk name ({id}): parse {id:?}: invalid URL escape {at:?}")))?;
    let name = path.trim_matches('/');
    if !name.starts_with("vol-") || name.contains('/') {
        return Err(failed(format!("Invalid format for AWS volume ({id})")));
    }
    Ok(name.into())
}

/// The path of a URL with its escapes decoded, or the escape that is invalid.
fn percent_decoded(path: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let escape = &rest[..rest.len().min(3)];
        let digit = |at: usize| escape.get(at).and_then(|b| char::from(*b).to_digit(16));
        let (Some(high), Some(low)) = (digit(1), digit(2)) else {
            return Err(String::from_utf8_lossy(escape).into_owned());
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte"));
        rest = &rest[3..];
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn gce_handle(disk: &str, labels: &wire::StringMap) -> Result<Box<str>, Box<str>> {
    let label = |key: &str| labels.get(key).map(AsRef::as_ref).filter(|v: &&str| !v.is_empty());
    let zones: Vec<&str> =
        label(BETA_ZONE).or_else(|| label(ZONE)).unwrap_or("").split(ZONE_DELIMITER).collect();
    let place = match &*zones {
        [""] => "zones/UNSPECIFIED".to_owned(),
        [zone] => format!("zones/{zone}"),
        zones => {
            let region =
                gce_region(zones).map_err(|why| format!("failed to get region from zones: {why}"))?;
            format!("regions/{region}")
        }
    };
    Ok(format!("projects/UNSPECIFIED/{place}/disks/{disk}").into())
}

/// The region of zones named `LOCALE-REGION-ZONE`.
fn gce_region(zones: &[&str]) -> Result<String, String> {
    let mut regions = BTreeSet::new();
    for zone in zones {
        let parts: Vec<&str> = zone.split('-').collect();
        let [locale, region, _] = &*parts else {
            return Err(format!(
                "zone in unexpected format, expected: {{locale}}-{{region}}-{{zone}}, got: {zone}"
            ));
        };
        regions.insert(format!("{locale}-{region}"));
    }
    if regions.len() == 1 {
        return Ok(regions.pop_first().expect("there is one"));
    }
    let shown: Vec<_> = regions.iter().map(|r| format!("{r}:{{}}")).collect();
    Err(format!("multiple or no regions gotten from zones, got: map[{}]", shown.join(" ")))
}

fn azure_disk_handle(disk: &wire::AzureDisk) -> Result<Box<str>, Box<str>> {
    match &disk.kind {
        Some(kind) if !kind.eq_ignore_ascii_case("Managed") => {
            Err(format!("kind({kind}) is not supported in csi migration").into())
        }
        _ => Ok(disk.disk_uri.clone()),
    }
}

/// The volume's node affinity with the zone under the driver's key. If the affinity does not name a zone, the volume's zone label
/// is used; a deprecated region key is replaced by the current one.
fn node_affinity(volume: &wire::PersistentVolume, topology_key: Option<&str>) -> Option<wire::NodeSelector> {
    let mut selector = volume.spec.node_affinity.as_ref().and_then(|a| a.required.clone());
    let Some(topology_key) = topology_key else { return selector };
    let labels = &volume.metadata.labels;
    let named = |key: &str| {
        selector
            .iter()
            .flat_map(|s| &s.node_selector_terms)
            .any(|t| t.match_expressions.iter().any(|e| &*e.key == key))
    };
    let (zone, region) = if named(ZONE) {
        (ZONE, REGION)
    } else if named(BETA_ZONE) || (!labels.contains_key(ZONE) && labels.contains_key(BETA_ZONE)) {
        (BETA_ZONE, BETA_REGION)
    } else {
        (ZONE, REGION)
    };
    if has_values(selector.as_ref(), zone) {
        replace_key(selector.as_mut(), zone, topology_key);
    } else if let Some(value) = labels.get(zone) {
        let zones: BTreeSet<&str> =
            value.split(ZONE_DELIMITER).map(str::trim).filter(|zone| !zone.is_empty()).collect();
        if !zones.is_empty() {
            let selector = selector.get_or_insert_default();
            if selector.node_selector_terms.is_empty() {
                selector.node_selector_terms.push(wire::NodeSelectorTerm::default());
            }
            for term in &mut selector.node_selector_terms {
                term.match_expressions.push(wire::SelectorRequirement {
                    key: topology_key.into(),
                    operator: "In".into(),
                    values: zones.iter().map(|z| Box::from(*z)).collect(),
                });
            }
        }
    }
    if region == BETA_REGION && has_values(selector.as_ref(), region) {
        replace_key(selector.as_mut(), region, REGION);
    }
    selector
}

fn has_values(selector: Option<&wire::NodeSelector>, key: &str) -> bool {
    let terms = selector.into_iter().flat_map(|s| &s.node_selector_terms);
    terms.flat_map(|t| &t.match_expressions).any(|e| &*e.key == key && !e.values.is_empty())
}

fn replace_key(selector: Option<&mut wire::NodeSelector>, old: &str, new: &str) {
    let terms = selector.into_iter().flat_map(|s| &mut s.node_selector_terms);
    for expression in terms.flat_map(|t| &mut t.match_expressions).filter(|e| &*e.key == old) {
        expression.key = new.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn migrated(volume: serde_json::Value) -> InTreeSource {
        let volume: wire::PersistentVolume = serde_json::from_value(volume).expect("a volume");
        InTreeSource::of(&volume).expect("an in-tree volume")
    }

    fn affinity(selector: serde_json::Value) -> Option<NodeSelector> {
        let selector: wire::NodeSelector = serde_json::from_value(selector).expect("a selector");
        Some(NodeSelector::new(&selector))
    }

    #[test]
    fn handles_are_the_drivers() {
        let ebs = |id: &str| {
            ebs_handle(id).map_err(|e| e.replace("failed to translate Kubernetes ID to EBS Volume ID ", ""))
        };
        assert_eq!(ebs("vol-1"), Ok("vol-1".into()));
        assert_eq!(ebs("anything"), Ok("anything".into()));
        assert_eq!(ebs("aws://us-east-1a/vol-1"), Ok("vol-1".into()));
        assert_eq!(ebs("aws:///vol-1"), Ok("vol-1".into()));
        assert_eq!(ebs("aws:///disk"), Err("Invalid format for AWS volume (aws:///disk)".to_owned()));
        assert_eq!(ebs("aws:///vol-1/x"), Err("Invalid format for AWS volume (aws:///vol-1/x)".to_owned()));
        assert_eq!(
            ebs("aws:///vol%zz"),
            Err("Invalid disk name (aws:///vol%zz): parse \"aws:///vol%zz\": invalid URL escape \"%zz\""
                .to_owned())
        );

        let gce = |zones: &str| {
            let labels = [(Box::from(ZONE), Box::from(zones))].into_iter().collect();
            gce_handle("d", &labels)
        };
        assert_eq!(gce(""), Ok("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d".into()));
        assert_eq!(gce("us-central1-a"), Ok("projects/UNSPECIFIED/zones/us-central1-a/disks/d".into()));
        assert_eq!(
            gce("us-central1-a__us-central1-b"),
            Ok("projects/UNSPECIFIED/regions/us-central1/disks/d".into())
        );
        assert_eq!(
            gce("a-b-c__x-y-z"),
            Err("failed to get region from zones: multiple or no regions gotten from zones, got: map[a-b:{} x-y:{}]"
                .into())
        );
        assert_eq!(
            gce("z1__z2"),
            Err("failed to get region from zones: zone in unexpected format, expected: {locale}-{region}-{zone}, got: z1"
                .into())
        );

        let azure = |kind: Option<&str>| {
            azure_disk_handle(&wire::AzureDisk {
                disk_uri: "uri".into(),
                kind: kind.map(Box::from),
                ..Default::default()
            })
        };
        assert_eq!(azure(None), Ok("uri".into()));
        assert_eq!(azure(Some("managed")), Ok("uri".into()));
        assert_eq!(azure(Some("Shared")), Err("kind(Shared) is not supported in csi migration".into()));
    }

    #[test]
    fn the_zone_moves_to_the_drivers_key() {
        let source = migrated(json!({
            "metadata": {"name": "v", "labels": {ZONE: "ignored"}},
            "spec": {
                "awsElasticBlockStore": {"volumeID": "vol-1"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": BETA_ZONE, "operator": "In", "values": ["z1"]},
                    {"key": BETA_REGION, "operator": "In", "values": ["r"]},
                ]}]}},
            },
        }));
        assert_eq!(source.plugin, "kubernetes.io/aws-ebs");
        assert_eq!(
            source.migrated.expect("translates").node_affinity,
            affinity(json!({"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": ["z1"]},
                {"key": REGION, "operator": "In", "values": ["r"]},
            ]}]}))
        );
    }

    #[test]
    fn a_zone_label_becomes_affinity_and_azure_keeps_its_own() {
        let source = migrated(json!({
            "metadata": {"name": "v", "labels": {ZONE: "z2__ z1__"}},
            "spec": {"cinder": {"volumeID": "c"}},
        }));
        assert_eq!(
            source.migrated.expect("translates").node_affinity,
            affinity(json!({"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "topology.cinder.csi.openstack.org/zone", "operator": "In", "values": ["z1", "z2"]},
            ]}]}))
        );
        // The deprecated label is used if the current one is absent.
        let source = migrated(json!({
            "metadata": {"name": "v", "labels": {BETA_ZONE: "z1"}},
            "spec": {"cinder": {"volumeID": "c"}},
        }));
        assert_eq!(
            source.migrated.expect("translates").node_affinity,
            affinity(json!({"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "topology.cinder.csi.openstack.org/zone", "operator": "In", "values": ["z1"]},
            ]}]}))
        );
        let source = migrated(json!({
            "metadata": {"name": "v", "labels": {ZONE: "z1"}},
            "spec": {"azureDisk": {"diskName": "d", "diskURI": "u"}},
        }));
        assert_eq!(source.migrated.expect("translates").node_affinity, None);
    }

    #[test]
    fn provisioners_of_the_tree_are_known() {
        assert_eq!(provisioner("kubernetes.io/gce-pd"), Provisioner::Migrated("pd.csi.storage.gke.io"));
        assert_eq!(provisioner("kubernetes.io/azure-file"), Provisioner::Uncounted);
        assert_eq!(provisioner("kubernetes.io/no-provisioner"), Provisioner::Own);
    }
}
