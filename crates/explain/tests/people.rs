//! What people read: numbers and names behind each rejection, in 80 columns.

use expect_test::{Expect, expect};
use secondmate_config::{Configuration, make_profiles};
use secondmate_explain::{Cluster, Explainer, Keep, Style, read, render};

const COLUMNS: usize = 80;

/// Checks what is shown about the pending pods of a cluster.
fn check(cluster: &str, expected: Expect) {
    let registry = secondmate_plugins::registry().expect("no name twice");
    let configuration = Configuration::for_scheduler_names(&["mine"]).expect("a name");
    let profiles = make_profiles(&configuration, &registry).expect("the default profile");
    let reading = read(cluster, "test", Keep::for_profiles(&profiles)).expect("a cluster");
    let cluster = Cluster::load(reading.items, &profiles);
    let explainer = Explainer::new(&cluster, &profiles);
    let answers = cluster.pending().iter().map(|pod| {
        let answer = explainer.explain_to_people(pod);
        assert_eq!(answer.to_json(), explainer.explain(pod).to_json(), "the facts are no part of the JSON");
        render(&answer, &[], Style::default())
    });
    let text = answers.collect::<Vec<_>>().join("\n");
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "longer than {COLUMNS} columns: {line}");
    }
    expected.assert_eq(&text);
}

/// A node with 4 CPU and 8 GiB, and what a test adds to its metadata and spec.
fn node(name: &str, labels: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nspec: {{{spec}}}\n\
         status: {{allocatable: {{cpu: \"4\", memory: 8Gi, pods: 3}}}}\n"
    )
}

/// A pod, with what a test adds to its metadata and spec.
fn pod(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, uid: {name}{metadata}}}\nspec: {{{spec}}}\n"
    )
}

/// One container with these requests.
fn asks(requests: &str) -> String {
    format!("containers: [{{name: c, resources: {{requests: {{{requests}}}}}}}]")
}

#[test]
fn resources_are_told_in_numbers_and_the_nearest_node_comes_first() {
    let on =
        |node: &str, requests: &str| format!("schedulerName: other, nodeName: {node}, {}", asks(requests));
    let cluster = [
        node("n1", "", ""),
        node("n2", "", ""),
        node("n3", "", ""),
        node("n4", "", ""),
        node("n5", "", ""),
        pod("a", "", &on("n1", "cpu: 3500m")),
        pod("b", "", &on("n2", "cpu: 2500m")),
        pod("c", "", &on("n3", "cpu: 3000m")),
        pod("d", "", &on("n4", "cpu: 2900m")),
        pod("e", "", &on("n5", "cpu: 2000m, memory: 7800Mi")),
        pod("web", "", &format!("schedulerName: mine, {}", asks("cpu: 2, memory: 1Gi"))),
        pod("huge", "", &format!("schedulerName: mine, {}", asks("cpu: 1, memory: 9Gi, example.com/gpu: 1"))),
    ];
    check(
        &cluster.concat(),
        expect![[r#"
            shop/web (mine): fits on none of 5 nodes
              does not fit on
                4 nodes (NodeResourcesFit): Insufficient cpu
                  n2: asks 2 cpu, 1500m of 4 free
                  n4: asks 2 cpu, 1100m of 4 free
                  n3: asks 2 cpu, 1 of 4 free
                  … and 1 node
                1 node (NodeResourcesFit): Insufficient memory
                  n5: asks 1Gi memory, 392Mi of 8Gi free
              would help: 500m more cpu free on n2, or a request of 1500m or less; or 632Mi
                more memory free on n5, or a request of 392Mi or less
              event: 0/5 nodes are available: 1 Insufficient memory, 4 Insufficient cpu.
                preemption: 0/5 nodes are available: 5 No preemption victims found for
                incoming pod.

            shop/huge (mine): fits on none of 5 nodes
              does not fit on
                4 nodes (NodeResourcesFit): Insufficient memory; Insufficient
                  example.com/gpu
                  n2, n3, n4: asks 9Gi memory, 8Gi of 8Gi free: too much for the node
                  n5: asks 9Gi memory, 392Mi of 8Gi free: too much for the node
                  n2, n3, n4 and 1 more: asks 1 example.com/gpu, the node has none
                1 node (NodeResourcesFit): Insufficient cpu; Insufficient memory;
                  Insufficient example.com/gpu
                  n1: asks 9Gi memory, 8Gi of 8Gi free: too much for the node
                  n1: asks 1 cpu, 500m of 4 free
                  n1: asks 1 example.com/gpu, the node has none
              would help: a node with 9Gi memory or more
              event: 0/5 nodes are available: 1 Insufficient cpu, 5 Insufficient
                example.com/gpu, 5 Insufficient memory. preemption: 0/5 nodes are available:
                5 Preemption is not helpful for scheduling.
        "#]],
    );
}

#[test]
fn taints_cordons_ports_and_labels_are_named() {
    let cluster = [
        node("n1", "", "taints: [{key: dedicated, value: gpu, effect: NoSchedule}]"),
        node(
            "n2",
            "",
            "taints: [{key: dedicated, value: gpu, effect: NoSchedule}, {key: old, effect: NoExecute}]",
        ),
        node("n3", "", "unschedulable: true"),
        node("n4", "disk: hdd", ""),
        node("n5", "disk: ssd", ""),
        pod(
            "proxy",
            "",
            "schedulerName: default-scheduler, nodeName: n5, containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]",
        ),
        pod(
            "web",
            "",
            "schedulerName: mine, nodeSelector: {disk: ssd}, containers: [{name: c, ports: [{containerPort: 80, hostPort: 8080}]}]",
        ),
        pod(
            "batch",
            "",
            "schedulerName: mine, tolerations: [{operator: Exists}], affinity: {nodeAffinity: \
             {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: \
             [{key: disk, operator: In, values: [nvme, tape]}, {key: kubernetes.io/arch, operator: Exists}]}]}}}, containers: [{name: c}]",
        ),
    ];
    check(
        &cluster.concat(),
        expect![[r#"
            shop/web (mine): fits on none of 5 nodes
              does not fit on
                2 nodes (TaintToleration): node(s) had untolerated taint(s)
                  n1, n2: taint dedicated=gpu:NoSchedule is not tolerated
                  n2: taint old:NoExecute is not tolerated
                1 node (NodeUnschedulable): node(s) were unschedulable
                  n3: is cordoned (spec.unschedulable)
                1 node (NodeAffinity): node(s) didn't match Pod's node affinity/selector
                  n4: nodeSelector wants disk=ssd, has hdd
                1 node (NodePorts): node(s) didn't have free ports for the requested pod
                  ports
                  n5: host port 8080/TCP is taken by shop/proxy (of default-scheduler)
              would help: a toleration of the taint dedicated=gpu:NoSchedule; or kubectl
                uncordon n3; or a node with the label disk=ssd
              event: 0/5 nodes are available: 1 node(s) didn't have free ports for the
                requested pod ports, 1 node(s) didn't match Pod's node affinity/selector, 1
                node(s) were unschedulable, 2 node(s) had untolerated taint(s). preemption:
                0/5 nodes are available: 1 No preemption victims found for incoming pod, 4
                Preemption is not helpful for scheduling.

            shop/batch (mine): fits on none of 5 nodes
              does not fit on
                5 nodes (NodeAffinity): node(s) didn't match Pod's node affinity/selector
                  n1, n2, n3 and 2 more: node affinity wants disk in
                    (nvme,tape),kubernetes.io/arch
              would help: a node with disk in (nvme,tape),kubernetes.io/arch
              event: 0/5 nodes are available: 5 node(s) didn't match Pod's node
                affinity/selector. preemption: 0/5 nodes are available: 5 Preemption is not
                helpful for scheduling.
        "#]],
    );
}

#[test]
fn pods_that_conflict_and_constraints_that_are_violated_are_named() {
    let anti = |app: &str| {
        format!(
            "affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: \
             [{{topologyKey: zone, labelSelector: {{matchLabels: {{app: {app}}}}}}}]}}}}"
        )
    };
    let near = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
                [{topologyKey: zone, labelSelector: {matchLabels: {app: cache}}}]}}";
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, \
                  labelSelector: {matchLabels: {app: web}}}]";
    let cluster = [
        node("n1", "zone: a", ""),
        node("n2", "zone: a", ""),
        node("n3", "zone: b", "taints: [{key: k, effect: NoSchedule}]"),
        node("n4", "", ""),
        pod("web-1", ", labels: {app: web}", "schedulerName: mine, nodeName: n1, containers: [{name: c}]"),
        pod("web-2", ", labels: {app: web}", "schedulerName: other, nodeName: n2, containers: [{name: c}]"),
        pod(
            "lone",
            "",
            &format!("schedulerName: mine, nodeName: n2, {}, containers: [{{name: c}}]", anti("shy")),
        ),
        pod("away", "", &format!("schedulerName: mine, {}, containers: [{{name: c}}]", anti("web"))),
        pod(
            "shy",
            ", labels: {app: shy}",
            "schedulerName: mine, nodeSelector: {zone: a}, containers: [{name: c}]",
        ),
        pod("near", "", &format!("schedulerName: mine, {near}, containers: [{{name: c}}]")),
        pod(
            "web-3",
            ", labels: {app: web}",
            &format!("schedulerName: mine, {spread}, containers: [{{name: c}}]"),
        ),
    ];
    check(
        &cluster.concat(),
        expect![[r#"
            shop/away (mine): fits on 1 of 4 nodes
              goes to n4
              does not fit on
                2 nodes (InterPodAffinity): node(s) didn't match pod anti-affinity rules
                  n1: anti-affinity keeps it from pods app=web in zone=a: shop/web-1,
                    shop/web-2 (of other)
                  n2: anti-affinity keeps it from pods app=web in zone=a: shop/web-2 (of
                    other), shop/web-1
                1 node (TaintToleration): node(s) had untolerated taint(s)
                  n3: taint k:NoSchedule is not tolerated

            shop/shy (mine): fits on none of 4 nodes
              does not fit on
                2 nodes (InterPodAffinity): node(s) didn't satisfy existing pods
                  anti-affinity rules
                  n1, n2: pod shop/lone wants no pod app=shy in its zone=a
                1 node (TaintToleration): node(s) had untolerated taint(s)
                  n3: taint k:NoSchedule is not tolerated
                1 node (NodeAffinity): node(s) didn't match Pod's node affinity/selector
                  n4: nodeSelector wants zone=a, has no such label
              would help: a zone without such pods; or a toleration of the taint
                k:NoSchedule; or a node with the label zone=a
              event: 0/4 nodes are available: 1 node(s) didn't match Pod's node
                affinity/selector, 1 node(s) had untolerated taint(s), 2 node(s) didn't
                satisfy existing pods anti-affinity rules. preemption: 0/4 nodes are
                available: 2 No preemption victims found for incoming pod, 2 Preemption is
                not helpful for scheduling.

            shop/near (mine): fits on none of 4 nodes
              does not fit on
                3 nodes (InterPodAffinity): node(s) didn't match pod affinity rules
                  n1, n2: affinity wants a pod app=cache in zone=a, none is there
                  n4: has no label zone, which pod affinity names
                1 node (TaintToleration): node(s) had untolerated taint(s)
                  n3: taint k:NoSchedule is not tolerated
              would help: a pod app=cache in zone=a; or a toleration of the taint
                k:NoSchedule
              event: 0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 node(s)
                didn't match pod affinity rules. preemption: 0/4 nodes are available: 4
                Preemption is not helpful for scheduling.

            shop/web-3 (mine): fits on none of 4 nodes
              does not fit on
                2 nodes (PodTopologySpread): node(s) didn't match pod topology spread
                  constraints
                  n1, n2: zone=a would have 3 pods app=web in namespace shop, the emptiest
                    domain has 0: skew 3, maxSkew 1
                1 node (TaintToleration): node(s) had untolerated taint(s)
                  n3: taint k:NoSchedule is not tolerated
                1 node (PodTopologySpread): node(s) didn't match pod topology spread
                  constraints (missing required label)
                  n4: has no label zone, by which the pod is to spread
              would help: room in the emptiest domains of zone, or a maxSkew of 3; or a
                toleration of the taint k:NoSchedule; or the label zone on n4
              event: 0/4 nodes are available: 1 node(s) didn't match pod topology spread
                constraints (missing required label), 1 node(s) had untolerated taint(s), 2
                node(s) didn't match pod topology spread constraints. preemption: 0/4 nodes
                are available: 2 No preemption victims found for incoming pod, 2 Preemption
                is not helpful for scheduling.
        "#]],
    );
}

#[test]
fn claims_are_named_with_what_they_wait_for() {
    let claim = |name: &str, annotations: &str, spec: &str| {
        format!(
            "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}, namespace: shop, uid: {name}, \
             annotations: {{{annotations}}}}}\nspec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 10Gi}}}}, {spec}}}\n"
        )
    };
    let class = |name: &str, mode: &str| {
        format!(
            "---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {name}}}\n\
             provisioner: kubernetes.io/no-provisioner\nvolumeBindingMode: {mode}\n"
        )
    };
    let uses = |claim: &str| {
        format!(
            "schedulerName: mine, containers: [{{name: c}}], volumes: [{{name: v, persistentVolumeClaim: {{claimName: {claim}}}}}]"
        )
    };
    let cluster = [
        node("n1", "zone: a", ""),
        class("now", "Immediate"),
        class("local", "WaitForFirstConsumer"),
        claim("waits", "", "storageClassName: now"),
        claim("local", "", "storageClassName: local"),
        claim("bound", "pv.kubernetes.io/bind-completed: 'yes'", "storageClassName: local, volumeName: pv-1"),
        "---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-1}\nspec: {capacity: {storage: 10Gi}, accessModes: \
         [ReadWriteOnce], storageClassName: local, claimRef: {namespace: shop, name: bound, uid: bound}, nodeAffinity: {required: \
         {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [b]}]}]}}}\n"
            .to_owned(),
        claim("alone", "pv.kubernetes.io/bind-completed: 'yes'", "storageClassName: local, volumeName: pv-2")
            .replace("ReadWriteOnce]", "ReadWriteOncePod]"),
        "---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-2}\nspec: {capacity: {storage: 10Gi}, accessModes: \
         [ReadWriteOncePod], storageClassName: local, claimRef: {namespace: shop, name: alone, uid: alone}}\n"
            .to_owned(),
        pod("user", "", &format!("nodeName: n1, {}", uses("alone"))),
        pod("second", "", &uses("alone")),
        pod("gone", "", &uses("nowhere")),
        pod("waits", "", &uses("waits")),
        pod("local", "", &uses("local")),
        pod("bound", "", &uses("bound")),
    ];
    check(
        &cluster.concat(),
        expect![[r#"
            shop/second (mine): does not fit on the only node
              does not fit on
                1 node (VolumeRestrictions): node(s) unavailable due to
                  PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by
                  another pod
                  n1: claim shop/alone is for one pod only (ReadWriteOncePod), in use by
                    shop/user
              would help: an end of shop/user, or another access mode
              event: 0/1 nodes are available: 1 node(s) unavailable due to
                PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by
                another pod. preemption: 0/1 nodes are available: 1 No preemption victims
                found for incoming pod.

            shop/gone (mine): cannot be placed, whatever the node
              VolumeRestrictions: persistentvolumeclaim "nowhere" not found
                claim shop/nowhere is not there
              would help: creating PersistentVolumeClaim shop/nowhere
              event: 0/1 nodes are available: persistentvolumeclaim "nowhere" not found. not
                found

            shop/waits (mine): cannot be placed, whatever the node
              VolumeBinding: pod has unbound immediate PersistentVolumeClaims
                claim shop/waits is not bound yet; its StorageClass now binds without
                  waiting for a pod (Immediate)
              would help: a volume for claim shop/waits (kubectl describe pvc says why not)
              event: 0/1 nodes are available: pod has unbound immediate
                PersistentVolumeClaims. not found

            shop/local (mine): does not fit on the only node
              does not fit on
                1 node (VolumeBinding): node(s) didn't find available persistent volumes to
                  bind
                  n1: no volume for claim shop/local (10Gi, StorageClass "local") can be had
                    on the node
              would help: a PersistentVolume for claim shop/local (10Gi, StorageClass
                "local") on n1
              event: 0/1 nodes are available: 1 node(s) didn't find available persistent
                volumes to bind. preemption: 0/1 nodes are available: 1 Preemption is not
                helpful for scheduling.

            shop/bound (mine): does not fit on the only node
              does not fit on
                1 node (VolumeBinding): node(s) didn't match PersistentVolume's node
                  affinity
                  n1: claim shop/bound is bound to volume pv-1, which is for nodes with
                    zone=b
              would help: room on nodes with zone=b
              event: 0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node
                affinity. preemption: 0/1 nodes are available: 1 Preemption is not helpful
                for scheduling.
        "#]],
    );
}

#[test]
fn what_is_said_of_names_features_devices_and_capacities_is_told_in_full() {
    let to = |fields: &str| {
        format!(
            "schedulerName: mine, containers: [{{name: c}}], affinity: {{nodeAffinity: \
             {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{matchFields: [{fields}]}}]}}}}}}"
        )
    };
    let name = |names: &str| format!("{{key: metadata.name, operator: In, values: [{names}]}}");
    let cluster = [
        node("n1", "zone: a", ""),
        node("n2", "zone: b", ""),
        "---\napiVersion: resource.k8s.io/v1\nkind: DeviceClass\nmetadata: {name: gpus}\nspec: {extendedResourceName: example.com/gpu}\n"
            .to_owned(),
        "---\napiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: disks}\nspec: {storageCapacity: true}\n".to_owned(),
        "---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\nprovisioner: disks\nvolumeBindingMode: \
         WaitForFirstConsumer\n"
            .to_owned(),
        "---\napiVersion: storage.k8s.io/v1\nkind: CSIStorageCapacity\nmetadata: {name: a, namespace: disks}\nstorageClassName: fast\n\
         capacity: 3Gi\nnodeTopology: {matchLabels: {zone: a}}\n"
            .to_owned(),
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: shop, uid: data}\nspec: {accessModes: \
         [ReadWriteOnce], resources: {requests: {storage: 10Gi}}, storageClassName: fast}\n"
            .to_owned(),
        pod("elsewhere", "", &to(&name("n9"))),
        pod("torn", "", &to(&format!("{}, {}", name("n1"), name("n2")))),
        pod("needing", "", "schedulerName: mine, hostNetwork: true, hostUsers: false, containers: [{name: c}]"),
        pod("device", "", &format!("schedulerName: mine, {}", asks("example.com/gpu: 1"))),
        pod(
            "disk",
            "",
            "schedulerName: mine, containers: [{name: c}], volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]",
        ),
    ];
    check(
        &cluster.concat(),
        expect![[r#"
            shop/elsewhere (mine): fits on none of 2 nodes
              does not fit on
                2 nodes (PreFilter): node(s) didn't satisfy plugin(s) [NodeAffinity]
                  n1, n2: node affinity wants metadata.name=n9
              would help: a node with metadata.name=n9
              event: 0/2 nodes are available: 2 node(s) didn't satisfy plugin(s)
                [NodeAffinity]. preemption: 0/2 nodes are available: 2 Preemption is not
                helpful for scheduling.

            shop/torn (mine): cannot be placed, whatever the node
              NodeAffinity: pod affinity terms conflict
                node affinity wants metadata.name=n1,metadata.name=n2, which no node can
                  meet
              would help: a node affinity that some node can meet
              event: 0/2 nodes are available: pod affinity terms conflict. not found

            shop/needing (mine): fits on none of 2 nodes
              does not fit on
                2 nodes (NodeDeclaredFeatures): node(s) didn't match Pod's required features
                  n1, n2: does not declare the feature UserNamespacesHostNetworkSupport
                    (status.declaredFeatures), which the pod needs
              would help: a node whose kubelet has the feature
                UserNamespacesHostNetworkSupport
              event: 0/2 nodes are available: 2 node(s) didn't match Pod's required
                features. preemption: 0/2 nodes are available: 2 Preemption is not helpful
                for scheduling.

            shop/device (mine): fits on none of 2 nodes
              does not fit on
                2 nodes (DynamicResources): node(s) have no example.com/gpu from a device
                  plugin, and this scheduler does not allocate devices of DeviceClass gpus
                  (dynamic resource allocation)
                  n1, n2: offers no example.com/gpu
              would help: a node with example.com/gpu from a device plugin
              event: 0/2 nodes are available: 2 node(s) have no example.com/gpu from a
                device plugin, and this scheduler does not allocate devices of DeviceClass
                gpus (dynamic resource allocation). preemption: 0/2 nodes are available: 2
                Preemption is not helpful for scheduling.

            shop/disk (mine): fits on none of 2 nodes
              does not fit on
                2 nodes (VolumeBinding): node(s) did not have enough free storage
                  n1: the driver has room for 3Gi there, claim shop/data (10Gi, StorageClass
                    "fast") needs more
                  n2: the driver tells of no room there for claim shop/data (10Gi,
                    StorageClass "fast")
              would help: storage for claim shop/data (10Gi, StorageClass "fast") on n1
              event: 0/2 nodes are available: 2 node(s) did not have enough free storage.
                preemption: 0/2 nodes are available: 2 Preemption is not helpful for
                scheduling.
        "#]],
    );
}

#[test]
fn gates_nominations_and_victims_are_told() {
    let cluster = [
        node("n1", "", ""),
        pod("low", "", &format!("schedulerName: mine, nodeName: n1, priority: 0, {}", asks("cpu: 1"))),
        pod(
            "gated",
            "",
            "schedulerName: mine, schedulingGates: [{name: example.com/quota}], containers: [{name: c}]",
        ),
        pod("foreign", "", &format!("schedulerName: other, priority: 5, {}", asks("cpu: 2")))
            .trim_end()
            .to_owned()
            + "\nstatus: {nominatedNodeName: n1}\n",
        pod("waits", "", &format!("schedulerName: mine, priority: 0, {}", asks("cpu: 2"))),
        pod("urgent", "", &format!("schedulerName: mine, priority: 9, {}", asks("cpu: 4"))),
        pod("fits", "", &format!("schedulerName: mine, priority: 0, {}", asks("cpu: 500m"))),
    ];
    check(
        &cluster.concat(),
        expect![[r#"
            shop/gated (mine): is held back by SchedulingGates: waiting for scheduling
              gates: [example.com/quota]

            shop/waits (mine): does not fit on the only node
              does not fit on
                1 node (NodeResourcesFit): Insufficient cpu
                  n1: asks 2 cpu, 1 of 4 free
                  counted as there: pod shop/foreign (of other), nominated to n1
              would help: 1 more cpu free on n1, or a request of 1 or less
              event: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are
                available: 1 No preemption victims found for incoming pod.

            shop/urgent (mine): does not fit on the only node
              does not fit on
                1 node (NodeResourcesFit): Insufficient cpu
                  n1: asks 4 cpu, 3 of 4 free
              preemption: would evict 1 pod from node n1: shop/low
              event: 0/1 nodes are available: 1 Insufficient cpu. preemption: found a
                potential placement for pod on node n1, preempting 1 victims

            shop/fits (mine): fits on the only node
              goes to n1
        "#]],
    );
}

#[test]
fn scores_stand_below_each_other() {
    let cluster = [
        node("a-node-with-a-long-name-1", "", ""),
        node("a-node-with-a-long-name-2", "", ""),
        node("a-node-with-a-long-name-3", "", "taints: [{key: k, effect: PreferNoSchedule}]"),
        pod("web", "", &format!("schedulerName: mine, {}", asks("cpu: 1"))),
    ];
    check(
        &cluster.concat(),
        expect![[r#"
        shop/web (mine): fits on 3 of 3 nodes
          goes to one of 2 nodes alike: a-node-with-a-long-name-1,
            a-node-with-a-long-name-2
            SCORE                            a-node-with-a-long-name-1
            TaintToleration                  300 (100, raw 0)
            NodeResourcesFit                 86
            VolumeBinding                    0
            DynamicResources                 0
            NodeResourcesBalancedAllocation  68
            ImageLocality                    0
            total                            454
            … and 2 nodes
    "#]],
    );
}

#[test]
fn limits_of_volumes_are_told_by_driver_and_number() {
    let claim = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: pv-{name}}}\nspec: {{accessModes: [ReadWriteOnce], capacity: {{storage: 1Gi}}, csi: {{driver: csi.example.com, volumeHandle: {name}}}, claimRef: {{namespace: shop, name: {name}, uid: {name}}}}}\n\
             ---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}, namespace: shop, uid: {name}, annotations: {{pv.kubernetes.io/bind-completed: \"yes\"}}}}\nspec: {{volumeName: pv-{name}, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\nstatus: {{phase: Bound}}\n"
        )
    };
    let with = |claims: &[&str]| {
        let volumes: Vec<String> = claims
            .iter()
            .map(|claim| format!("{{name: {claim}, persistentVolumeClaim: {{claimName: {claim}}}}}"))
            .collect();
        format!("volumes: [{}], containers: [{{name: c}}]", volumes.join(", "))
    };
    let cluster = [
        node("n1", "", ""),
        "---\napiVersion: storage.k8s.io/v1\nkind: CSINode\nmetadata: {name: n1}\nspec: {drivers: [{name: csi.example.com, nodeID: n1, allocatable: {count: 2}}]}\n".to_owned(),
        ["a", "b", "c", "d"].map(claim).concat(),
        pod("there", "", &format!("nodeName: n1, {}", with(&["a"]))),
        pod("web", "", &format!("schedulerName: mine, {}", with(&["b", "c"]))),
        pod("huge", "", &format!("schedulerName: mine, {}", with(&["b", "c", "d"]))),
    ];
    check(
        &cluster.concat(),
        expect![[r#"
        shop/web (mine): does not fit on the only node
          does not fit on
            1 node (NodeVolumeLimits): node(s) exceed max volume count
              n1: attaches 2 volumes of csi.example.com, 1 of 2 free
          would help: room for 1 more volume of csi.example.com on n1
          event: 0/1 nodes are available: 1 node(s) exceed max volume count. preemption:
            0/1 nodes are available: 1 No preemption victims found for incoming pod.

        shop/huge (mine): does not fit on the only node
          does not fit on
            1 node (NodeVolumeLimits): node(s) exceed max volume count
              n1: attaches 3 volumes of csi.example.com, 1 of 2 free
          event: 0/1 nodes are available: 1 node(s) exceed max volume count. preemption:
            0/1 nodes are available: 1 No preemption victims found for incoming pod.
    "#]],
    );
}
