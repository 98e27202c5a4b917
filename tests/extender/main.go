// An HTTP extender for tests, with upstream's types. What it answers about a pod is written in the pod's annotation "rule".
//
// It serves /WHO/NAME/VERB by HTTP and HTTPS: WHO is the scheduler that asks, NAME the extender that it asks. Its first line of output
// says where; each further line is a call.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	extender "k8s.io/kube-scheduler/extender/v1"
)

// rule says what the extender of one name answers about a pod.
type rule struct {
	// Pass are the nodes that pass; all where it is absent.
	Pass *[]string `json:"pass"`
	// Failed and Unresolvable are the reasons of the others.
	Failed       map[string]string `json:"failed"`
	Unresolvable map[string]string `json:"unresolvable"`
	Scores       map[string]int64  `json:"scores"`
	// Keep are the candidates for preemption that stand; all where it is absent.
	Keep *[]string `json:"keep"`
	// Error is the error in an answer to filter or bind.
	Error string `json:"error"`
	// Faults say what goes wrong with the answer, by verb.
	Faults map[string]string `json:"faults"`
}

// call is a line of output.
type call struct {
	Who, Name, Verb, Pod string
	// Nodes are sorted: where a search begins is the scheduler's own affair.
	Nodes []string
	// Whole says that nodes and victims were sent as objects.
	Whole bool
	// Spoilt are objects with fields that upstream does not send, and those that are not whole.
	Spoilt []string
}

type server struct {
	// api is the API server, as the kubeconfig has it.
	api    string
	client *http.Client
	output sync.Mutex
}

// ask calls the API server; an error has its words.
func (s *server) ask(method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, s.api+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		var status metav1.Status
		if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
			return err
		}
		return errors.New(status.Message)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

func (s *server) print(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		log.Fatal(err)
	}
	s.output.Lock()
	defer s.output.Unlock()
	fmt.Println(string(text))
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	if err != nil || len(parts) != 3 || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "a call has three parts and JSON", http.StatusBadRequest)
		return
	}
	call := call{Who: parts[0], Name: parts[1], Verb: parts[2]}
	var answer any
	var rule rule
	switch call.Verb {
	case "filter", "prioritize":
		answer, rule = nodes(&call, body)
	case "preempt":
		answer, rule = preempt(&call, body)
	case "bind":
		answer, rule = s.bind(&call, body)
	default:
		http.NotFound(w, r)
		return
	}
	s.print(call)
	fail(w, r, rule.Faults[call.Verb], answer)
}

// fail answers as the fault has it.
func fail(w http.ResponseWriter, r *http.Request, fault string, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		log.Fatal(err)
	}
	switch fault {
	case "":
		w.Write(text)
	case "500":
		http.Error(w, "out of order", http.StatusInternalServerError)
	case "hang":
		<-r.Context().Done()
	case "garbage":
		w.Write([]byte("<html>welcome</html>"))
	case "empty":
	case "half":
		w.Write(text[:len(text)/2])
	case "broken":
		w.Header().Set("Content-Length", "1000000")
		w.Write(text[:len(text)/2])
	case "closed":
		connection, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			connection.Close()
		}
	case "type":
		w.Write([]byte(`{"NodeNames":"all","Nodes":7}`))
	case "unknown":
		w.Write([]byte(`{"NodeNames":["nowhere"]}`))
	default:
		log.Fatalf("no such fault: %s", fault)
	}
}

func decode(body []byte, into any) {
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		log.Fatalf("a request that is none: %v: %s", err, body)
	}
}

// about reads the pod's rule for this extender.
func about(call *call, pod *v1.Pod) rule {
	call.Pod = pod.Name
	if pod.Kind != "" || pod.ManagedFields != nil {
		call.Spoilt = append(call.Spoilt, "pod")
	}
	if len(pod.Spec.Containers) == 0 || pod.UID == "" {
		call.Spoilt = append(call.Spoilt, "pod is not whole")
	}
	var rules map[string]rule
	if text := pod.Annotations["rule"]; text != "" {
		decode([]byte(text), &rules)
	}
	return rules[call.Name]
}

func nodes(call *call, body []byte) (any, rule) {
	var args extender.ExtenderArgs
	decode(body, &args)
	rule := about(call, args.Pod)
	if args.NodeNames != nil {
		call.Nodes = slices.Clone(*args.NodeNames)
	} else {
		call.Whole = true
		for _, node := range args.Nodes.Items {
			call.Nodes = append(call.Nodes, node.Name)
			// kube-scheduler also sends managedFields of nodes, which no extender needs.
			if node.Kind != "" || len(node.Status.Allocatable) == 0 {
				call.Spoilt = append(call.Spoilt, node.Name)
			}
		}
	}
	slices.Sort(call.Nodes)
	passes := func(node string) bool { return rule.Pass == nil || slices.Contains(*rule.Pass, node) }
	if call.Verb == "prioritize" {
		scores := extender.HostPriorityList{}
		for _, node := range call.Nodes {
			scores = append(scores, extender.HostPriority{Host: node, Score: rule.Scores[node]})
		}
		return scores, rule
	}
	result := extender.ExtenderFilterResult{
		FailedNodes: rule.Failed, FailedAndUnresolvableNodes: rule.Unresolvable, Error: rule.Error,
	}
	if args.NodeNames != nil {
		passed := slices.DeleteFunc(slices.Clone(*args.NodeNames), func(n string) bool { return !passes(n) })
		result.NodeNames = &passed
	} else {
		passed := slices.DeleteFunc(slices.Clone(args.Nodes.Items), func(n v1.Node) bool { return !passes(n.Name) })
		result.Nodes = &v1.NodeList{Items: passed}
	}
	return result, rule
}

func preempt(call *call, body []byte) (any, rule) {
	var args extender.ExtenderPreemptionArgs
	decode(body, &args)
	rule := about(call, args.Pod)
	all := args.NodeNameToMetaVictims
	if args.NodeNameToVictims != nil {
		call.Whole = true
		all = map[string]*extender.MetaVictims{}
		for node, victims := range args.NodeNameToVictims {
			meta := &extender.MetaVictims{NumPDBViolations: victims.NumPDBViolations}
			for _, pod := range victims.Pods {
				if pod.Spec.NodeName != node || len(pod.Spec.Containers) == 0 {
					call.Spoilt = append(call.Spoilt, pod.Name)
				}
				meta.Pods = append(meta.Pods, &extender.MetaPod{UID: string(pod.UID)})
			}
			all[node] = meta
		}
	}
	kept := map[string]*extender.MetaVictims{}
	for node, victims := range all {
		call.Nodes = append(call.Nodes, fmt.Sprintf("%s: %d", node, len(victims.Pods)))
		if rule.Keep == nil || slices.Contains(*rule.Keep, node) {
			kept[node] = victims
		}
	}
	slices.Sort(call.Nodes)
	return extender.ExtenderPreemptionResult{NodeNameToMetaVictims: kept}, rule
}

func (s *server) bind(call *call, body []byte) (any, rule) {
	var args extender.ExtenderBindingArgs
	decode(body, &args)
	call.Nodes = []string{args.Node}
	path := "/api/v1/namespaces/" + args.PodNamespace + "/pods/" + args.PodName
	var pod v1.Pod
	if err := s.ask(http.MethodGet, path, nil, &pod); err != nil {
		return extender.ExtenderBindingResult{Error: err.Error()}, rule{}
	}
	rule := about(call, &pod)
	// Read from the API server here, so it has them.
	call.Spoilt = nil
	if rule.Error != "" || rule.Faults["bind"] == "500" {
		return extender.ExtenderBindingResult{Error: rule.Error}, rule
	}
	binding := &v1.Binding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Binding"},
		ObjectMeta: metav1.ObjectMeta{Namespace: args.PodNamespace, Name: args.PodName, UID: args.PodUID},
		Target:     v1.ObjectReference{Kind: "Node", Name: args.Node},
	}
	result := extender.ExtenderBindingResult{}
	if err := s.ask(http.MethodPost, path+"/binding", binding, &metav1.Status{}); err != nil {
		result.Error = err.Error()
	}
	return result, rule
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "for the bindings")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		log.Fatal(err)
	}
	server := &server{api: config.Host, client: client}
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		return listener
	}
	plain, secure := listen(), listen()
	certificates, authority := certificates()
	go func() { log.Fatal(http.Serve(plain, server)) }()
	go func() {
		secured := &http.Server{Handler: server, TLSConfig: certificates}
		log.Fatal(secured.ServeTLS(secure, "", ""))
	}()
	server.print(map[string]any{
		"http":  "http://" + plain.Addr().String(),
		"https": "https://" + secure.Addr().String(),
		"ca":    authority,
	})
	select {}
}
