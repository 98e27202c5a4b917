package main

import (
	"bytes"
	"encoding/json"
	"math/rand"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// orderLimit bounds the orders of volumes that are tried: all of them for four volumes, as many samples for more.
const orderLimit = 24

// volumeOrders gives other orders of the case's persistent volumes. Upstream lists them out of a Go map, and of volumes
// that fit a claim equally well the first is taken; with several claims that may decide whether all find one.
func volumeOrders(objects []runtime.Object) [][]runtime.Object {
	var at []int
	for i, obj := range objects {
		if _, ok := obj.(*v1.PersistentVolume); ok {
			at = append(at, i)
		}
	}
	if len(at) < 2 {
		return nil
	}
	var orders [][]runtime.Object
	arrange := func(order []int) {
		arranged := append([]runtime.Object(nil), objects...)
		for i, from := range order {
			arranged[at[i]] = objects[from]
		}
		orders = append(orders, arranged)
	}
	if len(at) <= 4 {
		permute(append([]int(nil), at...), 0, arrange)
		return orders[1:] // the first is the file's own
	}
	random := rand.New(rand.NewSource(1))
	for range orderLimit {
		order := append([]int(nil), at...)
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		arrange(order)
	}
	return orders
}

// permute hands out all orders of list[from:], the given one first.
func permute(list []int, from int, yield func([]int)) {
	if from == len(list) {
		yield(list)
		return
	}
	for i := from; i < len(list); i++ {
		list[from], list[i] = list[i], list[from]
		permute(list, from+1, yield)
		list[from], list[i] = list[i], list[from]
	}
}

// claimsSeveral says whether the order of volumes may matter for the pod.
func claimsSeveral(pod *v1.Pod) bool {
	claims := 0
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim != nil || volume.Ephemeral != nil {
			claims++
		}
	}
	return claims > 1
}

// addOtherOrders fills Any of the results whose pods have several claims.
func addOtherOrders(c *Case, objects []runtime.Object, results []*Result, pods []*v1.Pod) error {
	var wanted []string
	byPod := map[string]*Result{}
	for i, pod := range pods {
		if claimsSeveral(pod) {
			wanted = append(wanted, podName(pod))
			byPod[podName(pod)] = results[i]
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	seen := map[string][][]byte{}
	for _, arranged := range volumeOrders(objects) {
		others, _, err := evaluateOnce(&Case{Config: c.Config, Extenders: c.Extenders, Pods: wanted}, arranged)
		if err != nil {
			return err
		}
		for _, other := range others {
			if err := addIfNew(byPod[other.Pod], other, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func addIfNew(result, other *Result, seen map[string][][]byte) error {
	texts := seen[result.Pod]
	if texts == nil {
		text, err := json.Marshal(result)
		if err != nil {
			return err
		}
		texts = [][]byte{text}
	}
	text, err := json.Marshal(other)
	if err != nil {
		return err
	}
	for _, known := range texts {
		if bytes.Equal(known, text) {
			seen[result.Pod] = texts
			return nil
		}
	}
	seen[result.Pod] = append(texts, text)
	result.Any = append(result.Any, other)
	return nil
}
