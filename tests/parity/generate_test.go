package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
)

// object is a Kubernetes object as plain JSON.
type object = map[string]any

// generator makes small clusters that are dense in what the plugins look at. It is the oracle's own, for checking the
// oracle against the real scheduler; the parity runs have another, larger one.
type generator struct {
	*rand.Rand
	objects []object
	nodes   []string
	claims  []string
}

func (g *generator) add(apiVersion, kind, name, namespace string, rest object) object {
	metadata := object{"name": name}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	made := object{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}
	for key, value := range rest {
		made[key] = value
	}
	g.objects = append(g.objects, made)
	return made
}

func (g *generator) one(of ...string) string { return of[g.Intn(len(of))] }

func (g *generator) chance(percent int) bool { return g.Intn(100) < percent }

// some keeps each of the pairs with the given chance.
func (g *generator) some(percent int, pairs map[string]func() string) object {
	kept := object{}
	for _, key := range sortedKeys(pairs) {
		if g.chance(percent) {
			kept[key] = pairs[key]()
		}
	}
	return kept
}

// caseLine is one random case.
func caseLine(seed int64) *Case {
	g := &generator{Rand: rand.New(rand.NewSource(seed))}
	g.surroundings()
	for i := range 2 + g.Intn(7) {
		g.node(fmt.Sprintf("n%d", i))
	}
	g.volumes()
	for i := range g.Intn(25) {
		g.pod(fmt.Sprintf("bound-%d", i), true)
	}
	for i := range 1 + g.Intn(4) {
		g.pod(fmt.Sprintf("waits-%d", i), false)
	}
	c := &Case{ID: fmt.Sprint(seed), Validate: true, Evaluate: true, Config: g.config()}
	for _, made := range g.objects {
		text, err := json.Marshal(made)
		if err != nil {
			panic(err)
		}
		c.Objects = append(c.Objects, text)
	}
	return c
}

func (g *generator) config() json.RawMessage {
	profile := object{"schedulerName": "my-scheduler"}
	switch g.Intn(8) {
	case 0:
		profile["pluginConfig"] = []object{
			{"name": "NodeResourcesFit", "args": object{"scoringStrategy": object{"type": g.one("MostAllocated", "LeastAllocated"), "resources": []object{{"name": "cpu", "weight": 3}, {"name": "example.com/gpu", "weight": 2}}}}},
			{"name": "InterPodAffinity", "args": object{"hardPodAffinityWeight": g.Intn(101), "ignorePreferredTermsOfExistingPods": g.chance(50)}},
		}
	case 1:
		profile["pluginConfig"] = []object{
			{"name": "NodeAffinity", "args": object{"addedAffinity": object{"requiredDuringSchedulingIgnoredDuringExecution": object{"nodeSelectorTerms": []object{{"matchExpressions": []object{{"key": "disk", "operator": "Exists"}}}}}}}},
			{"name": "PodTopologySpread", "args": object{"defaultingType": "List", "defaultConstraints": []object{{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": g.one("ScheduleAnyway", "DoNotSchedule")}}}},
			{"name": "DefaultPreemption", "args": object{"minCandidateNodesPercentage": 10, "minCandidateNodesAbsolute": 1 + g.Intn(2)}},
		}
	case 2:
		profile["plugins"] = object{"score": object{"disabled": []object{{"name": "*"}}, "enabled": []object{{"name": "NodeResourcesFit", "weight": 5}, {"name": "NodeAffinity"}}}}
	case 3:
		profile["plugins"] = object{"filter": object{"disabled": []object{{"name": g.one("NodeResourcesFit", "TaintToleration", "InterPodAffinity")}}}, "postFilter": object{"disabled": []object{{"name": "*"}}}}
	case 4:
		profile["plugins"] = object{"preScore": object{"disabled": []object{{"name": "*"}}}, "score": object{"disabled": []object{{"name": "*"}}}}
	case 5:
		profile["pluginConfig"] = []object{{"name": "NodeResourcesFit", "args": object{"ignoredResources": []string{"example.com/gpu"}, "scoringStrategy": object{"type": "RequestedToCapacityRatio", "resources": []object{{"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1}}, "requestedToCapacityRatio": object{"shape": []object{{"utilization": 0, "score": 0}, {"utilization": 40, "score": 7}, {"utilization": 100, "score": 3}}}}}}}
	default:
		return nil
	}
	text, err := json.Marshal(object{"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "percentageOfNodesToScore": 100, "profiles": []object{profile}})
	if err != nil {
		panic(err)
	}
	return text
}

func (g *generator) surroundings() {
	for _, name := range []string{"default", "team"} {
		labels := g.some(60, map[string]func() string{"env": func() string { return g.one("prod", "test") }})
		g.add("v1", "Namespace", name, "", nil)["metadata"].(object)["labels"] = labels
	}
	for i, value := range []int{-10, 0, 10, 1000} {
		g.add("scheduling.k8s.io/v1", "PriorityClass", fmt.Sprintf("class-%d", i), "", object{"value": value, "preemptionPolicy": g.one("PreemptLowerPriority", "PreemptLowerPriority", "Never")})
	}
	for i := range g.Intn(3) {
		g.add("v1", "Service", fmt.Sprintf("service-%d", i), "default", object{"spec": object{"selector": g.labels(), "ports": []object{{"port": 80}}}})
	}
	if g.chance(50) {
		labels := object{"app": g.one("a", "b")}
		g.add("apps/v1", "ReplicaSet", "owner", "default", object{"spec": object{"selector": object{"matchLabels": labels}, "template": object{"metadata": object{"labels": labels}, "spec": object{"containers": []object{{"name": "c", "image": "i"}}}}}})
	}
	for i := range g.Intn(3) {
		g.add("policy/v1", "PodDisruptionBudget", fmt.Sprintf("budget-%d", i), "default", object{
			"spec":   object{"minAvailable": 1, "selector": object{"matchLabels": g.labels()}},
			"status": object{"disruptionsAllowed": g.Intn(3), "currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3},
		})
	}
}

func (g *generator) labels() object {
	return g.some(60, map[string]func() string{"app": func() string { return g.one("a", "b") }, "tier": func() string { return g.one("web", "db") }})
}

func (g *generator) node(name string) {
	g.nodes = append(g.nodes, name)
	labels := g.some(80, map[string]func() string{
		"topology.kubernetes.io/zone":   func() string { return g.one("z1", "z2", "z3") },
		"topology.kubernetes.io/region": func() string { return g.one("r1", "r2") },
		"rack":                          func() string { return g.one("1", "2") },
		"disk":                          func() string { return g.one("ssd", "hdd") },
		"kubernetes.io/hostname":        func() string { return name },
	})
	allocatable := object{"cpu": g.one("1", "2", "4"), "memory": g.one("2Gi", "4Gi", "1000M"), "pods": g.one("1", "3", "110"), "ephemeral-storage": "10Gi"}
	for key, value := range g.some(30, map[string]func() string{"example.com/gpu": func() string { return g.one("0", "1", "4") }, "hugepages-2Mi": func() string { return g.one("4Mi", "64Mi") }}) {
		allocatable[key] = value
	}
	spec := object{}
	if g.chance(6) {
		spec["unschedulable"] = true
	}
	var taints []object
	for _, effect := range []string{"NoSchedule", "PreferNoSchedule", "NoExecute"} {
		if g.chance(8) {
			taints = append(taints, object{"key": g.one("dedicated", "gpu"), "value": g.one("x", "y"), "effect": effect})
		}
	}
	if taints != nil {
		spec["taints"] = taints
	}
	status := object{"allocatable": allocatable, "capacity": allocatable}
	if g.chance(40) {
		status["images"] = []object{{"names": []string{g.one("app:1", "app:2") + "0"}, "sizeBytes": g.Intn(900) << 20}, {"names": []string{"web:latest"}, "sizeBytes": 300 << 20}}
	}
	g.add("v1", "Node", name, "", object{"spec": spec, "status": status})["metadata"].(object)["labels"] = labels
	if g.chance(60) {
		driver := object{"name": "csi.example.com", "nodeID": name, "topologyKeys": []string{"rack"}}
		if g.chance(70) {
			driver["allocatable"] = object{"count": g.Intn(3)}
		}
		g.add("storage.k8s.io/v1", "CSINode", name, "", object{"spec": object{"drivers": []object{driver}}})
	}
}

func (g *generator) volumes() {
	g.add("storage.k8s.io/v1", "StorageClass", "late", "", object{"provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer",
		"allowedTopologies": []object{{"matchLabelExpressions": []object{{"key": "rack", "values": []string{"1"}}}}}})
	g.add("storage.k8s.io/v1", "StorageClass", "static", "", object{"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"})
	g.add("storage.k8s.io/v1", "StorageClass", "now", "", object{"provisioner": "csi.example.com", "volumeBindingMode": "Immediate"})
	if g.chance(50) {
		g.add("storage.k8s.io/v1", "CSIDriver", "csi.example.com", "", object{"spec": object{"storageCapacity": g.chance(70)}})
		g.add("storage.k8s.io/v1", "CSIStorageCapacity", "room", "default", object{"storageClassName": "late", "capacity": g.one("1Gi", "100Gi"), "nodeTopology": object{"matchLabels": object{"rack": "1"}}})
	}
	for i := range 6 {
		name, volume := fmt.Sprintf("claim-%d", i), fmt.Sprintf("volume-%d", i)
		class, mode, size := g.one("late", "static", "now"), g.one("ReadWriteOnce", "ReadWriteOncePod"), g.one("1Gi", "2Gi", "5Gi")
		g.claims = append(g.claims, name)
		spec := object{"accessModes": []string{mode}, "resources": object{"requests": object{"storage": size}}, "storageClassName": class}
		claim := object{"spec": spec}
		pv := object{"capacity": object{"storage": size}, "accessModes": []string{mode}, "storageClassName": class, "csi": object{"driver": "csi.example.com", "volumeHandle": volume}}
		if g.chance(50) {
			pv["nodeAffinity"] = object{"required": object{"nodeSelectorTerms": []object{{"matchExpressions": []object{{"key": "rack", "operator": "In", "values": []string{g.one("1", "2")}}}}}}}
		}
		bound := g.chance(50)
		if bound {
			spec["volumeName"] = volume
			claim["status"] = object{"phase": "Bound"}
			pv["claimRef"] = object{"kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": "uid-" + name}
		}
		if g.chance(85) {
			made := g.add("v1", "PersistentVolumeClaim", name, "default", claim)["metadata"].(object)
			made["uid"] = "uid-" + name
			if bound {
				made["annotations"] = object{"pv.kubernetes.io/bind-completed": "yes"}
			} else if class != "now" && g.chance(10) {
				made["annotations"] = object{"volume.kubernetes.io/selected-node": g.nodes[0]}
			}
		}
		if bound && g.chance(90) || class == "static" {
			phase := "Available"
			if bound {
				phase = "Bound"
			}
			made := g.add("v1", "PersistentVolume", volume, "", object{"spec": pv, "status": object{"phase": phase}})["metadata"].(object)
			made["labels"] = g.some(40, map[string]func() string{"topology.kubernetes.io/zone": func() string { return g.one("z1", "z2__z3") }})
		}
	}
}

func (g *generator) resources() object {
	requests := g.some(70, map[string]func() string{
		"cpu":    func() string { return g.one("0", "100m", "500m", "1", "3") },
		"memory": func() string { return g.one("100m", "1.5Gi", "64Mi", "1G") },
	})
	resources := object{"requests": requests}
	limits := g.some(15, map[string]func() string{"example.com/gpu": func() string { return g.one("0", "1", "2") }})
	if g.chance(10) {
		limits["hugepages-2Mi"] = "4Mi"
		requests["memory"] = "64Mi"
	}
	if len(limits) > 0 {
		resources["limits"] = limits
	}
	return resources
}

func (g *generator) selector() object {
	selector := object{"matchLabels": g.labels()}
	if g.chance(20) {
		selector["matchExpressions"] = []object{{"key": "tier", "operator": g.one("Exists", "DoesNotExist")}}
	}
	return selector
}

func (g *generator) affinityTerm() object {
	term := object{"topologyKey": g.one("topology.kubernetes.io/zone", "rack", "kubernetes.io/hostname"), "labelSelector": g.selector()}
	switch g.Intn(4) {
	case 0:
		term["namespaces"] = []string{"team"}
	case 1:
		term["namespaceSelector"] = object{"matchLabels": object{"env": g.one("prod", "test")}}
	case 2:
		term["matchLabelKeys"] = []string{"version"}
	}
	return term
}

func (g *generator) terms() object {
	affinity := object{}
	if g.chance(40) {
		affinity["requiredDuringSchedulingIgnoredDuringExecution"] = []object{g.affinityTerm()}
	}
	if g.chance(60) {
		affinity["preferredDuringSchedulingIgnoredDuringExecution"] = []object{{"weight": 1 + g.Intn(100), "podAffinityTerm": g.affinityTerm()}}
	}
	return affinity
}

func (g *generator) affinity() object {
	affinity := object{}
	if g.chance(25) {
		affinity["podAffinity"] = g.terms()
	}
	if g.chance(25) {
		affinity["podAntiAffinity"] = g.terms()
	}
	if g.chance(30) {
		match := []object{{"key": g.one("disk", "rack"), "operator": "In", "values": []string{g.one("ssd", "1"), "hdd"}}}
		nodeAffinity := object{"preferredDuringSchedulingIgnoredDuringExecution": []object{{"weight": 1 + g.Intn(100), "preference": object{"matchExpressions": match}}}}
		if g.chance(50) {
			nodeAffinity["requiredDuringSchedulingIgnoredDuringExecution"] = object{"nodeSelectorTerms": []object{{"matchExpressions": match}}}
		} else if g.chance(20) {
			nodeAffinity["requiredDuringSchedulingIgnoredDuringExecution"] = object{"nodeSelectorTerms": []object{{"matchFields": []object{{"key": "metadata.name", "operator": "In", "values": []string{g.one(g.nodes...)}}}}}}
		}
		affinity["nodeAffinity"] = nodeAffinity
	}
	return affinity
}

func (g *generator) pod(name string, bound bool) {
	container := object{"name": "c", "image": g.one("app:10", "app:20", "web", "other"), "resources": g.resources()}
	spec := object{"schedulerName": "my-scheduler", "containers": []object{container}, "affinity": g.affinity()}
	if g.chance(10) {
		port := object{"containerPort": 80, "hostPort": 8000 + g.Intn(2), "protocol": g.one("TCP", "UDP")}
		if g.chance(50) {
			port["hostIP"] = g.one("10.0.0.1", "10.0.0.2")
		}
		container["ports"] = []object{port}
	}
	if g.chance(15) {
		init := object{"name": "init", "image": "web", "resources": g.resources()}
		if g.chance(50) {
			init["restartPolicy"] = "Always"
		}
		spec["initContainers"] = []object{init}
	}
	if g.chance(15) {
		spec["overhead"] = object{"cpu": "50m"}
	}
	if g.chance(10) {
		spec["resources"] = object{"requests": object{"cpu": g.one("200m", "2")}}
	}
	if bound && g.chance(60) {
		spec["priorityClassName"] = g.one("class-0", "class-1", "class-2")
	}
	if !bound && g.chance(60) {
		spec["priorityClassName"] = g.one("class-1", "class-2", "class-3")
	}
	if g.chance(30) {
		spec["tolerations"] = []object{{"key": g.one("dedicated", "gpu"), "operator": "Exists", "effect": g.one("", "NoSchedule", "PreferNoSchedule")}}
	}
	if g.chance(10) {
		spec["nodeSelector"] = object{"disk": "ssd"}
	}
	if g.chance(30) {
		constraint := object{"maxSkew": 1 + g.Intn(2), "topologyKey": g.one("topology.kubernetes.io/zone", "rack", "kubernetes.io/hostname"), "labelSelector": g.selector(), "whenUnsatisfiable": g.one("DoNotSchedule", "ScheduleAnyway")}
		if g.chance(30) && constraint["whenUnsatisfiable"] == "DoNotSchedule" {
			constraint["minDomains"] = 1 + g.Intn(4)
		}
		if g.chance(30) {
			constraint["nodeTaintsPolicy"] = g.one("Honor", "Ignore")
			constraint["nodeAffinityPolicy"] = g.one("Honor", "Ignore")
		}
		if g.chance(30) {
			constraint["matchLabelKeys"] = []string{"version"}
		}
		spec["topologySpreadConstraints"] = []object{constraint}
	}
	namespace := g.one("default", "default", "team")
	if namespace == "default" && g.chance(20) {
		spec["volumes"] = []object{{"name": "v", "persistentVolumeClaim": object{"claimName": g.one(g.claims...)}}}
		if g.chance(20) {
			spec["volumes"] = []object{{"name": "v", "gcePersistentDisk": object{"pdName": g.one("d1", "d2"), "readOnly": g.chance(50)}}}
		}
	}
	status := object{}
	metadata := object{}
	if bound {
		spec["nodeName"] = g.one(g.nodes...)
		status["phase"] = "Running"
		if g.chance(85) {
			status["startTime"] = fmt.Sprintf("2026-01-01T00:0%d:00Z", g.Intn(5))
		}
		if g.chance(15) {
			status["containerStatuses"] = []object{{"name": "c", "image": "i", "imageID": "i", "ready": true, "restartCount": 0, "resources": object{"requests": object{"cpu": "700m"}}, "allocatedResources": object{"cpu": "600m"}}}
		}
		if g.chance(10) {
			metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"] = "2026-01-01T01:00:00Z", 30
			if g.chance(50) {
				status["conditions"] = []object{{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}}
			}
		}
	} else {
		if g.chance(25) {
			status["nominatedNodeName"] = g.one(g.nodes...)
		}
		if g.chance(5) {
			spec["schedulingGates"] = []object{{"name": "example.com/wait"}}
		}
	}
	made := g.add("v1", "Pod", name, namespace, object{"spec": spec, "status": status})["metadata"].(object)
	for key, value := range metadata {
		made[key] = value
	}
	labels := g.labels()
	if g.chance(40) {
		labels["version"] = g.one("1", "2")
	}
	made["labels"] = labels
	if g.chance(20) {
		made["ownerReferences"] = []object{{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "owner", "uid": "owner", "controller": true}}
	}
}
