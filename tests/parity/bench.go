package main

import (
	"slices"
	"time"
)

// benchCase measures the real scheduler's UpdateSnapshot and SchedulePod for each pod of the case, each on its own. Ns is
// the median of the repetitions after one that only warms up. Whether the pod fits is answered too, and nothing else.
func benchCase(c *Case, parallelism, repeat int) *Answer {
	answer := &Answer{ID: c.ID}
	results, err := benchPods(c, parallelism, max(repeat, 1))
	if err != nil {
		answer.Error = err.Error()
	}
	answer.Results = results
	return answer
}

func benchPods(c *Case, parallelism, repeat int) ([]*Result, error) {
	cfg, objects, err := c.decode()
	if err != nil {
		return nil, err
	}
	world, err := newCluster(cfg, newStaticFactory())
	if err != nil {
		return nil, err
	}
	if err := world.load(objects); err != nil {
		return nil, err
	}
	pods, err := world.pending(c.Pods)
	world.close()
	if err != nil {
		return nil, err
	}
	sched, err := newRealScheduler(cfg, objects, parallelism, false)
	if err != nil {
		return nil, err
	}
	defer sched.close()
	var results []*Result
	for _, pod := range pods {
		result := &Result{Pod: podName(pod), Profile: pod.Spec.SchedulerName, Nodes: map[string]*NodeResult{}, Best: []string{}}
		results = append(results, result)
		if queued, ok := sched.SchedulingQueue.GetPod(pod.Name, pod.Namespace, pod.Spec.SchedulingGroup); ok && queued.Gated() {
			result.Result = resultGated
			continue
		}
		times := make([]int64, 0, repeat)
		for turn := range repeat + 1 {
			start := time.Now()
			if err := sched.updateSnapshot(sched.Profiles[pod.Spec.SchedulerName]); err != nil {
				return nil, err
			}
			scheduled, err := sched.schedulePod(pod)
			spent := time.Since(start).Nanoseconds()
			if turn > 0 {
				times = append(times, spent)
			}
			result.Result = resultSchedulable
			if err != nil {
				result.Result = resultUnschedulable
			} else {
				result.Best = []string{scheduled.SuggestedHost}
			}
		}
		slices.Sort(times)
		result.Ns = times[len(times)/2]
	}
	return results, nil
}
