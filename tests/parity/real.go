package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// asyncDeadline bounds the wait for what the real scheduler does in the background (events, evictions).
const asyncDeadline = 10 * time.Second

// realScheduler is a whole kube-scheduler as scheduler.New makes it, with its event handlers, over the case's objects.
type realScheduler struct {
	*scheduler.Scheduler
	ctx    context.Context
	cancel context.CancelFunc
	events chan string
	client *fake.Clientset
	// stores are those of the informers.
	stores *staticFactory
	pods   map[string]*v1.Pod
}

func newRealScheduler(cfg *config.KubeSchedulerConfiguration, objects []runtime.Object, parallelism int, everyNode bool) (*realScheduler, error) {
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), logr.Discard()))
	// It blocks where it is full, and each victim has an event.
	recorder := events.NewFakeRecorder(64 + len(objects))
	r := &realScheduler{ctx: ctx, cancel: cancel, events: recorder.Events, pods: map[string]*v1.Pod{}}
	var pods []runtime.Object
	for _, obj := range objects {
		if pod, ok := obj.(*v1.Pod); ok && pod.Status.Phase != v1.PodSucceeded && pod.Status.Phase != v1.PodFailed {
			r.pods[podName(pod)] = pod
			pods = append(pods, pod.DeepCopy())
		}
	}
	r.client = fake.NewSimpleClientset(pods...)

	profiles := cfg.DeepCopy().Profiles
	percentage := cfg.PercentageOfNodesToScore
	if everyNode {
		all := int32(100)
		percentage = &all
		for i := range profiles {
			profiles[i].PercentageOfNodesToScore = &all
		}
	}
	factory := newStaticFactory()
	r.stores = factory
	sched, err := scheduler.New(ctx, r.client, factory, nil,
		func(string) events.EventRecorderLogger { return recorder },
		scheduler.WithComponentConfigVersion(cfg.TypeMeta.APIVersion),
		scheduler.WithProfiles(profiles...),
		scheduler.WithPercentageOfNodesToScore(percentage),
		scheduler.WithParallelism(int32(parallelism)),
		scheduler.WithExtenders(cfg.DeepCopy().Extenders...),
	)
	if err != nil {
		cancel()
		return nil, err
	}
	r.Scheduler = sched
	if err := r.fill(factory, objects); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// fill hands the objects to the event handlers: what is no pod or node first, then the nodes, then the pods.
func (r *realScheduler) fill(factory *staticFactory, objects []runtime.Object) error {
	stage := func(obj runtime.Object) int {
		switch obj.(type) {
		case *v1.Pod:
			return 2
		case *v1.Node:
			return 1
		}
		return 0
	}
	for wanted := range 3 {
		for _, obj := range objects {
			if stage(obj) != wanted {
				continue
			}
			if pod, ok := obj.(*v1.Pod); ok && r.pods[podName(pod)] == nil {
				continue
			}
			if err := factory.add(obj); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *realScheduler) close() {
	r.SchedulingQueue.Close()
	_ = r.Profiles.Close()
	r.cancel()
}

// updateSnapshot is the first step of a scheduling cycle; the snapshot is the one that the frameworks look at.
func (r *realScheduler) updateSnapshot(fw framework.Framework) error {
	snapshot, ok := fw.SnapshotSharedLister().(*internalcache.Snapshot)
	if !ok {
		return fmt.Errorf("the scheduler's snapshot is a %T", fw.SnapshotSharedLister())
	}
	return r.Cache.UpdateSnapshot(klog.FromContext(r.ctx), snapshot)
}

func (r *realScheduler) schedulePod(pod *v1.Pod) (scheduler.ScheduleResult, error) {
	podInfo, ok := r.SchedulingQueue.GetPod(pod.Name, pod.Namespace, pod.Spec.SchedulingGroup)
	if !ok {
		return scheduler.ScheduleResult{}, fmt.Errorf("pod %s is not in the queue", podName(pod))
	}
	state := framework.NewCycleState()
	state.Write(framework.PodsToActivateKey, framework.NewPodsToActivate())
	return r.SchedulePod(r.ctx, r.Profiles[pod.Spec.SchedulerName], state, podInfo)
}

// failedEvent runs one whole cycle for a pod that does not fit and answers with the text of its FailedScheduling event.
func (r *realScheduler) failedEvent(pod *v1.Pod) (string, error) {
	r.NextEntity = func(klog.Logger) (framework.QueuedEntityInfo, error) {
		// All pods stay in the queue: one that is taken out is forgotten as a nominated pod.
		podInfo, ok := r.SchedulingQueue.GetPod(pod.Name, pod.Namespace, pod.Spec.SchedulingGroup)
		if !ok {
			return nil, fmt.Errorf("pod %s is not in the queue", podName(pod))
		}
		return podInfo, nil
	}
	r.ScheduleOne(r.ctx)
	deadline := time.After(asyncDeadline)
	for {
		select {
		case event := <-r.events:
			if message, ok := strings.CutPrefix(event, "Warning FailedScheduling "); ok {
				return message, nil
			}
		case <-deadline:
			return "", fmt.Errorf("no FailedScheduling event for %s", podName(pod))
		}
	}
}

// nomination says where the queue holds room for the pod after its cycle.
func (r *realScheduler) nomination(pod *v1.Pod, nodes map[string]*NodeResult) string {
	for node := range nodes {
		for _, nominated := range r.SchedulingQueue.NominatedPodsForNode(node) {
			if nominated.GetPod().UID == pod.UID {
				return node
			}
		}
	}
	return ""
}

// evicted waits until as many pods were deleted as are expected, and answers with their names in order.
func (r *realScheduler) evicted(expected int) []string {
	deadline := time.Now().Add(asyncDeadline)
	for {
		deleted := map[string]bool{}
		for _, action := range r.client.Actions() {
			if action, ok := action.(clienttesting.DeleteAction); ok {
				deleted[action.GetNamespace()+"/"+action.GetName()] = true
			}
		}
		if len(deleted) >= expected || time.Now().After(deadline) {
			return slices.Sorted(maps.Keys(deleted))
		}
		time.Sleep(time.Millisecond)
	}
}
