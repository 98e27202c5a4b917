package main

import (
	"errors"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// selfCheckCase evaluates a case and holds each result against the real scheduler: SchedulePod for the verdicts on the
// nodes and the choice, and, for a pod that does not fit, a whole cycle for the event, the nomination and the evictions.
func selfCheckCase(c *Case) *Answer {
	answer := evaluateCase(c) // with Validate and Evaluate, c.Objects are the stored objects afterwards
	if answer.Error != "" || c.Validate && !c.Evaluate {
		return answer
	}
	cfg, objects, err := c.decode()
	if err != nil {
		answer.Error = err.Error()
		return answer
	}
	release, err := takeExtenderHosts(cfg.Extenders, c.Extenders)
	if err != nil {
		answer.Error = err.Error()
		return answer
	}
	defer release()
	for _, result := range answer.Results {
		differences, err := selfCheckPod(cfg, objects, result)
		if err != nil {
			answer.Error = err.Error()
			return answer
		}
		answer.Checked++
		for _, difference := range differences {
			answer.SelfCheck = append(answer.SelfCheck, result.Pod+": "+difference)
		}
	}
	return answer
}

func selfCheckPod(cfg *config.KubeSchedulerConfiguration, objects []runtime.Object, result *Result) ([]string, error) {
	check := &comparison{result: result}
	sched, err := newRealScheduler(cfg, objects, 1, true)
	if err != nil {
		return nil, err
	}
	defer sched.close()
	pod := sched.pods[result.Pod]
	queued, ok := sched.SchedulingQueue.GetPod(pod.Name, pod.Namespace, pod.Spec.SchedulingGroup)
	if !ok {
		return nil, fmt.Errorf("pod %s is not in the real scheduler's queue", result.Pod)
	}
	if queued.Gated() != (result.Result == resultGated) {
		check.differ("gated: real %v, oracle %s", queued.Gated(), result.Result)
	}
	if queued.Gated() {
		return check.differences, nil
	}
	if err := sched.updateSnapshot(sched.Profiles[result.Profile]); err != nil {
		return nil, err
	}
	scheduled, err := sched.schedulePod(pod)
	check.schedulePod(sched.Profiles[result.Profile], pod, scheduled, err)
	if err == nil {
		return check.differences, nil
	}
	message, err := sched.failedEvent(pod)
	if err != nil {
		return nil, err
	}
	check.nomination(sched, pod, message)
	return check.differences, nil
}

// comparison collects where the real scheduler says something else than a result.
type comparison struct {
	result      *Result
	differences []string
}

func (c *comparison) differ(format string, args ...any) {
	c.differences = append(c.differences, fmt.Sprintf(format, args...))
}

func (c *comparison) schedulePod(fw framework.Framework, pod *v1.Pod, scheduled scheduler.ScheduleResult, err error) {
	var fit *framework.FitError
	switch {
	case err == nil:
		c.choice(fw, pod, scheduled)
	case errors.As(err, &fit):
		if c.result.Result != resultUnschedulable {
			c.differ("real unschedulable, oracle %s", c.result.Result)
			return
		}
		c.diagnosis(fit.Diagnosis)
	default:
		wanted := resultError
		if errors.Is(err, scheduler.ErrNoNodesAvailable) {
			wanted = resultUnschedulable
		}
		if c.result.Result != wanted || c.result.Message != eventNote(err.Error()) {
			c.differ("real %s %q, oracle %s %q", wanted, err, c.result.Result, c.result.Message)
		}
	}
}

func (c *comparison) choice(fw framework.Framework, pod *v1.Pod, scheduled scheduler.ScheduleResult) {
	if c.result.Result == resultError && scheduled.SuggestedHost == pod.Status.NominatedNodeName {
		return // the nominated node is taken before the node that the error is about is looked at
	}
	if c.result.Result != resultSchedulable {
		c.differ("real schedulable on %s, oracle %s", scheduled.SuggestedHost, c.result.Result)
		return
	}
	if nominated := c.result.Nodes[pod.Status.NominatedNodeName]; nominated != nil && nominated.Total != nil {
		// Production takes the pod's own nominated node without looking further.
		if scheduled.SuggestedHost != pod.Status.NominatedNodeName {
			c.differ("real takes %s, not the nominated node", scheduled.SuggestedHost)
		}
		return
	}
	if !slices.Contains(c.result.Best, scheduled.SuggestedHost) {
		c.differ("real takes %s, the oracle's best are %v", scheduled.SuggestedHost, c.result.Best)
	}
	if !fw.HasScorePlugins() {
		return // it stops at the first node that fits
	}
	feasible := 0
	for _, node := range c.result.Nodes {
		if node.Total != nil {
			feasible++
		}
	}
	if scheduled.FeasibleNodes != feasible {
		c.differ("real finds %d feasible nodes, the oracle %d", scheduled.FeasibleNodes, feasible)
	}
}

func (c *comparison) diagnosis(diagnosis framework.Diagnosis) {
	if (diagnosis.PreFilterMsg != "") != (c.result.PreFilter != nil) {
		c.differ("PreFilter: real %q, oracle %+v", diagnosis.PreFilterMsg, c.result.PreFilter)
	}
	if c.result.PreFilter != nil {
		c.verdict("PreFilter", diagnosis.NodeToStatus.AbsentNodesStatus().Code().String(), diagnosis.NodeToStatus.AbsentNodesStatus().Plugin(),
			diagnosis.NodeToStatus.AbsentNodesStatus().Reasons(), c.result.PreFilter.Code, c.result.PreFilter.Plugin, c.result.PreFilter.Reasons)
		return
	}
	for name, node := range c.result.Nodes {
		status := diagnosis.NodeToStatus.Get(name)
		c.verdict("node "+name, status.Code().String(), status.Plugin(), status.Reasons(), node.Code, node.Plugin, node.Reasons)
	}
}

// verdict compares code, plugin and the set of reasons; several scalar resources come in random order.
func (c *comparison) verdict(what, realCode, realPlugin string, realReasons []string, code, plugin string, reasons []string) {
	realReasons, reasons = slices.Sorted(slices.Values(realReasons)), slices.Sorted(slices.Values(reasons))
	if realCode != code || realPlugin != plugin || !slices.Equal(realReasons, reasons) {
		c.differ("%s: real %s %s %q, oracle %s %s %q", what, realCode, realPlugin, realReasons, code, plugin, reasons)
	}
}

// nomination compares what PostFilter did: the event's text, the node and the evictions.
func (c *comparison) nomination(sched *realScheduler, pod *v1.Pod, event string) {
	answers, messages := c.result.PostFilterAny, c.result.MessageAny
	if messages == nil {
		messages = []string{c.result.Message}
	}
	if !slices.Contains(messages, event) {
		c.differ("event: real %q, oracle %q", event, messages)
		return
	}
	if answers == nil && c.result.PostFilter != nil {
		answers = []*PostFilter{c.result.PostFilter}
	}
	node := sched.nomination(pod, c.result.Nodes)
	if len(answers) == 0 {
		// Where PostFilter says nothing of a nomination, the pod keeps its own.
		if node != "" && node != pod.Status.NominatedNodeName {
			c.differ("real nominates %s, the oracle nothing", node)
		}
		return
	}
	at := slices.IndexFunc(answers, func(answer *PostFilter) bool { return answer.NominatedNode == node })
	if at < 0 {
		c.differ("real nominates %q, which is not among the oracle's answers", node)
		return
	}
	if messages[at] != event {
		c.differ("event: real %q for a nomination of %s, oracle %q", event, node, messages[at])
	}
	var victims []string
	for _, victim := range answers[at].Victims {
		if sched.pods[victim].DeletionTimestamp == nil {
			victims = append(victims, victim)
		}
	}
	slices.Sort(victims)
	if evicted := sched.evicted(len(victims)); !slices.Equal(evicted, victims) {
		c.differ("real evicts %v on %s, the oracle %v", evicted, node, victims)
	}
}
