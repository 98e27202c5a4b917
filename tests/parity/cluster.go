package main

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/events"
	"k8s.io/dynamic-resource-allocation/deviceclass/extendedresourcecache"
	resourceslicetracker "k8s.io/dynamic-resource-allocation/resourceslice/tracker"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	internalcache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	internalqueue "k8s.io/kubernetes/pkg/scheduler/backend/queue"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/profile"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"
)

// noClient is what the plugins get as an API client. The oracle evaluates only; nothing is written, and what a plugin
// would write is not found.
var noClient kubernetes.Interface = fake.NewSimpleClientset()

// cluster is the scheduler's world of one case: upstream's cache, snapshot, queue and frameworks around stores that
// hold the case's objects. It is put together as scheduler.New does, but without event handlers and with one worker,
// and it keeps hold of the plugins, which a framework does not give away.
type cluster struct {
	ctx    context.Context
	cancel context.CancelFunc
	logger klog.Logger

	factory    *staticFactory
	cache      internalcache.Cache
	snapshot   *internalcache.Snapshot
	queue      internalqueue.SchedulingQueue
	frameworks profile.Map
	plugins    map[string]map[string]fwk.Plugin // profile, plugin name
	extenders  []fwk.Extender                   // in the order in which they are asked

	nodes []*v1.Node // in the order of the file
	pods  []*v1.Pod  // pending pods of the profiles, terminating ones too, in the order of the file
}

// newCluster builds an empty world for a configuration.
func newCluster(cfg *config.KubeSchedulerConfiguration, factory *staticFactory) (*cluster, error) {
	logger := logr.Discard()
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), logger))
	c := &cluster{
		ctx: ctx, cancel: cancel, logger: logger, factory: factory,
		cache:    internalcache.New(ctx, nil, false, false),
		snapshot: internalcache.NewEmptySnapshot(),
		plugins:  map[string]map[string]fwk.Plugin{},
	}
	if err := c.buildFrameworks(cfg); err != nil {
		cancel()
		return nil, err
	}
	preEnqueue := map[string]map[string]fwk.PreEnqueuePlugin{}
	for name, fw := range c.frameworks {
		preEnqueue[name] = map[string]fwk.PreEnqueuePlugin{}
		for _, plugin := range fw.PreEnqueuePlugins() {
			preEnqueue[name][plugin.Name()] = plugin
		}
	}
	c.queue = internalqueue.NewSchedulingQueue(
		c.frameworks[cfg.Profiles[0].SchedulerName].QueueSortFunc(), factory,
		internalqueue.WithPodLister(factory.Core().V1().Pods().Lister()),
		internalqueue.WithPreEnqueuePluginMap(preEnqueue),
	)
	for _, fw := range c.frameworks {
		fw.SetPodNominator(c.queue)
		fw.SetPodActivator(c.queue)
	}
	return c, nil
}

func (c *cluster) close() {
	c.queue.Close()
	_ = c.frameworks.Close()
	c.cancel()
}

func (c *cluster) buildFrameworks(cfg *config.KubeSchedulerConfiguration) error {
	draManager, err := c.newDRAManager()
	if err != nil {
		return err
	}
	if len(cfg.Extenders) > 0 {
		// The profiles are changed below, and the configuration is shared between cases.
		cfg = cfg.DeepCopy()
	}
	if c.extenders, err = newExtenders(cfg); err != nil {
		return err
	}
	c.frameworks = profile.Map{}
	for i := range cfg.Profiles {
		name := cfg.Profiles[i].SchedulerName
		// One profile at a time, so that the plugins that the registry hands out are known by their profile. The map of
		// one profile also applies upstream's checks of a profile; those between profiles are made below.
		built, err := profile.NewMap(c.ctx, cfg.Profiles[i:i+1], c.recordingRegistry(name),
			func(string) events.EventRecorderLogger { return &events.FakeRecorder{} },
			frameworkruntime.WithComponentConfigVersion(cfg.TypeMeta.APIVersion),
			frameworkruntime.WithClientSet(noClient),
			frameworkruntime.WithInformerFactory(c.factory),
			frameworkruntime.WithSharedDRAManager(draManager),
			frameworkruntime.WithSnapshotSharedLister(c.snapshot),
			frameworkruntime.WithMutableSnapshotLister(c.snapshot),
			frameworkruntime.WithParallelism(1),
			frameworkruntime.WithWaitingPods(frameworkruntime.NewWaitingPodsMap()),
			frameworkruntime.WithPodsInPreBind(frameworkruntime.NewPodsInPreBindMap()),
			frameworkruntime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(c.factory.Storage().V1().CSINodes().Lister())),
			frameworkruntime.WithPodGroupManager(c.cache),
			frameworkruntime.WithExtenders(c.extenders),
		)
		if err != nil {
			return fmt.Errorf("initializing profiles: %v", err)
		}
		if _, exists := c.frameworks[name]; exists {
			return fmt.Errorf("initializing profiles: duplicate profile with scheduler name %q", name)
		}
		c.frameworks[name] = built[name]
	}
	return nil
}

// recordingRegistry is the in-tree registry; the plugins that it makes for a profile are also kept in c.plugins.
func (c *cluster) recordingRegistry(profileName string) frameworkruntime.Registry {
	made := map[string]fwk.Plugin{}
	c.plugins[profileName] = made
	registry := plugins.NewInTreeRegistry()
	for name, factory := range registry {
		registry[name] = func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
			plugin, err := factory(ctx, args, handle)
			if err != nil {
				return nil, err
			}
			if preemptor, ok := plugin.(*defaultpreemption.DefaultPreemption); ok {
				// Victims are named, never evicted.
				preemptor.Executor.PreemptPod = func(context.Context, preemption.Candidate, preemption.ExecutorPreemptor, *v1.Pod, string) (bool, error) {
					return false, nil
				}
			}
			made[name] = plugin
			return plugin, nil
		}
	}
	return registry
}

// newDRAManager wires the resource claims as scheduler.New and its event handlers do.
func (c *cluster) newDRAManager() (fwk.SharedDRAManager, error) {
	resources := c.factory.Resource().V1()
	claims := assumecache.NewAssumeCache(c.logger, resources.ResourceClaims().Informer(), "ResourceClaim", "", nil)
	tracker, err := resourceslicetracker.StartTracker(c.ctx, resourceslicetracker.Options{SliceInformer: resources.ResourceSlices()})
	if err != nil {
		return nil, fmt.Errorf("couldn't start resource slice tracker: %w", err)
	}
	manager := dynamicresources.NewDRAManager(c.ctx, claims, tracker, c.factory)
	if classes, ok := manager.DeviceClassResolver().(*extendedresourcecache.ExtendedResourceCache); ok {
		if _, err := resources.DeviceClasses().Informer().AddEventHandler(classes); err != nil {
			return nil, err
		}
	}
	return manager, nil
}

// load stores the objects and takes the snapshot of the one scheduling cycle that all evaluations of a case share.
// What is no pod or node comes first, then the nodes, then the pods, each in the order of the file.
func (c *cluster) load(objects []runtime.Object) error {
	var pods []*v1.Pod
	for _, obj := range objects {
		switch obj := obj.(type) {
		case *v1.Pod:
			pods = append(pods, obj)
		case *v1.Node:
			c.nodes = append(c.nodes, obj)
		default:
			if err := c.factory.add(obj); err != nil {
				return err
			}
		}
	}
	for _, node := range c.nodes {
		if err := c.factory.add(node); err != nil {
			return err
		}
		c.cache.AddNode(c.logger, node)
	}
	for _, pod := range pods {
		// The scheduler's informer asks the API server for the pods in other phases only.
		if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			continue
		}
		if err := c.factory.add(pod); err != nil {
			return err
		}
		switch {
		case pod.Spec.NodeName != "":
			if err := c.cache.AddPod(c.logger, pod); err != nil {
				return err
			}
		case c.frameworks.HandlesSchedulerName(pod.Spec.SchedulerName):
			c.pods = append(c.pods, pod)
			c.queue.Add(c.ctx, pod)
		}
	}
	return c.cache.UpdateSnapshot(c.logger, c.snapshot)
}

// pending lists the pods to evaluate: those named, or all that wait and are not terminating.
func (c *cluster) pending(named []string) ([]*v1.Pod, error) {
	wanted := map[string]bool{}
	for _, name := range named {
		wanted[name] = true
	}
	var list []*v1.Pod
	for _, pod := range c.pods {
		name := podName(pod)
		if pod.DeletionTimestamp != nil || len(named) > 0 && !wanted[name] {
			continue
		}
		delete(wanted, name)
		list = append(list, pod)
	}
	for _, name := range named {
		if wanted[name] {
			return nil, fmt.Errorf("pod %s is not a pending pod of the profiles", name)
		}
	}
	return list, nil
}

func (c *cluster) frameworkFor(pod *v1.Pod) framework.Framework {
	return c.frameworks[pod.Spec.SchedulerName]
}

func podName(pod *v1.Pod) string { return pod.Namespace + "/" + pod.Name }
