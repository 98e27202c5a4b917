package main

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

// evaluation is one scheduling cycle of one pod up to the point where a node would be taken.
type evaluation struct {
	*cluster
	fw     framework.Framework
	pod    *v1.Pod
	state  fwk.CycleState
	result *Result
}

// evaluate answers for one pod. The error is the oracle's own: it could not tell what the framework says.
func (c *cluster) evaluate(pod *v1.Pod) (*Result, error) {
	e := &evaluation{
		cluster: c, fw: c.frameworkFor(pod), pod: pod,
		state:  framework.NewCycleState(),
		result: &Result{Pod: podName(pod), Profile: pod.Spec.SchedulerName, Nodes: map[string]*NodeResult{}, Best: []string{}},
	}
	e.state.Write(framework.PodsToActivateKey, framework.NewPodsToActivate())
	if e.gated() {
		e.result.Result = resultGated
		return e.result, nil
	}
	feasible, diagnosis, err := e.findNodesThatFit()
	if err == nil && len(feasible) > 0 {
		err = e.prioritize(feasible)
		if err == nil {
			e.result.Result = resultSchedulable
			return e.result, nil
		}
	}
	var inconsistent inconsistency
	switch {
	case errors.As(err, &inconsistent):
		return nil, fmt.Errorf("pod %s: %w", e.result.Pod, err)
	case errors.Is(err, scheduler.ErrNoNodesAvailable):
		e.result.Result, e.result.Message = resultUnschedulable, eventNote(err.Error())
		return e.result, nil
	case err != nil:
		e.result.Result, e.result.Message = resultError, eventNote(err.Error())
		e.result.Nodes, e.result.PreFilter = map[string]*NodeResult{}, nil
		return e.result, nil
	}
	e.result.Result = resultUnschedulable
	return e.result, e.fail(diagnosis)
}

// inconsistency is an error of the oracle itself: two ways of asking the framework gave different answers.
type inconsistency struct{ what string }

func (i inconsistency) Error() string { return "the oracle contradicts itself: " + i.what }

func (e *evaluation) gated() bool {
	for _, plugin := range e.fw.PreEnqueuePlugins() {
		if !plugin.PreEnqueue(e.ctx, e.pod).IsSuccess() {
			return true
		}
	}
	return false
}

// findNodesThatFit follows Scheduler.findNodesThatFitPod: the same calls of the framework in the same order, but for
// every node, and without ending the search at the pod's own nominated node.
func (e *evaluation) findNodesThatFit() ([]fwk.NodeInfo, *framework.Diagnosis, error) {
	diagnosis := &framework.Diagnosis{NodeToStatus: framework.NewDefaultNodeToStatus()}
	allNodes, err := e.snapshot.ListNodesInPlacement()
	if err != nil {
		return nil, nil, err
	}
	if len(allNodes) == 0 {
		return nil, nil, scheduler.ErrNoNodesAvailable
	}
	preFilterResult, status, narrowing := e.fw.RunPreFilterPlugins(e.ctx, e.state, e.pod)
	diagnosis.UnschedulablePlugins = narrowing
	if !status.IsSuccess() {
		if !status.IsRejected() {
			return nil, nil, status.AsError()
		}
		diagnosis.NodeToStatus.SetAbsentNodesStatus(status)
		diagnosis.PreFilterMsg = status.Message()
		diagnosis.AddPluginStatus(status)
		e.result.PreFilter = &PreFilterRejection{Plugin: status.Plugin(), Code: status.Code().String(), Reasons: status.Reasons()}
		return nil, diagnosis, nil
	}
	if nominated := e.pod.Status.NominatedNodeName; nominated != "" {
		if node, err := e.snapshot.GetNodeInPlacement(nominated); err == nil {
			// An error here is only logged upstream; the search that follows meets it again where it matters.
			if passed, err := e.filter(diagnosis, []fwk.NodeInfo{node}); err == nil {
				_, _ = e.passExtenders(passed, diagnosis.NodeToStatus)
			}
		}
	}
	nodes := allNodes
	if !preFilterResult.AllNodes() {
		nodes = nil
		for _, node := range allNodes {
			if preFilterResult.NodeNames.Has(node.Node().Name) {
				nodes = append(nodes, node)
			}
		}
		diagnosis.NodeToStatus.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable,
			fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", sets.List(narrowing))))
	}
	feasible, err := e.filter(diagnosis, nodes)
	if err != nil {
		return nil, nil, err
	}
	if feasible, err = e.passExtenders(feasible, diagnosis.NodeToStatus); err != nil {
		return nil, nil, err
	}
	for _, node := range feasible {
		e.result.Nodes[node.Node().Name] = &NodeResult{Code: fwk.Success.String()}
	}
	for _, node := range allNodes {
		name := node.Node().Name
		if e.result.Nodes[name] == nil {
			status := diagnosis.NodeToStatus.Get(name)
			e.result.Nodes[name] = &NodeResult{Code: status.Code().String(), Plugin: status.Plugin(), Reasons: inOrder(status)}
		}
	}
	return feasible, diagnosis, nil
}

// inOrder gives the reasons of NodeResourcesFit one order: upstream's, with the scalar resources, whose order is that of a
// Go map, sorted at the end.
func inOrder(status *fwk.Status) []string {
	reasons := slices.Clone(status.Reasons())
	if status.Plugin() != names.NodeResourcesFit {
		return reasons
	}
	fixed := []string{"Too many pods", "Insufficient cpu", "Insufficient memory", "Insufficient ephemeral-storage"}
	slices.SortStableFunc(reasons, func(a, b string) int {
		atA, atB := slices.Index(fixed, a), slices.Index(fixed, b)
		switch {
		case atA < 0 && atB < 0:
			return strings.Compare(a, b)
		case atA < 0:
			return 1
		case atB < 0:
			return -1
		}
		return atA - atB
	})
	return reasons
}

// filter follows Scheduler.findNodesThatPassFilters with one worker: the first error ends the search.
func (e *evaluation) filter(diagnosis *framework.Diagnosis, nodes []fwk.NodeInfo) ([]fwk.NodeInfo, error) {
	if !e.fw.HasFilterPlugins() {
		return nodes, nil
	}
	var feasible []fwk.NodeInfo
	for _, node := range nodes {
		status := e.fw.RunFilterPluginsWithNominatedPods(e.ctx, e.state, e.pod, node)
		switch {
		case status.Code() == fwk.Error:
			return nil, status.AsError()
		case status.IsSuccess():
			feasible = append(feasible, node)
		default:
			diagnosis.NodeToStatus.Set(node.Node().Name, status)
			diagnosis.AddPluginStatus(status)
		}
	}
	return feasible, nil
}

// prioritize follows Scheduler.schedulePod and prioritizeNodes.
func (e *evaluation) prioritize(feasible []fwk.NodeInfo) error {
	switch {
	case len(feasible) == 1:
		e.setTotal(feasible[0], 0)
	case !e.fw.HasScorePlugins() && len(e.extenders) == 0:
		for _, node := range feasible {
			e.setTotal(node, 1)
		}
	default:
		if status := e.fw.RunPreScorePlugins(e.ctx, e.state, e.pod, feasible); !status.IsSuccess() {
			return status.AsError()
		}
		totals, status := e.fw.RunScorePlugins(e.ctx, e.state, e.pod, feasible)
		if !status.IsSuccess() {
			return status.AsError()
		}
		if err := e.explainScores(feasible, totals); err != nil {
			return err
		}
		e.addExtenderScores(feasible)
	}
	var highest int64
	for i, node := range feasible {
		name := node.Node().Name
		total := *e.result.Nodes[name].Total
		if i == 0 || total > highest {
			highest, e.result.Best = total, nil
		}
		if total == highest {
			e.result.Best = append(e.result.Best, name)
		}
	}
	sort.Strings(e.result.Best)
	return nil
}

func (e *evaluation) setTotal(node fwk.NodeInfo, total int64) {
	e.result.Nodes[node.Node().Name].Total = &total
}

// explainScores asks every score plugin that was not skipped once more, by itself, for the raw and the normalised score,
// and holds them against what RunScorePlugins made of them.
func (e *evaluation) explainScores(feasible []fwk.NodeInfo, totals []fwk.NodePluginScores) error {
	for i, node := range feasible {
		e.setTotal(node, totals[i].TotalScore)
	}
	for order, enabled := range e.activeScorePlugins() {
		plugin, ok := e.plugins[e.fw.ProfileName()][enabled.Name].(fwk.ScorePlugin)
		if !ok {
			return inconsistency{fmt.Sprintf("%s is listed as a score plugin but was never made", enabled.Name)}
		}
		scores := make(fwk.NodeScoreList, len(feasible))
		for i, node := range feasible {
			raw, status := plugin.Score(e.ctx, e.state, e.pod, node)
			if !status.IsSuccess() {
				return inconsistency{fmt.Sprintf("%s failed the second time: %v", enabled.Name, status.AsError())}
			}
			scores[i] = fwk.NodeScore{Name: node.Node().Name, Score: raw}
		}
		raw := append(fwk.NodeScoreList(nil), scores...)
		if extensions := plugin.ScoreExtensions(); extensions != nil {
			if status := extensions.NormalizeScore(e.ctx, e.state, e.pod, scores); !status.IsSuccess() {
				return inconsistency{fmt.Sprintf("%s failed to normalise the second time: %v", enabled.Name, status.AsError())}
			}
		}
		for i, node := range feasible {
			score := &Score{Raw: raw[i].Score, Normalized: scores[i].Score, Weighted: scores[i].Score * int64(enabled.Weight)}
			if official := totals[i].Scores[order]; official.Name != enabled.Name || official.Score != score.Weighted {
				return inconsistency{fmt.Sprintf("node %s: %s gives %d, RunScorePlugins says %+v", node.Node().Name, enabled.Name, score.Weighted, official)}
			}
			answer := e.result.Nodes[node.Node().Name]
			if answer.Scores == nil {
				answer.Scores = map[string]*Score{}
			}
			answer.Scores[enabled.Name] = score
		}
	}
	return nil
}

type scorePlugin struct {
	Name   string
	Weight int32
}

func (e *evaluation) activeScorePlugins() []scorePlugin {
	var active []scorePlugin
	for _, plugin := range e.fw.ListPlugins().Score.Enabled {
		if !e.state.GetSkipScorePlugins().Has(plugin.Name) {
			active = append(active, scorePlugin{plugin.Name, plugin.Weight})
		}
	}
	return active
}

// fail follows Scheduler.schedulingAlgorithm after a FitError: PostFilter, then the message of the event.
func (e *evaluation) fail(diagnosis *framework.Diagnosis) error {
	fitError := &framework.FitError{Pod: e.pod, NumAllNodes: e.snapshot.NumNodesInPlacement(), Diagnosis: *diagnosis}
	if e.fw.HasPostFilterPlugins() {
		if part, err := e.asksAboutAPart(diagnosis); err != nil {
			return err
		} else if part {
			return inconsistency{"extenders are asked about a part of the candidates only"}
		}
		result, status := e.fw.RunPostFilterPlugins(e.ctx, e.state, e.pod, diagnosis.NodeToStatus)
		said := status.Message()
		fitError.Diagnosis.PostFilterMsg = said
		if result != nil && result.NominatingInfo != nil && result.NominatedNodeName != "" {
			answers, err := e.preemptionAnswers(diagnosis)
			if err != nil {
				return err
			}
			if !nominates(answers, result.NominatedNodeName) {
				return inconsistency{fmt.Sprintf("PostFilter nominates %s for %s, which is not among the right answers %v", result.NominatedNodeName, e.result.Pod, answers)}
			}
			e.result.PostFilter = answers[0]
			if len(answers) > 1 {
				e.result.PostFilterAny = answers
			}
			for _, answer := range answers {
				text := answer.text()
				if answer.NominatedNode == result.NominatedNodeName && text != said {
					return inconsistency{fmt.Sprintf("PostFilter says %q for %s, where %q is expected", said, e.result.Pod, text)}
				}
				fitError.Diagnosis.PostFilterMsg = text
				e.result.MessageAny = append(e.result.MessageAny, eventNote(fitError.Error()))
			}
			e.result.Message = e.result.MessageAny[0]
			if len(answers) == 1 {
				e.result.MessageAny = nil
			}
			return nil
		}
	}
	e.result.Message = eventNote(fitError.Error())
	return nil
}

// eventNote is what becomes of a failure's text on its way into the event: it is cut, and it is taken for a format.
func eventNote(message string) string {
	if len(message) > validation.NoteLengthLimit {
		const suffix = " ..."
		message = message[:validation.NoteLengthLimit-len(suffix)] + suffix
	}
	return fmt.Sprintf(message, []any{}...)
}
