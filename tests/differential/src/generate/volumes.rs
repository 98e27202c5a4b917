//! Volumes, claims, classes and what CSI drivers publish.

use super::{Generator, HOSTNAME, RACK, REGION, ZONE};
use serde_json::{Value, json};

const CSI: &str = "csi.example.com";
const EBS: &str = "ebs.csi.aws.com";
const CLAIMS: usize = 7;

impl Generator {
    pub(super) fn volumes(&mut self) {
        self.classes();
        // Claims that most nodes could meet: then it is the score that decides.
        let scored = self.chance(35);
        self.csi_objects(scored);
        for i in 0..CLAIMS {
            if scored && self.chance(80) {
                self.claim_to_score(i);
            } else {
                self.claim(i);
            }
        }
        for i in 0..self.random.below(4) {
            // Volumes that nobody has claimed.
            let name = format!("free-{i}");
            let mut volume = self.volume_spec(&name, "static", "ReadWriteOnce");
            volume["capacity"]["storage"] = self.one(&["1Gi", "2Gi", "5Gi", "10Gi"]).into();
            let status =
                json!({"phase": self.one(&["Available", "Available", "Available", "Released", "Pending"])});
            let labels = self.some(40, &[("kind", &["fast", "slow"]), (ZONE, &["z1", "z2"])]);
            self.add("v1", "PersistentVolume", "", &name, json!({"spec": volume, "status": status}))["metadata"]
                ["labels"] = labels.into();
        }
    }

    fn classes(&mut self) {
        const API: &str = "storage.k8s.io/v1";
        let late = "WaitForFirstConsumer";
        self.add(API, "StorageClass", "", "late", json!({"provisioner": CSI, "volumeBindingMode": late}));
        let mut topology = vec![json!({"matchLabelExpressions": [{"key": RACK, "values": ["1"]}]})];
        if self.chance(50) {
            topology.push(json!({"matchLabelExpressions": [
                {"key": RACK, "values": ["2", "3"]}, {"key": ZONE, "values": [self.one(&["z1", "z2"])]},
            ]}));
        }
        let class = json!({"provisioner": CSI, "volumeBindingMode": late, "allowedTopologies": topology});
        self.add(API, "StorageClass", "", "here", class);
        let class = json!({"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": late});
        self.add(API, "StorageClass", "", "static", class);
        self.add(
            API,
            "StorageClass",
            "",
            "now",
            json!({"provisioner": CSI, "volumeBindingMode": "Immediate"}),
        );
        if self.chance(50) {
            let class = json!({"provisioner": "kubernetes.io/aws-ebs", "volumeBindingMode": late});
            self.add(API, "StorageClass", "", "tree", class);
        }
    }

    /// An unbound claim that nothing stands against, and perhaps a volume for it.
    fn claim_to_score(&mut self, number: usize) {
        let (name, class) = (format!("claim-{number}"), self.one(&["late", "late", "static"]));
        let size = self.one(&["1Gi", "2Gi", "4Gi", "1500M"]);
        self.claims.push(name.clone());
        let spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "resources": {"requests": {"storage": size}},
        });
        self.add("v1", "PersistentVolumeClaim", "default", &name, json!({"spec": spec}));
        let volumes = if class == "static" { self.nodes.len() } else { usize::from(self.chance(15)) };
        for at in 0..volumes {
            if self.chance(20) {
                continue;
            }
            let mut volume = json!({
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": class,
                "capacity": {"storage": self.one(&["2Gi", "4Gi", "5Gi", "9Gi"])},
                "csi": {"driver": CSI, "volumeHandle": format!("to-score-{number}-{at}")},
            });
            if class == "static" {
                let host = json!([{"key": HOSTNAME, "operator": "In", "values": [self.nodes[at]]}]);
                volume["nodeAffinity"] =
                    json!({"required": {"nodeSelectorTerms": [{"matchExpressions": host}]}});
            }
            let object = json!({"spec": volume, "status": {"phase": "Available"}});
            self.add("v1", "PersistentVolume", "", &format!("to-score-{number}-{at}"), object);
        }
    }

    fn csi_objects(&mut self, scored: bool) {
        const API: &str = "storage.k8s.io/v1";
        // Of several drivers that must be installed and are not, upstream names any: here only one can be missing.
        let must_be_installed = if self.chance(30) { self.one(&[CSI, CSI, EBS]) } else { "" };
        if must_be_installed == EBS {
            let spec = json!({"preventPodSchedulingIfMissing": true});
            self.add(API, "CSIDriver", "", EBS, json!({"spec": spec}));
        }
        if scored || self.chance(60) || must_be_installed == CSI {
            let spec = json!({
                "storageCapacity": self.chance(if scored { 95 } else { 75 }),
                "preventPodSchedulingIfMissing": must_be_installed == CSI,
            });
            self.add(API, "CSIDriver", "", CSI, json!({"spec": spec}));
            let rooms = if scored { 3 + self.random.below(5) } else { self.random.below(6) };
            for i in 0..rooms {
                let mut capacity = json!({"storageClassName": self.one(&["late", "late", "here"])});
                if self.chance(90) {
                    capacity["capacity"] =
                        self.one(&["1Gi", "3Gi", "7Gi", "12Gi", "100Gi", "900Gi", "0"]).into();
                    // Without a capacity it would make upstream's score panic.
                    if self.chance(25) {
                        capacity["maximumVolumeSize"] = self.one(&["1Gi", "2Gi"]).into();
                    }
                }
                if self.chance(85) {
                    capacity["nodeTopology"] = match self.random.below(3) {
                        0 => json!({}),
                        1 => json!({"matchLabels": {RACK: self.one(&["1", "2"])}}),
                        _ => {
                            let zones = self.random.one::<[&str]>(&[&["z1", "z2"], &["z1"], &["z3", "z2"]]);
                            json!({"matchExpressions": [{"key": ZONE, "operator": "In", "values": zones}]})
                        }
                    };
                }
                self.add(API, "CSIStorageCapacity", "default", &format!("room-{i}"), capacity);
            }
        }
        for node in self.nodes.clone() {
            if !self.chance(75) {
                continue;
            }
            let mut drivers = Vec::new();
            for (name, key) in [(CSI, RACK), (EBS, "topology.ebs.csi.aws.com/zone")] {
                if !self.chance(if name == EBS { 30 } else { 92 }) {
                    continue;
                }
                let mut driver = json!({"name": name, "nodeID": node, "topologyKeys": [key]});
                if self.chance(70) {
                    driver["allocatable"] = json!({"count": self.random.below(4)});
                }
                drivers.push(driver);
            }
            let mut object = json!({"spec": {"drivers": drivers}});
            if self.chance(25) {
                let plugins =
                    self.one(&["kubernetes.io/aws-ebs", "kubernetes.io/aws-ebs,kubernetes.io/gce-pd", ""]);
                object["metadata"] = json!({"name": node, "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": plugins}});
            }
            self.add(API, "CSINode", "", &node, object);
            if self.chance(25) {
                let volume = format!("volume-{}", self.random.below(CLAIMS));
                let attachment = json!({
                    "spec": {"attacher": CSI, "nodeName": node, "source": {"persistentVolumeName": volume}},
                    "status": {"attached": true},
                });
                self.add(API, "VolumeAttachment", "", &format!("attached-{node}"), attachment);
            }
        }
    }

    fn volume_spec(&mut self, name: &str, class: &str, mode: &str) -> Value {
        let modes = self.modes(mode);
        let mut volume = json!({
            "capacity": {"storage": self.one(&["1Gi", "2Gi", "5Gi"])}, "accessModes": modes, "storageClassName": class,
        });
        match self.random.below(10) {
            0 => volume["awsElasticBlockStore"] = json!({"volumeID": format!("vol-{name}")}),
            1 => volume["gcePersistentDisk"] = json!({"pdName": name}),
            2 => volume["hostPath"] = json!({"path": "/data"}),
            _ => {
                volume["csi"] =
                    json!({"driver": CSI, "volumeHandle": if self.chance(10) { "shared" } else { name }})
            }
        }
        if self.chance(55) {
            let (key, values) = *self.random.element(&[
                (RACK, &["1", "2"]),
                (RACK, &["2", "3"]),
                (ZONE, &["z1", "z2"]),
                (ZONE, &["z2", "z3"]),
                // A volume on one or two hosts: VolumeBinding gives PreFilter a set of nodes.
                (HOSTNAME, &["n0", "n1"]),
                (HOSTNAME, &["n2", "n2"]),
            ]);
            let mut terms =
                vec![json!({"matchExpressions": [{"key": key, "operator": "In", "values": values}]})];
            if self.chance(15) {
                terms
                    .push(json!({"matchExpressions": [{"key": REGION, "operator": "In", "values": ["r1"]}]}));
            }
            volume["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": terms}});
        }
        volume
    }

    /// The access mode, and sometimes another; `ReadWriteOncePod` stands alone.
    fn modes(&mut self, mode: &str) -> Value {
        if mode != "ReadWriteOncePod" && self.chance(25) {
            json!([mode, "ReadOnlyMany"])
        } else {
            json!([mode])
        }
    }

    /// A claim, and where it is bound its volume.
    fn claim(&mut self, number: usize) {
        let (name, volume_name) = (format!("claim-{number}"), format!("volume-{number}"));
        let class = self.one(&["late", "late", "here", "static", "static", "now", "tree", "gone", ""]);
        let mode = self.one(&["ReadWriteOnce", "ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]);
        let size = self.one(&["1Gi", "2Gi", "4Gi", "1500M"]);
        self.claims.push(name.clone());
        let modes = self.modes(mode);
        let mut spec = json!({"accessModes": modes, "resources": {"requests": {"storage": size}}});
        if !self.chance(4) {
            spec["storageClassName"] = class.into();
        }
        if self.chance(12) {
            spec["selector"] = json!({"matchLabels": {"kind": self.one(&["fast", "slow"])}});
        }
        if self.chance(5) {
            spec["volumeMode"] = "Block".into();
        }
        let mut annotations = json!({});
        let mut status = json!({});
        let bound = self.chance(50);
        let uid = format!("uid-{name}");
        let mut volume = self.volume_spec(&volume_name, class, mode);
        let mut phase = "Available";
        if bound {
            spec["volumeName"] = volume_name.clone().into();
            status["phase"] = "Bound".into();
            if self.chance(92) {
                annotations["pv.kubernetes.io/bind-completed"] = "yes".into();
            }
            let claimed_uid = if self.chance(4) { "uid-of-another" } else { uid.as_str() };
            volume["claimRef"] = json!({"kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": claimed_uid});
            volume["capacity"]["storage"] = size.into();
            phase = "Bound";
        } else if self.chance(12) {
            // Promised to the claim, and not bound yet.
            volume["claimRef"] =
                json!({"kind": "PersistentVolumeClaim", "namespace": "default", "name": name});
        }
        if !bound && self.chance(12) {
            annotations["volume.kubernetes.io/selected-node"] = self.node_name().into();
        }
        if self.chance(3) {
            status["phase"] = "Lost".into();
        }
        if self.chance(94) {
            let metadata = &mut self.add(
                "v1",
                "PersistentVolumeClaim",
                "default",
                &name,
                json!({"spec": spec, "status": status}),
            )["metadata"];
            metadata["uid"] = uid.into();
            metadata["annotations"] = annotations;
            if self.chance(3) {
                let last = self.objects.last_mut().expect("the claim was just added");
                last["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z".into();
                last["metadata"]["deletionGracePeriodSeconds"] = 0.into();
                last["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
            }
        }
        let exists = if bound { self.chance(93) } else { class == "static" || self.chance(25) };
        if exists {
            let labels = self.some(
                35,
                &[
                    (ZONE, &["z1", "z2__z3", "z2"]),
                    ("failure-domain.beta.kubernetes.io/zone", &["z1", "z1__z2"]),
                    (REGION, &["r1", "r2"]),
                    ("kind", &["fast", "slow"]),
                ],
            );
            let object = json!({"spec": volume, "status": {"phase": phase}});
            self.add("v1", "PersistentVolume", "", &volume_name, object)["metadata"]["labels"] =
                labels.into();
        }
    }

    /// Volumes of a pod.
    pub(super) fn pod_volumes(&mut self, pod: &str, namespace: &str, spec: &mut Value) {
        let mut volumes = Vec::new();
        for i in 0..1 + self.random.below(3) {
            let name = format!("v{i}");
            let mut volume = match self.random.below(20) {
                0 => {
                    json!({"gcePersistentDisk": {"pdName": self.one(&["d1", "d2"]), "readOnly": self.chance(50)}})
                }
                1 => json!({"awsElasticBlockStore": {"volumeID": self.one(&["vol-1", "vol-2"])}}),
                2 => {
                    json!({"iscsi": {"targetPortal": "10.0.0.1", "iqn": self.one(&["iqn.2026-01.com.example:a", "iqn.2026-01.com.example:b"]), "lun": 0, "readOnly": self.chance(50)}})
                }
                3 => {
                    json!({"rbd": {"monitors": [self.one(&["m1", "m2"]), "m3"], "pool": self.one(&["p", "q"]), "image": self.one(&["i", "j"]), "readOnly": self.chance(50)}})
                }
                4 => json!({"csi": {"driver": CSI}}),
                5 => json!({"emptyDir": {}}),
                6 => {
                    json!({"image": {"reference": self.one(&["huge:1", "web"]), "pullPolicy": "IfNotPresent"}})
                }
                7 | 8 => self.ephemeral(pod, &name, namespace),
                _ if self.chance(2) => json!({"persistentVolumeClaim": {"claimName": "missing"}}),
                // The claims are all in one namespace.
                _ if self.claims.is_empty() || namespace != "default" => json!({"emptyDir": {}}),
                _ => {
                    let claim = self.random.element(&self.claims).clone();
                    json!({"persistentVolumeClaim": {"claimName": claim, "readOnly": self.chance(10)}})
                }
            };
            volume["name"] = name.into();
            volumes.push(volume);
        }
        spec["volumes"] = volumes.into();
    }

    /// A generic ephemeral volume, with or without the claim that a controller makes for it.
    fn ephemeral(&mut self, pod: &str, volume: &str, namespace: &str) -> Value {
        let class = self.one(&["late", "here", "static", "now"]);
        let claim = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": class,
        });
        if self.chance(70) {
            let name = format!("{pod}-{volume}");
            let owner_uid =
                if self.chance(85) { format!("Pod-{namespace}-{pod}") } else { "stranger".to_owned() };
            let metadata = &mut self.add(
                "v1",
                "PersistentVolumeClaim",
                namespace,
                &name,
                json!({"spec": claim}),
            )["metadata"];
            metadata["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": owner_uid, "controller": true}]);
        }
        json!({"ephemeral": {"volumeClaimTemplate": {"spec": claim}}})
    }
}
