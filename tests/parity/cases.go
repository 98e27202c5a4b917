package main

import (
	"errors"

	v1 "k8s.io/api/core/v1"
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
	if len(cfg.Extenders) > 0 {
		return nil, nil, errors.New("the configuration has extenders, which the oracle does not call")
	}
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
	return cfg, objects, completeIdentities(objects)
}
