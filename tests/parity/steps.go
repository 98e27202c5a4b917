package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// StepCase is one line of mode -steps: a cluster, and what happens in it.
type StepCase struct {
	ID      string            `json:"id"`
	Objects []json.RawMessage `json:"objects"`
	Config  json.RawMessage   `json:"config"`
	Steps   []Step            `json:"steps"`
	// AtMostMs ends the run early, once so much time was measured.
	AtMostMs int64 `json:"atMostMs"`
	// WarmUp is the number of steps at the beginning that are not measured.
	WarmUp int `json:"warmUp"`
}

// Step is a pod that arrives and is tried, or one that is deleted.
type Step struct {
	Add json.RawMessage `json:"add,omitempty"`
	// Delete is "namespace/name".
	Delete string `json:"delete,omitempty"`
}

// StepAnswer is what became of a StepCase.
type StepAnswer struct {
	ID string `json:"id"`
	// Placed and Rejected are the pods by what their first attempt came to, Gated those that had none.
	Placed   []string `json:"placed,omitempty"`
	Rejected []string `json:"rejected,omitempty"`
	Gated    []string `json:"gated,omitempty"`
	// Evicted are the victims of preemption, whose preemptors were tried a second time.
	Evicted []string `json:"evicted,omitempty"`
	// Deleted counts the pods that were deleted by steps.
	Deleted int `json:"deleted"`
	// StepNs are the times of the first attempts: UpdateSnapshot, SchedulePod, and where the pod fits nowhere PostFilter,
	// else assuming and reserving.
	StepNs []int64 `json:"stepNs,omitempty"`
	// TotalNs has in it beside the steps what the event handlers and the queue do. Binding is not in it.
	TotalNs int64 `json:"totalNs"`
	// Kubernetes is the release of the scheduler.
	Kubernetes string `json:"kubernetes"`
	Error      string `json:"error,omitempty"`
}

// answerSteps decodes a line and runs it; a panic below it is the answer's error.
func answerSteps(line []byte, parallelism int) (answer *StepAnswer) {
	var c StepCase
	defer func() {
		if recovered := recover(); recovered != nil {
			answer = &StepAnswer{ID: c.ID, Error: fmt.Sprintf("panic: %v\n%s", recovered, debug.Stack())}
		}
	}()
	if err := json.Unmarshal(line, &c); err != nil {
		return &StepAnswer{ID: c.ID, Error: "case cannot be decoded: " + err.Error()}
	}
	answer, err := runSteps(&c, parallelism)
	if err != nil {
		return &StepAnswer{ID: c.ID, Error: err.Error()}
	}
	return answer
}

func runSteps(c *StepCase, parallelism int) (*StepAnswer, error) {
	cfg, objects, err := (&Case{Objects: c.Objects, Config: c.Config}).decode()
	if err != nil {
		return nil, err
	}
	pods, err := c.pods()
	if err != nil {
		return nil, err
	}
	sched, err := newRealScheduler(cfg, objects, parallelism, false)
	if err != nil {
		return nil, err
	}
	defer sched.close()
	run := &stepRun{
		realScheduler: sched,
		informer:      sched.stores.informerFor(reflect.TypeOf(&v1.Pod{})),
		answer:        &StepAnswer{ID: c.ID},
	}
	for i, step := range c.Steps {
		if run.total >= time.Duration(c.AtMostMs)*time.Millisecond {
			break
		}
		if step.Delete != "" {
			run.answer.Deleted++
			err = run.remove(step.Delete)
		} else {
			err = run.add(pods[i])
		}
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if i+1 == c.WarmUp {
			run.total, run.answer.StepNs = 0, nil
		}
	}
	run.answer.TotalNs, run.answer.Kubernetes = run.total.Nanoseconds(), kubernetesRelease()
	return run.answer, nil
}

// kubernetesRelease is what go.mod says, as the program remembers it.
func kubernetesRelease() string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, module := range info.Deps {
			if module.Path == "k8s.io/kubernetes" {
				return strings.TrimPrefix(module.Version, "v")
			}
		}
	}
	return ""
}

// pods decodes those that arrive, each at the place of its step.
func (c *StepCase) pods() ([]*v1.Pod, error) {
	pods := make([]*v1.Pod, len(c.Steps))
	var arriving []runtime.Object
	for i, step := range c.Steps {
		if step.Delete != "" {
			continue
		}
		decoded, err := decodeObject(step.Add)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if len(decoded) == 1 {
			pods[i], _ = decoded[0].(*v1.Pod)
		}
		if pods[i] == nil {
			return nil, fmt.Errorf("step %d adds no pod", i)
		}
		arriving = append(arriving, pods[i])
	}
	return pods, completeIdentities(arriving)
}

// stepRun is a scheduler that is driven without an API server: a pod that it places is seen on its node at once.
type stepRun struct {
	*realScheduler
	informer *staticInformer
	answer   *StepAnswer
	total    time.Duration
}

// timed counts what is done here.
func (r *stepRun) timed(do func()) {
	began := time.Now()
	do()
	r.total += time.Since(began)
}

// add lets a pod arrive and be tried.
func (r *stepRun) add(pod *v1.Pod) error {
	if err := r.informer.indexer.Add(pod); err != nil {
		return err
	}
	r.timed(func() {
		r.informer.tell(func(handler cache.ResourceEventHandler) { handler.OnAdd(pod, false) })
	})
	if queued, ok := r.SchedulingQueue.GetPod(pod.Name, pod.Namespace, pod.Spec.SchedulingGroup); ok && queued.Gated() {
		r.answer.Gated = append(r.answer.Gated, podName(pod))
		return nil
	}
	outcome, err := r.attempt()
	if err != nil {
		return err
	}
	r.answer.StepNs = append(r.answer.StepNs, outcome.step.Nanoseconds())
	if outcome.node != "" {
		r.answer.Placed = append(r.answer.Placed, podName(outcome.pod))
		return nil
	}
	r.answer.Rejected = append(r.answer.Rejected, podName(outcome.pod))
	if outcome.nominated == "" {
		return nil
	}
	return r.preempt(outcome.pod)
}

// preempt lets the victims go, which are evicted in the background, and tries the pod again.
func (r *stepRun) preempt(pod *v1.Pod) error {
	// The cases leave one victim on each node enough.
	victims := r.evicted(1)
	if len(victims) == 0 {
		return fmt.Errorf("pod %s is nominated, and nothing was evicted in %s", podName(pod), asyncDeadline)
	}
	r.client.ClearActions()
	r.answer.Evicted = append(r.answer.Evicted, victims...)
	for _, victim := range victims {
		if err := r.remove(victim); err != nil {
			return err
		}
	}
	_, err := r.attempt()
	return err
}

type attempted struct {
	pod             *v1.Pod
	node, nominated string
	step            time.Duration
}

// attempt tries the next pod of the queue, and shows it on its node where it has one.
func (r *stepRun) attempt() (*attempted, error) {
	if len(r.SchedulingQueue.PodsInActiveQ())+len(r.SchedulingQueue.PodsInBackoffQ()) == 0 {
		return nil, errors.New("no pod is ready to be tried")
	}
	logger := klog.FromContext(r.ctx)
	began := time.Now()
	entity, err := r.SchedulingQueue.Pop(logger)
	if err != nil {
		return nil, err
	}
	podInfo, ok := entity.(*framework.QueuedPodInfo)
	if !ok {
		return nil, fmt.Errorf("the queue holds a %T", entity)
	}
	outcome := &attempted{pod: podInfo.Pod}
	fw := r.Profiles[podInfo.Pod.Spec.SchedulerName]
	state := framework.NewCycleState()
	state.Write(framework.PodsToActivateKey, framework.NewPodsToActivate())

	stepping := time.Now()
	if err := r.updateSnapshot(fw); err != nil {
		return nil, err
	}
	scheduled, err := r.SchedulePod(r.ctx, fw, state, podInfo)
	if err != nil {
		var unfit *framework.FitError
		if !errors.As(err, &unfit) {
			return nil, err
		}
		nominating := &fwk.NominatingInfo{NominatingMode: fwk.ModeOverride}
		if result, _ := fw.RunPostFilterPlugins(r.ctx, state, podInfo.Pod, unfit.Diagnosis.NodeToStatus); result != nil && result.NominatingInfo != nil {
			nominating = result.NominatingInfo
		}
		outcome.step, outcome.nominated = time.Since(stepping), nominating.NominatedNodeName
		r.FailureHandler(r.ctx, fw, podInfo, fwk.NewStatus(fwk.Unschedulable).WithError(err), nominating, began)
		r.total += time.Since(began)
		r.drainEvents()
		return outcome, nil
	}
	assumed := podInfo.DeepCopy()
	assumed.Pod.Spec.NodeName = scheduled.SuggestedHost
	if err := r.assume(state, fw, assumed.Pod); err != nil {
		return nil, err
	}
	outcome.step, outcome.node = time.Since(stepping), scheduled.SuggestedHost
	r.total += time.Since(began)
	return outcome, r.bound(podInfo.Pod, assumed.Pod)
}

func (r *stepRun) assume(state fwk.CycleState, fw framework.Framework, pod *v1.Pod) error {
	if err := r.Cache.AssumePod(klog.FromContext(r.ctx), pod); err != nil {
		return err
	}
	r.SchedulingQueue.DeleteNominatedPodIfExists(pod)
	return fw.RunReservePluginsReserve(r.ctx, state, pod, pod.Spec.NodeName).AsError()
}

// bound shows the pod on its node, as the watch would after the binding.
func (r *stepRun) bound(pending, assumed *v1.Pod) error {
	seen := assumed.DeepCopy()
	if err := r.informer.replace(seen); err != nil {
		return err
	}
	r.timed(func() {
		r.SchedulingQueue.Done(assumed.UID)
		r.informer.tell(func(handler cache.ResourceEventHandler) { handler.OnUpdate(pending, seen) })
	})
	return nil
}

// remove deletes a pod.
func (r *stepRun) remove(name string) error {
	obj, exists, err := r.informer.indexer.GetByKey(name)
	if err != nil {
		return err
	}
	if !exists {
		return fmt.Errorf("pod %s is not there to be deleted", name)
	}
	pod, ok := obj.(*v1.Pod)
	if !ok {
		return fmt.Errorf("%s is a %T", name, obj)
	}
	if err := r.informer.remove(pod); err != nil {
		return err
	}
	r.timed(func() { r.informer.tell(func(handler cache.ResourceEventHandler) { handler.OnDelete(pod) }) })
	return nil
}

// drainEvents makes room for the next ones: the recorder blocks where it is full.
func (r *stepRun) drainEvents() {
	for {
		select {
		case <-r.events:
		default:
			return
		}
	}
}
