// Command kwok-stages prints the Stage documents that kwok's module carries as Go values, in the form that
// kwok's --config reads. Without them kwok ends with "no stages found".
package main

import (
	"fmt"
	"os"

	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodelease "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/yaml"
)

// kwok deletes a finished pod by its name and not by its UID, so that a pod recreated at once under the same
// name could be hit. The wait gives kwok the time to see the change first.
const podDeleteDelayMilliseconds = 200

func main() {
	podDelete, err := withDelay(podfast.DefaultPodDelete, podDeleteDelayMilliseconds)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kwok-stages: the pod-delete stage:", err)
		os.Exit(1)
	}
	for _, document := range []string{
		nodefast.DefaultNodeInit,
		nodelease.DefaultNodeHeartbeatWithLease,
		podfast.DefaultPodReady,
		podfast.DefaultPodComplete,
		podDelete,
	} {
		fmt.Printf("---\n%s\n", document)
	}
}

// withDelay returns the stage with a delay before it acts.
func withDelay(document string, milliseconds int) (string, error) {
	var stage map[string]any
	if err := yaml.UnmarshalStrict([]byte(document), &stage); err != nil {
		return "", err
	}
	spec, ok := stage["spec"].(map[string]any)
	if !ok {
		return "", fmt.Errorf("it has no spec")
	}
	if _, set := spec["delay"]; set {
		return "", fmt.Errorf("it already has a delay")
	}
	spec["delay"] = map[string]any{"durationMilliseconds": milliseconds}
	out, err := yaml.Marshal(stage)
	return string(out), err
}
