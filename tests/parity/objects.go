package main

import (
	"encoding/json"
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// decodeObjects reads the objects as an informer would have them: as stored, without defaulting. Kinds that the
// scheduler does not read are left out; lists are taken apart.
func decodeObjects(raws []json.RawMessage) ([]runtime.Object, error) {
	objects := make([]runtime.Object, 0, len(raws))
	for i, raw := range raws {
		items, err := listItems(raw)
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", i, err)
		}
		if items != nil {
			nested, err := decodeObjects(items)
			if err != nil {
				return nil, fmt.Errorf("object %d: %w", i, err)
			}
			objects = append(objects, nested...)
			continue
		}
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", i, err)
		}
		if readByScheduler(obj) {
			objects = append(objects, obj)
		}
	}
	return objects, nil
}

// listItems are the members of a `kind: List` in v1, nil for anything else.
func listItems(raw json.RawMessage) ([]json.RawMessage, error) {
	var head metav1.TypeMeta
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, err
	}
	if head.Kind != "List" || head.APIVersion != "v1" {
		return nil, nil
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	return append([]json.RawMessage{}, list.Items...), nil
}

func readByScheduler(obj runtime.Object) bool {
	switch obj.(type) {
	case *v1.Pod, *v1.Node, *v1.Namespace, *v1.PersistentVolume, *v1.PersistentVolumeClaim, *v1.Service, *v1.ReplicationController,
		*appsv1.ReplicaSet, *appsv1.StatefulSet,
		*policyv1.PodDisruptionBudget,
		*resourcev1.ResourceClaim, *resourcev1.ResourceSlice, *resourcev1.DeviceClass,
		*schedulingv1.PriorityClass,
		*storagev1.StorageClass, *storagev1.CSINode, *storagev1.CSIDriver, *storagev1.CSIStorageCapacity, *storagev1.VolumeAttachment:
		return true
	}
	return false
}

// completeIdentities gives objects what the scheduler's caches cannot do without and handwritten files often leave out:
// a namespace, a UID that differs from every other, and a resource version that is a number.
func completeIdentities(objects []runtime.Object) error {
	seen := map[types.UID]string{}
	for i, obj := range objects {
		accessor, err := meta.Accessor(obj)
		if err != nil {
			return err
		}
		if accessor.GetNamespace() == "" && namespaced(obj) {
			accessor.SetNamespace(metav1.NamespaceDefault)
		}
		if _, err := strconv.ParseInt(accessor.GetResourceVersion(), 10, 64); err != nil {
			accessor.SetResourceVersion("1")
		}
		pod, ok := obj.(*v1.Pod)
		if !ok {
			if accessor.GetUID() == "" {
				accessor.SetUID(types.UID(fmt.Sprintf("object-%d", i)))
			}
			continue
		}
		if pod.UID == "" {
			pod.UID = types.UID("pod-" + pod.Namespace + "-" + pod.Name)
		}
		if other, exists := seen[pod.UID]; exists {
			return fmt.Errorf("pods %s and %s have the same UID %q", other, podName(pod), pod.UID)
		}
		seen[pod.UID] = podName(pod)
	}
	return nil
}

func namespaced(obj runtime.Object) bool {
	switch obj.(type) {
	case *v1.Node, *v1.Namespace, *v1.PersistentVolume, *resourcev1.ResourceSlice, *resourcev1.DeviceClass, *schedulingv1.PriorityClass,
		*storagev1.StorageClass, *storagev1.CSINode, *storagev1.CSIDriver, *storagev1.VolumeAttachment:
		return false
	}
	return true
}
