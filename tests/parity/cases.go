package main

import (
	"cmp"
	"slices"

	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
)

// evaluateCase is the plain mode: results, or the objects as an API server would store them, or both.
func evaluateCase(c *Case) *Answer {
	answer := &Answer{ID: c.ID}
	if c.Validate {
		stored, rejected := admit(c.Objects)
		answer.Objects, answer.Rejected = stored, rejected
		if !c.Evaluate {
			return answer
		}
		c.Objects = stored
	}
	results, err := evaluateObjects(c)
	if err != nil {
		answer.Error = err.Error()
		return answer
	}
	answer.Results = results
	return answer
}

func evaluateObjects(c *Case) ([]*Result, error) {
	_, objects, err := c.decode()
	if err != nil {
		return nil, err
	}
	results, pods, err := evaluateOnce(c, objects)
	if err != nil {
		return nil, err
	}
	return results, addOtherOrders(c, objects, results, pods)
}

// evaluateOnce evaluates the pods against the objects as they are ordered.
func evaluateOnce(c *Case, objects []runtime.Object) ([]*Result, []*v1.Pod, error) {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return nil, nil, err
	}
	release, err := takeExtenderHosts(cfg.Extenders, c.Extenders)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	world, err := newCluster(cfg, newStaticFactory())
	if err != nil {
		return nil, nil, err
	}
	defer world.close()
	if err := world.load(objects); err != nil {
		return nil, nil, err
	}
	pods, err := world.pending(c.Pods)
	if err != nil {
		return nil, nil, err
	}
	results := []*Result{}
	for _, pod := range pods {
		result, err := world.evaluate(pod)
		if err != nil {
			return nil, nil, err
		}
		results = append(results, result)
	}
	return results, pods, nil
}

func (c *Case) decode() (*config.KubeSchedulerConfiguration, []runtime.Object, error) {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return nil, nil, err
	}
	objects, err := decodeObjects(c.Objects)
	if err != nil {
		return nil, nil, err
	}
	if err := completeIdentities(objects); err != nil {
		return nil, nil, err
	}
	return cfg, inOrderOfNames(objects), nil
}

// inOrderOfNames gives the places of the disruption budgets, and those of the storage capacities, to the objects of the kind
// in the order of their names. Upstream lists them out of a Go map, and of several that concern a pod the first decides: any
// order is right, and secondmate takes this one.
func inOrderOfNames(objects []runtime.Object) []runtime.Object {
	sorted := slices.Clone(objects)
	reorder[*policyv1.PodDisruptionBudget](sorted)
	reorder[*storagev1.CSIStorageCapacity](sorted)
	return sorted
}

func reorder[T metav1.Object](objects []runtime.Object) {
	var places []int
	var kind []runtime.Object
	for i, obj := range objects {
		if _, ok := obj.(T); ok {
			places, kind = append(places, i), append(kind, obj)
		}
	}
	slices.SortStableFunc(kind, func(a, b runtime.Object) int {
		first, second := a.(T), b.(T)
		return cmp.Or(cmp.Compare(first.GetNamespace(), second.GetNamespace()), cmp.Compare(first.GetName(), second.GetName()))
	})
	for i, place := range places {
		objects[place] = kind[i]
	}
}
