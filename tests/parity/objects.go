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
	kjson "sigs.k8s.io/json"
)

// kinds are the objects that the scheduler reads, each in the one version that it reads it in.
var kinds = map[metav1.TypeMeta]func() runtime.Object{
	{APIVersion: "v1", Kind: "Pod"}:                               func() runtime.Object { return &v1.Pod{} },
	{APIVersion: "v1", Kind: "Node"}:                              func() runtime.Object { return &v1.Node{} },
	{APIVersion: "v1", Kind: "Namespace"}:                         func() runtime.Object { return &v1.Namespace{} },
	{APIVersion: "v1", Kind: "PersistentVolume"}:                  func() runtime.Object { return &v1.PersistentVolume{} },
	{APIVersion: "v1", Kind: "PersistentVolumeClaim"}:             func() runtime.Object { return &v1.PersistentVolumeClaim{} },
	{APIVersion: "v1", Kind: "Service"}:                           func() runtime.Object { return &v1.Service{} },
	{APIVersion: "v1", Kind: "ReplicationController"}:             func() runtime.Object { return &v1.ReplicationController{} },
	{APIVersion: "apps/v1", Kind: "ReplicaSet"}:                   func() runtime.Object { return &appsv1.ReplicaSet{} },
	{APIVersion: "apps/v1", Kind: "StatefulSet"}:                  func() runtime.Object { return &appsv1.StatefulSet{} },
	{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}:        func() runtime.Object { return &policyv1.PodDisruptionBudget{} },
	{APIVersion: "resource.k8s.io/v1", Kind: "ResourceClaim"}:     func() runtime.Object { return &resourcev1.ResourceClaim{} },
	{APIVersion: "resource.k8s.io/v1", Kind: "ResourceSlice"}:     func() runtime.Object { return &resourcev1.ResourceSlice{} },
	{APIVersion: "resource.k8s.io/v1", Kind: "DeviceClass"}:       func() runtime.Object { return &resourcev1.DeviceClass{} },
	{APIVersion: "scheduling.k8s.io/v1", Kind: "PriorityClass"}:   func() runtime.Object { return &schedulingv1.PriorityClass{} },
	{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"}:       func() runtime.Object { return &storagev1.StorageClass{} },
	{APIVersion: "storage.k8s.io/v1", Kind: "CSINode"}:            func() runtime.Object { return &storagev1.CSINode{} },
	{APIVersion: "storage.k8s.io/v1", Kind: "CSIDriver"}:          func() runtime.Object { return &storagev1.CSIDriver{} },
	{APIVersion: "storage.k8s.io/v1", Kind: "CSIStorageCapacity"}: func() runtime.Object { return &storagev1.CSIStorageCapacity{} },
	{APIVersion: "storage.k8s.io/v1", Kind: "VolumeAttachment"}:   func() runtime.Object { return &storagev1.VolumeAttachment{} },
}

// decodeObjects reads the objects as an informer would have them: as stored, without defaulting. Kinds that the
// scheduler does not read are left out; lists are taken apart.
func decodeObjects(raws []json.RawMessage) ([]runtime.Object, error) {
	objects := make([]runtime.Object, 0, len(raws))
	for i, raw := range raws {
		some, err := decodeObject(raw)
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", i, err)
		}
		objects = append(objects, some...)
	}
	return objects, nil
}

func decodeObject(raw json.RawMessage) ([]runtime.Object, error) {
	var kind metav1.TypeMeta
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	if kind == (metav1.TypeMeta{APIVersion: "v1", Kind: "List"}) {
		var list struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
		return decodeObjects(list.Items)
	}
	make, ok := kinds[kind]
	if !ok {
		return nil, nil
	}
	obj := make()
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, obj); err != nil {
		return nil, fmt.Errorf("%s: %w", kind.Kind, err)
	}
	return []runtime.Object{obj}, nil
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
