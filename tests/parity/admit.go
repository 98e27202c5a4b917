package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	"k8s.io/kubernetes/pkg/apis/resource"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/apis/storage"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/resource/deviceclass"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaim"
	"k8s.io/kubernetes/pkg/registry/resource/resourceslice"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
)

// statusStrategy is the part of a registry's status strategy that judges a new status.
type statusStrategy interface {
	PrepareForUpdate(ctx context.Context, obj, old runtime.Object)
	ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList
}

// registry is what the API server does with one kind when it is created and when its status is written.
type registry struct {
	create rest.RESTCreateStrategy
	status statusStrategy // nil where the kind has no status of its own
}

func registryFor(obj runtime.Object) (registry, bool) {
	switch obj.(type) {
	case *core.Pod:
		return registry{pod.Strategy, pod.StatusStrategy}, true
	case *core.Node:
		return registry{node.Strategy, node.StatusStrategy}, true
	case *core.Namespace:
		return registry{namespace.Strategy, namespace.StatusStrategy}, true
	case *core.PersistentVolume:
		return registry{persistentvolume.Strategy, persistentvolume.StatusStrategy}, true
	case *core.PersistentVolumeClaim:
		return registry{persistentvolumeclaim.Strategy, persistentvolumeclaim.StatusStrategy}, true
	case *core.Service:
		return registry{service.Strategy, nil}, true
	case *core.ReplicationController:
		return registry{replicationcontroller.Strategy, nil}, true
	case *apps.ReplicaSet:
		return registry{replicaset.Strategy, nil}, true
	case *apps.StatefulSet:
		return registry{statefulset.Strategy, nil}, true
	case *policy.PodDisruptionBudget:
		return registry{poddisruptionbudget.Strategy, poddisruptionbudget.StatusStrategy}, true
	case *scheduling.PriorityClass:
		return registry{priorityclass.Strategy, nil}, true
	case *storage.StorageClass:
		return registry{storageclass.Strategy, nil}, true
	case *storage.CSINode:
		return registry{csinode.Strategy, nil}, true
	case *storage.CSIDriver:
		return registry{csidriver.Strategy, nil}, true
	case *storage.CSIStorageCapacity:
		return registry{csistoragecapacity.Strategy, nil}, true
	case *storage.VolumeAttachment:
		return registry{volumeattachment.Strategy, volumeattachment.StatusStrategy}, true
	case *resource.ResourceClaim:
		return registry{resourceclaim.NewStrategy(noClient.CoreV1().Namespaces(), nil), nil}, true
	case *resource.ResourceSlice:
		return registry{resourceslice.Strategy, nil}, true
	case *resource.DeviceClass:
		return registry{deviceclass.Strategy, nil}, true
	}
	return registry{}, false
}

// createdAt is the creation time of objects that give none.
var createdAt = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))

// admission stores the objects of one case, as an API server would.
type admission struct {
	priorityClasses map[string]*scheduling.PriorityClass
	stored          map[string]bool
	uids            map[types.UID]string
}

// admit answers with the objects as an API server stores them (defaulted, with the changes that creation makes, their
// status kept), in order, and with those that it refuses. Kinds that the scheduler does not read pass unchanged.
func admit(raws []json.RawMessage) ([]json.RawMessage, []Rejection) {
	a := &admission{priorityClasses: map[string]*scheduling.PriorityClass{}, stored: map[string]bool{}, uids: map[types.UID]string{}}
	for _, class := range schedulingv1.SystemPriorityClasses() {
		internal := &scheduling.PriorityClass{}
		if err := schedulingv1.Convert_v1_PriorityClass_To_scheduling_PriorityClass(class, internal, nil); err == nil {
			a.priorityClasses[internal.Name] = internal
		}
	}
	objects := make([]runtime.Object, len(raws))
	kinds := make([]*schema.GroupVersionKind, len(raws))
	failures := make([]error, len(raws))
	// Priority classes first: pods may stand before the class that they name.
	for i, raw := range raws {
		objects[i], kinds[i], failures[i] = legacyscheme.Codecs.UniversalDecoder().Decode(raw, nil, nil)
		if class, ok := objects[i].(*scheduling.PriorityClass); ok && failures[i] == nil {
			a.priorityClasses[class.Name] = class
		}
	}
	stored, rejected := []json.RawMessage{}, []Rejection{}
	for i, raw := range raws {
		text, err := raw, failures[i]
		if err == nil {
			text, err = a.store(i, objects[i], kinds[i], raw)
		}
		switch {
		case runtime.IsNotRegisteredError(err):
			stored = append(stored, raw)
		case err != nil:
			rejected = append(rejected, Rejection{Index: i, Errors: messages(err)})
		default:
			stored = append(stored, text)
		}
	}
	return stored, rejected
}

// messages takes the API server's error apart into its causes.
func messages(err error) []string {
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil && len(status.Status().Details.Causes) > 0 {
		var list []string
		for _, cause := range status.Status().Details.Causes {
			list = append(list, fmt.Sprintf("%s: %s", cause.Field, cause.Message))
		}
		return list
	}
	return []string{err.Error()}
}

func (a *admission) store(index int, obj runtime.Object, kind *schema.GroupVersionKind, raw json.RawMessage) (json.RawMessage, error) {
	reg, ok := registryFor(obj)
	if !ok {
		return raw, nil
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	if accessor.GetNamespace() == "" && reg.create.NamespaceScoped() {
		accessor.SetNamespace(metav1.NamespaceDefault)
	}
	key := fmt.Sprintf("%s %s/%s", kind.GroupKind(), accessor.GetNamespace(), accessor.GetName())
	if a.stored[key] {
		return nil, fmt.Errorf("%s already exists", key)
	}
	if accessor.GetUID() == "" {
		accessor.SetUID(types.UID(fmt.Sprintf("%s-%s-%s", kind.Kind, accessor.GetNamespace(), accessor.GetName())))
	}
	if other, exists := a.uids[accessor.GetUID()]; exists {
		return nil, fmt.Errorf("metadata.uid: %q is the UID of %s", accessor.GetUID(), other)
	}
	if created := accessor.GetCreationTimestamp(); created.IsZero() {
		accessor.SetCreationTimestamp(createdAt)
	}
	accessor.SetResourceVersion("")
	if created, ok := obj.(*core.Pod); ok {
		if err := a.resolvePriority(created); err != nil {
			return nil, err
		}
	}
	if err := create(reg, obj, kind, accessor.GetNamespace()); err != nil {
		return nil, err
	}
	accessor.SetResourceVersion(fmt.Sprint(index + 1))
	a.stored[key], a.uids[accessor.GetUID()] = true, key
	return runtime.Encode(legacyscheme.Codecs.LegacyCodec(kind.GroupVersion()), obj)
}

// create puts the object through its registry's creation, with the status taken off, and through the writing of that
// status afterwards.
func create(reg registry, obj runtime.Object, kind *schema.GroupVersionKind, ns string) error {
	ctx := request.WithNamespace(context.Background(), ns)
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, APIGroup: kind.Group, APIVersion: kind.Version, Namespace: ns})
	given := obj.DeepCopyObject()
	if err := rest.BeforeCreate(reg.create, ctx, obj); err != nil {
		return err
	}
	created := obj.DeepCopyObject()
	if created, ok := obj.(*core.Pod); ok {
		for i := range created.Status.Conditions {
			created.Status.Conditions[i].LastTransitionTime = createdAt // SchedulingGated: not the clock's
		}
	}
	if !restoreStatus(obj, given) || reg.status == nil {
		return nil
	}
	for _, version := range []runtime.Object{obj, created} {
		accessor, err := meta.Accessor(version)
		if err != nil {
			return err
		}
		accessor.SetResourceVersion("1")
	}
	updated := obj.DeepCopyObject()
	for _, version := range []runtime.Object{updated, created} {
		accessor, err := meta.Accessor(version)
		if err != nil {
			return err
		}
		accessor.SetDeletionTimestamp(nil) // it cannot be written with a status: the pod was deleted afterwards
	}
	reg.status.PrepareForUpdate(ctx, updated, created)
	if volume, ok := updated.(*core.PersistentVolume); ok {
		volume.Status.LastPhaseTransitionTime = obj.(*core.PersistentVolume).Status.LastPhaseTransitionTime // not the clock's
	}
	if errs := reg.status.ValidateUpdate(ctx, updated, created); len(errs) > 0 {
		return apierrors.NewInvalid(kind.GroupKind(), ns, errs)
	}
	restoreStatus(obj, updated)
	return nil
}

// restoreStatus copies the status of `from`; what the API server sets by itself stays where `from` says nothing. It
// answers whether there was a status to copy.
func restoreStatus(obj, from runtime.Object) bool {
	target, source := reflect.ValueOf(obj).Elem().FieldByName("Status"), reflect.ValueOf(from).Elem().FieldByName("Status")
	if !target.IsValid() || source.IsZero() {
		return false
	}
	created := obj.DeepCopyObject()
	target.Set(source)
	switch obj := obj.(type) {
	case *core.Pod:
		before := created.(*core.Pod).Status
		if obj.Status.Phase == "" {
			obj.Status.Phase = before.Phase
		}
		obj.Status.QOSClass = before.QOSClass
	case *core.PersistentVolumeClaim:
		if obj.Status.Phase == "" {
			obj.Status.Phase = core.ClaimPending
		}
	case *core.PersistentVolume:
		if obj.Status.Phase == "" {
			obj.Status.Phase = created.(*core.PersistentVolume).Status.Phase
		}
	case *core.Namespace:
		if obj.Status.Phase == "" {
			obj.Status.Phase = created.(*core.Namespace).Status.Phase
		}
	}
	return true
}

// resolvePriority does the work of the admission plugin Priority. A priority that a pod gives itself stays, as that of a
// pod whose class was deleted or changed since does.
func (a *admission) resolvePriority(created *core.Pod) error {
	spec := &created.Spec
	if spec.Priority != nil {
		return nil
	}
	var class *scheduling.PriorityClass
	if spec.PriorityClassName == "" {
		for _, candidate := range a.priorityClasses {
			// Of several defaults the lowest counts; equal ones differ in their name only, the first of which is taken.
			if candidate.GlobalDefault && (class == nil || candidate.Value < class.Value || candidate.Value == class.Value && candidate.Name < class.Name) {
				class = candidate
			}
		}
	} else if class = a.priorityClasses[spec.PriorityClassName]; class == nil {
		return fmt.Errorf("no PriorityClass with name %v was found", spec.PriorityClassName)
	}
	priority, preemption := int32(scheduling.DefaultPriorityWhenNoDefaultClassExists), core.PreemptLowerPriority
	if class != nil {
		spec.PriorityClassName, priority = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			preemption = *class.PreemptionPolicy
		}
	}
	if spec.PreemptionPolicy != nil && *spec.PreemptionPolicy != preemption {
		return fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *spec.PreemptionPolicy, preemption)
	}
	spec.Priority, spec.PreemptionPolicy = &priority, &preemption
	return nil
}
