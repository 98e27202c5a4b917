package main

import (
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
	cfg, objects, err := c.decode()
	if err != nil {
		return nil, err
	}
	world, err := newCluster(cfg, newStaticFactory())
	if err != nil {
		return nil, err
	}
	defer world.close()
	if err := world.load(objects); err != nil {
		return nil, err
	}
	pods, err := world.pending(c.Pods)
	if err != nil {
		return nil, err
	}
	results := []*Result{}
	for _, pod := range pods {
		result, err := world.evaluate(pod)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, nil
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
