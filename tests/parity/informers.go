package main

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/scheduling"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/tools/cache"
)

// staticFactory stands in for a shared informer factory whose caches have synced: the stores hold the case's objects in
// the order of the file, and a handler that was added before an object hears of it at once, in the caller's goroutine.
// Nothing is listed, watched or started, so that a case costs no goroutines and no waiting.
type staticFactory struct {
	informers.SharedInformerFactory // nil: a group that the scheduler does not read panics instead of answering emptily

	mu    sync.Mutex
	types map[reflect.Type]*staticInformer
}

func newStaticFactory() *staticFactory {
	return &staticFactory{types: map[reflect.Type]*staticInformer{}}
}

func (f *staticFactory) Start(<-chan struct{})                                  {}
func (f *staticFactory) StartWithContext(context.Context)                       {}
func (f *staticFactory) Shutdown()                                              {}
func (f *staticFactory) InformerName() *cache.InformerName                      { return nil }
func (f *staticFactory) WaitForCacheSync(<-chan struct{}) map[reflect.Type]bool { return nil }

func (f *staticFactory) Core() core.Interface             { return core.New(f, "", nil) }
func (f *staticFactory) Apps() apps.Interface             { return apps.New(f, "", nil) }
func (f *staticFactory) Policy() policy.Interface         { return policy.New(f, "", nil) }
func (f *staticFactory) Resource() resource.Interface     { return resource.New(f, "", nil) }
func (f *staticFactory) Scheduling() scheduling.Interface { return scheduling.New(f, "", nil) }
func (f *staticFactory) Storage() storage.Interface       { return storage.New(f, "", nil) }

// InformerFor implements internalinterfaces.SharedInformerFactory.
func (f *staticFactory) InformerFor(obj runtime.Object, _ internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.informerFor(reflect.TypeOf(obj))
}

func (f *staticFactory) informerFor(t reflect.Type) *staticInformer {
	informer, ok := f.types[t]
	if !ok {
		informer = &staticInformer{indexer: newOrderedIndexer()}
		f.types[t] = informer
	}
	return informer
}

// add stores an object and tells the handlers of its kind.
func (f *staticFactory) add(obj runtime.Object) error {
	f.mu.Lock()
	informer := f.informerFor(reflect.TypeOf(obj))
	f.mu.Unlock()
	return informer.add(obj)
}

type staticInformer struct {
	cache.SharedIndexInformer // nil: what is not overridden below is not part of the oracle's world

	indexer  *orderedIndexer
	handlers []cache.ResourceEventHandler
}

func (i *staticInformer) add(obj runtime.Object) error {
	if err := i.indexer.Add(obj); err != nil {
		return err
	}
	i.tell(func(handler cache.ResourceEventHandler) { handler.OnAdd(obj, true) })
	return nil
}

// replace stores an object in the place of the one of its name. The handlers are not told: tell does, when the time comes.
func (i *staticInformer) replace(obj runtime.Object) error { return i.indexer.replace(obj) }

// remove takes an object out of the store; the handlers are not told.
func (i *staticInformer) remove(obj runtime.Object) error { return i.indexer.remove(obj) }

// tell hands an event to the handlers, one after the other.
func (i *staticInformer) tell(event func(cache.ResourceEventHandler)) {
	for _, handler := range i.handlers {
		event(handler)
	}
}

func (i *staticInformer) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	i.handlers = append(i.handlers, handler)
	for _, obj := range i.indexer.List() {
		handler.OnAdd(obj, true)
	}
	return synced{}, nil
}

func (i *staticInformer) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, _ time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandler(handler)
}

func (i *staticInformer) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, _ cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandler(handler)
}

func (i *staticInformer) GetStore() cache.Store                  { return i.indexer }
func (i *staticInformer) GetIndexer() cache.Indexer              { return i.indexer }
func (i *staticInformer) AddIndexers(more cache.Indexers) error  { return i.indexer.AddIndexers(more) }
func (i *staticInformer) HasSynced() bool                        { return true }
func (i *staticInformer) HasSyncedChecker() cache.DoneChecker    { return synced{} }
func (i *staticInformer) LastSyncResourceVersion() string        { return "1" }
func (i *staticInformer) IsStopped() bool                        { return false }
func (i *staticInformer) SetTransform(cache.TransformFunc) error { return nil }

// synced is a registration whose initial events have all been delivered.
type synced struct{}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (synced) HasSynced() bool                     { return true }
func (synced) HasSyncedChecker() cache.DoneChecker { return synced{} }
func (synced) Name() string                        { return "static" }
func (synced) Done() <-chan struct{}               { return closedChannel }

// orderedIndexer is a store that lists in the order of insertion. Upstream's lists in the random order of a Go map, so
// every order is one that upstream may see; this one makes the oracle repeatable.
type orderedIndexer struct {
	cache.Indexer // nil: what is not overridden below is not part of the oracle's world

	mu       sync.RWMutex
	keys     []string
	objects  map[string]any
	indexers cache.Indexers
	indices  map[string]map[string][]any // built on first use, dropped when an object is added
}

func newOrderedIndexer() *orderedIndexer {
	return &orderedIndexer{
		objects:  map[string]any{},
		indexers: cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		indices:  map[string]map[string][]any{},
	}
}

func (s *orderedIndexer) Add(obj any) error {
	key, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.objects[key]; exists {
		return fmt.Errorf("%T %q is given twice", obj, key)
	}
	s.keys = append(s.keys, key)
	s.objects[key] = obj
	clear(s.indices)
	return nil
}

func (s *orderedIndexer) replace(obj any) error {
	key, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.objects[key]; !exists {
		return fmt.Errorf("%T %q is not there", obj, key)
	}
	s.objects[key] = obj
	clear(s.indices)
	return nil
}

func (s *orderedIndexer) remove(obj any) error {
	key, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.keys, key)
	if at < 0 {
		return fmt.Errorf("%T %q is not there", obj, key)
	}
	s.keys = slices.Delete(s.keys, at, at+1)
	delete(s.objects, key)
	clear(s.indices)
	return nil
}

func (s *orderedIndexer) List() []any {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]any, 0, len(s.keys))
	for _, key := range s.keys {
		list = append(list, s.objects[key])
	}
	return list
}

func (s *orderedIndexer) ListKeys() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append([]string(nil), s.keys...)
}

func (s *orderedIndexer) Get(obj any) (any, bool, error) {
	key, err := cache.MetaNamespaceKeyFunc(obj)
	if err != nil {
		return nil, false, err
	}
	return s.GetByKey(key)
}

func (s *orderedIndexer) GetByKey(key string) (any, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	obj, ok := s.objects[key]
	return obj, ok, nil
}

func (s *orderedIndexer) GetIndexers() cache.Indexers {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.indexers
}

func (s *orderedIndexer) AddIndexers(more cache.Indexers) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range more {
		if _, exists := s.indexers[name]; exists {
			return fmt.Errorf("index %q exists already", name)
		}
	}
	for name, indexFunc := range more {
		s.indexers[name] = indexFunc
	}
	return nil
}

func (s *orderedIndexer) index(name string) (map[string][]any, error) {
	if index, ok := s.indices[name]; ok {
		return index, nil
	}
	indexFunc, ok := s.indexers[name]
	if !ok {
		return nil, fmt.Errorf("there is no index %q", name)
	}
	index := map[string][]any{}
	for _, key := range s.keys {
		obj := s.objects[key]
		values, err := indexFunc(obj)
		if err != nil {
			return nil, err
		}
		for _, value := range values {
			index[value] = append(index[value], obj)
		}
	}
	s.indices[name] = index
	return index, nil
}

func (s *orderedIndexer) ByIndex(name, value string) ([]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	index, err := s.index(name)
	if err != nil {
		return nil, err
	}
	return append([]any(nil), index[value]...), nil
}

func (s *orderedIndexer) Index(name string, obj any) ([]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	index, err := s.index(name)
	if err != nil {
		return nil, err
	}
	values, err := s.indexers[name](obj)
	if err != nil {
		return nil, err
	}
	var list []any
	for _, value := range values {
		list = append(list, index[value]...)
	}
	return list, nil
}
