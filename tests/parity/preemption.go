package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
)

// preemptionAnswers lists the nominations that DefaultPreemption may make, in the order of the file. It runs upstream's
// dry run on every node that preemption may help on and applies the tie-break rules, leaving out what is random: where
// the search starts, which of equal candidates comes first out of a map, and what time it is.
func (e *evaluation) preemptionAnswers(diagnosis *framework.Diagnosis) ([]*PostFilter, error) {
	preemptor, ok := e.plugins[e.fw.ProfileName()][names.DefaultPreemption].(*defaultpreemption.DefaultPreemption)
	if !ok {
		return nil, inconsistency{"a node is nominated without DefaultPreemption"}
	}
	potential, err := diagnosis.NodeToStatus.NodesForStatusCode(e.snapshot, fwk.Unschedulable)
	if err != nil {
		return nil, err
	}
	budgets, err := preemptor.Evaluator.PdbLister.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	count := int32(len(potential))
	candidates, _, err := preemptor.Evaluator.DryRunPreemption(e.ctx, e.state, e.pod, potential, budgets, 0, count)
	if err != nil && len(candidates) == 0 {
		return nil, err
	}
	_, wanted := preemptor.GetOffsetAndNumCandidates(count)
	confirmed, err := e.confirmVictims(preemptor, candidates)
	if err != nil {
		return nil, err
	}
	byNode := map[string]*rankedCandidate{}
	for node, victims := range confirmed {
		byNode[node] = rank(victims)
	}
	var answers []*PostFilter
	for _, node := range e.nodes {
		candidate := byNode[node.Name]
		if candidate == nil || !candidate.mayWin(byNode, int(wanted)) {
			continue
		}
		answer := &PostFilter{NominatedNode: node.Name, Victims: []string{}}
		for _, victim := range candidate.victims {
			answer.Victims = append(answer.Victims, podName(victim))
		}
		answers = append(answers, answer)
	}
	if len(answers) == 0 {
		return nil, fmt.Errorf("pod %s: a node is nominated, but the dry run finds no candidate", e.result.Pod)
	}
	return answers, nil
}

// asksAboutAPart says whether the extenders are asked about a part of the candidates only. Which part depends on where the search
// begins, and on that whatever comes of it: a nomination, none, or an error.
func (e *evaluation) asksAboutAPart(diagnosis *framework.Diagnosis) (bool, error) {
	preemptor, ok := e.plugins[e.fw.ProfileName()][names.DefaultPreemption].(*defaultpreemption.DefaultPreemption)
	asked := slices.ContainsFunc(e.extenders, func(extender fwk.Extender) bool {
		return extender.SupportsPreemption() && extender.IsInterested(e.pod)
	})
	if !ok || !asked {
		return false, nil
	}
	potential, err := diagnosis.NodeToStatus.NodesForStatusCode(e.snapshot, fwk.Unschedulable)
	if err != nil {
		return false, err
	}
	count := int32(len(potential))
	_, wanted := preemptor.GetOffsetAndNumCandidates(count)
	return count > wanted, nil
}

func nominates(answers []*PostFilter, node string) bool {
	for _, answer := range answers {
		if answer.NominatedNode == node {
			return true
		}
	}
	return false
}

// rankedCandidate is a candidate with its marks by upstream's rules (pickOneNodeForPreemption), the first rule first;
// a smaller mark is better.
type rankedCandidate struct {
	victims []*v1.Pod
	marks   [5]int64
}

func rank(victims *extenderv1.Victims) *rankedCandidate {
	r := &rankedCandidate{victims: victims.Pods}
	var sum int64
	for _, pod := range victims.Pods {
		sum += int64(corev1helpers.PodPriority(pod)) + int64(math.MaxInt32+1)
	}
	r.marks = [5]int64{
		victims.NumPDBViolations,
		int64(corev1helpers.PodPriority(victims.Pods[0])),
		sum,
		int64(len(victims.Pods)),
		-earliestStart(victims.Pods),
	}
	return r
}

// notStarted stands for the time of the evaluation, which upstream takes for a pod without a start time. It reads the
// clock for each pod anew, so that of several such nodes the one it happens to look at last is taken.
var notStarted = time.Unix(0, math.MaxInt64)

func earliestStart(victims []*v1.Pod) int64 {
	highest, earliest := corev1helpers.PodPriority(victims[0]), startOf(victims[0])
	for _, pod := range victims[1:] {
		priority, start := corev1helpers.PodPriority(pod), startOf(pod)
		switch {
		case priority > highest:
			highest, earliest = priority, start
		case priority == highest && start.Before(earliest):
			earliest = start
		}
	}
	return earliest.UnixNano()
}

func startOf(pod *v1.Pod) time.Time {
	if pod.Status.StartTime == nil {
		return notStarted
	}
	return pod.Status.StartTime.Time
}

func (r *rankedCandidate) beats(other *rankedCandidate) bool {
	for i := range r.marks {
		if r.marks[i] != other.marks[i] {
			return r.marks[i] < other.marks[i]
		}
	}
	return false
}

// mayWin says whether some order of the search ends with this candidate. The search stops at the first moment with at
// least one candidate that violates no budget and `wanted` candidates in all, and it keeps at most `wanted` violating
// ones. So a candidate may win when it is unbeaten, or when enough candidates that do not beat it may be seen first.
func (r *rankedCandidate) mayWin(all map[string]*rankedCandidate, wanted int) bool {
	others, clean, violating := 0, 0, 0
	unbeaten := true
	for _, other := range all {
		if other.marks[0] == 0 {
			clean++
		} else {
			violating++
		}
		switch {
		case other == r:
		case other.beats(r):
			unbeaten = false
		default:
			others++
		}
	}
	if unbeaten {
		return true
	}
	if r.marks[0] > 0 {
		return clean == 0 && violating > wanted && others >= wanted-1
	}
	return clean+violating > wanted && others >= wanted-1
}
