package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
)

// ExtenderTable is what an extender of a case answers; tests/differential/src/extenders.rs serves the same table. An empty one lets
// everything pass, scores nothing and confirms every victim.
type ExtenderTable struct {
	// Broken has, by verb, an answer that is given as it is.
	Broken map[string]BrokenAnswer `json:"broken,omitempty"`
	// Reject and Unresolvable have nodes that do not pass, with the reason.
	Reject       map[string]string `json:"reject,omitempty"`
	Unresolvable map[string]string `json:"unresolvable,omitempty"`
	// Drop has nodes that do not pass without a word, Add nodes that pass though nobody asked about them.
	Drop []string `json:"drop,omitempty"`
	Add  []string `json:"add,omitempty"`
	// Error is the error of every answer to filter.
	Error string `json:"error,omitempty"`
	// Scores by node.
	Scores map[string]int64 `json:"scores,omitempty"`
	// Spare has nodes on which nobody is to be evicted.
	Spare []string `json:"spare,omitempty"`
	// Keep says of how many victims on a node, the first ones, the eviction is confirmed.
	Keep map[string]int `json:"keep,omitempty"`
	// Ghosts has nodes to whose victims a pod is added that is not there.
	Ghosts []string `json:"ghosts,omitempty"`
	// Violations are answered instead of those that were asked about.
	Violations map[string]int64 `json:"violations,omitempty"`
}

// BrokenAnswer is an answer as it is.
type BrokenAnswer struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// extenderHosts has the tables of the cases in work, by the host of their URLs. Upstream's client reaches them by a proxy, so that a
// URL, which occurs in messages, is the one of the configuration.
var extenderHosts = struct {
	sync.Mutex
	free   *sync.Cond
	tables map[string]*ExtenderTable
}{tables: map[string]*ExtenderTable{}}

// serveExtenders starts the proxy. It must come before anything is asked by HTTP.
func serveExtenders() error {
	extenderHosts.free = sync.NewCond(&extenderHosts.Mutex)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := os.Setenv("HTTP_PROXY", "http://"+listener.Addr().String()); err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(answerExtender)}
	// Each case has clients of its own.
	server.SetKeepAlivesEnabled(false)
	go func() { _ = server.Serve(listener) }()
	return nil
}

// takeExtenderHosts makes the tables of a case known until they are released. It waits for a case with the same hosts.
func takeExtenderHosts(extenders []config.Extender, tables []ExtenderTable) (release func(), err error) {
	if len(tables) > len(extenders) {
		return nil, fmt.Errorf("the case has %d tables for %d extenders", len(tables), len(extenders))
	}
	hosts := map[string]*ExtenderTable{}
	for i := range extenders {
		at, err := url.Parse(extenders[i].URLPrefix)
		if err != nil {
			return nil, err
		}
		if hosts[at.Host] != nil {
			return nil, fmt.Errorf("two extenders are at %s", at.Host)
		}
		hosts[at.Host] = &ExtenderTable{}
		if i < len(tables) {
			hosts[at.Host] = &tables[i]
		}
	}
	extenderHosts.Lock()
	defer extenderHosts.Unlock()
	for taken := true; taken; {
		taken = false
		for host := range hosts {
			taken = taken || extenderHosts.tables[host] != nil
		}
		if taken {
			extenderHosts.free.Wait()
		}
	}
	for host, table := range hosts {
		extenderHosts.tables[host] = table
	}
	return func() {
		extenderHosts.Lock()
		defer extenderHosts.Unlock()
		for host := range hosts {
			delete(extenderHosts.tables, host)
		}
		extenderHosts.free.Broadcast()
	}, nil
}

func answerExtender(w http.ResponseWriter, r *http.Request) {
	extenderHosts.Lock()
	table := extenderHosts.tables[r.URL.Host]
	extenderHosts.Unlock()
	if table == nil {
		http.Error(w, "no case has an extender at "+r.URL.Host, http.StatusBadGateway)
		return
	}
	verb := path.Base(r.URL.Path)
	if broken, ok := table.Broken[verb]; ok {
		w.WriteHeader(broken.Status)
		_, _ = w.Write([]byte(broken.Body))
		return
	}
	var answer any
	var err error
	switch verb {
	case "filter", "prioritize":
		var args extenderv1.ExtenderArgs
		if err = json.NewDecoder(r.Body).Decode(&args); err == nil && verb == "filter" {
			answer = table.filter(&args)
		} else {
			answer = table.prioritize()
		}
	case "preempt":
		var args extenderv1.ExtenderPreemptionArgs
		err = json.NewDecoder(r.Body).Decode(&args)
		answer = table.preempt(&args)
	default:
		err = fmt.Errorf("verb %q is not known", verb)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (t *ExtenderTable) passes(node string) bool {
	_, rejected := t.Reject[node]
	_, unresolvable := t.Unresolvable[node]
	return !rejected && !unresolvable && !slices.Contains(t.Drop, node)
}

func (t *ExtenderTable) filter(args *extenderv1.ExtenderArgs) *extenderv1.ExtenderFilterResult {
	result := &extenderv1.ExtenderFilterResult{
		FailedNodes: t.Reject, FailedAndUnresolvableNodes: t.Unresolvable, Error: t.Error,
	}
	if args.NodeNames != nil {
		names := []string{}
		for _, name := range *args.NodeNames {
			if t.passes(name) {
				names = append(names, name)
			}
		}
		names = append(names, t.Add...)
		result.NodeNames = &names
		return result
	}
	nodes := &v1.NodeList{Items: []v1.Node{}}
	for _, node := range args.Nodes.Items {
		if t.passes(node.Name) {
			nodes.Items = append(nodes.Items, node)
		}
	}
	for _, name := range t.Add {
		nodes.Items = append(nodes.Items, v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	result.Nodes = nodes
	return result
}

func (t *ExtenderTable) prioritize() extenderv1.HostPriorityList {
	list := extenderv1.HostPriorityList{}
	for node, score := range t.Scores {
		list = append(list, extenderv1.HostPriority{Host: node, Score: score})
	}
	return list
}

func (t *ExtenderTable) preempt(args *extenderv1.ExtenderPreemptionArgs) *extenderv1.ExtenderPreemptionResult {
	result := &extenderv1.ExtenderPreemptionResult{NodeNameToMetaVictims: map[string]*extenderv1.MetaVictims{}}
	confirm := func(node string, uids []string, violations int64) {
		if slices.Contains(t.Spare, node) {
			return
		}
		if keep, ok := t.Keep[node]; ok {
			uids = uids[:min(keep, len(uids))]
		}
		if slices.Contains(t.Ghosts, node) {
			uids = append(uids, "nobody")
		}
		if other, ok := t.Violations[node]; ok {
			violations = other
		}
		victims := &extenderv1.MetaVictims{Pods: []*extenderv1.MetaPod{}, NumPDBViolations: violations}
		for _, uid := range uids {
			victims.Pods = append(victims.Pods, &extenderv1.MetaPod{UID: uid})
		}
		result.NodeNameToMetaVictims[node] = victims
	}
	for node, victims := range args.NodeNameToVictims {
		var uids []string
		for _, pod := range victims.Pods {
			uids = append(uids, string(pod.UID))
		}
		confirm(node, uids, victims.NumPDBViolations)
	}
	for node, victims := range args.NodeNameToMetaVictims {
		var uids []string
		for _, pod := range victims.Pods {
			uids = append(uids, pod.UID)
		}
		confirm(node, uids, victims.NumPDBViolations)
	}
	return result
}

// newExtenders makes upstream's clients in the order in which a scheduler asks them, and gives the profiles what extenders have
// NodeResourcesFit ignore, as scheduler.New does.
func newExtenders(cfg *config.KubeSchedulerConfiguration) ([]fwk.Extender, error) {
	var first, last []fwk.Extender
	var ignored []string
	for i := range cfg.Extenders {
		extender, err := scheduler.NewHTTPExtender(&cfg.Extenders[i])
		if err != nil {
			return nil, err
		}
		if extender.IsIgnorable() {
			last = append(last, extender)
		} else {
			first = append(first, extender)
		}
		for _, resource := range cfg.Extenders[i].ManagedResources {
			if resource.IgnoredByScheduler {
				ignored = append(ignored, resource.Name)
			}
		}
	}
	if len(ignored) > 0 {
		for i := range cfg.Profiles {
			for _, plugin := range cfg.Profiles[i].PluginConfig {
				if args, ok := plugin.Args.(*config.NodeResourcesFitArgs); ok && plugin.Name == names.NodeResourcesFit {
					args.IgnoredResources = ignored
				}
			}
		}
	}
	return append(first, last...), nil
}

// passExtenders follows findNodesThatPassExtenders.
func (e *evaluation) passExtenders(nodes []fwk.NodeInfo, statuses *framework.NodeToStatus) ([]fwk.NodeInfo, error) {
	for _, extender := range e.extenders {
		if len(nodes) == 0 {
			break
		}
		if !extender.IsInterested(e.pod) {
			continue
		}
		passed, failed, unresolvable, err := extender.Filter(e.pod, nodes)
		if err != nil {
			if extender.IsIgnorable() {
				continue
			}
			return nil, err
		}
		for node, reason := range failed {
			statuses.Set(node, fwk.NewStatus(fwk.Unschedulable, reason))
		}
		for node, reason := range unresolvable {
			statuses.Set(node, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reason))
		}
		nodes = passed
	}
	return nodes, nil
}

// addExtenderScores adds to the totals what the extenders say, as prioritizeNodes does.
func (e *evaluation) addExtenderScores(nodes []fwk.NodeInfo) {
	sums := map[string]int64{}
	for _, extender := range e.extenders {
		if !extender.IsInterested(e.pod) {
			continue
		}
		list, weight, err := extender.Prioritize(e.pod, nodes)
		if err != nil {
			continue
		}
		for _, one := range *list {
			sums[one.Host] += one.Score * weight * (fwk.MaxNodeScore / extenderv1.MaxExtenderPriority)
		}
	}
	for _, node := range nodes {
		answer := e.result.Nodes[node.Node().Name]
		e.setTotal(node, *answer.Total+sums[node.Node().Name])
	}
}

// confirmVictims follows Evaluator.callExtenders; it is asked only where PostFilter has nominated a node, so an extender that may not
// be ignored has not failed.
func (e *evaluation) confirmVictims(preemptor *defaultpreemption.DefaultPreemption, candidates []preemption.Candidate) (map[string]*extenderv1.Victims, error) {
	victims := preemptor.Evaluator.CandidatesToVictimsMap(candidates)
	for _, extender := range e.extenders {
		if len(victims) == 0 {
			break
		}
		if !extender.SupportsPreemption() || !extender.IsInterested(e.pod) {
			continue
		}
		confirmed, err := extender.ProcessPreemption(e.pod, victims, e.snapshot)
		if err != nil {
			if extender.IsIgnorable() {
				continue
			}
			return nil, inconsistency{fmt.Sprintf("a node is nominated although the extender fails: %v", err)}
		}
		for node, of := range confirmed {
			if of == nil || len(of.Pods) == 0 {
				delete(confirmed, node)
			}
		}
		victims = confirmed
	}
	return victims, nil
}
