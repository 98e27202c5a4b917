package main

import (
	"encoding/json"
	"fmt"
)

// Case is one line of standard input. README.md describes the protocol.
type Case struct {
	ID      string            `json:"id"`
	Objects []json.RawMessage `json:"objects"`
	// Config is a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): an object, or a string with YAML or JSON.
	Config json.RawMessage `json:"config,omitempty"`
	// Extenders has what the extenders of the configuration answer, in their order.
	Extenders []ExtenderTable `json:"extenders,omitempty"`
	// Pods limits the evaluation to these pending pods ("namespace/name").
	Pods []string `json:"pods,omitempty"`
	// Validate puts the objects through the API server's defaulting, admission and validation and answers with them.
	Validate bool `json:"validate,omitempty"`
	// Evaluate asks for results as well where Validate is set.
	Evaluate bool `json:"evaluate,omitempty"`
}

// Answer is one line of standard output.
type Answer struct {
	ID       string            `json:"id"`
	Results  []*Result         `json:"results,omitempty"`
	Objects  []json.RawMessage `json:"objects,omitempty"`
	Rejected []Rejection       `json:"rejected,omitempty"`
	// SelfCheck lists where the oracle and the real scheduler disagree (mode -self-check).
	SelfCheck []string `json:"selfCheck,omitempty"`
	Checked   int      `json:"checked,omitempty"`
	Error     string   `json:"error,omitempty"`
}

// Rejection says why an API server would not have stored an object of the case.
type Rejection struct {
	Index  int      `json:"index"`
	Errors []string `json:"errors"`
}

// Result is the explain answer for one pod.
type Result struct {
	Pod       string                 `json:"pod"`
	Profile   string                 `json:"profile"`
	Result    string                 `json:"result"`
	PreFilter *PreFilterRejection    `json:"preFilter,omitempty"`
	Nodes     map[string]*NodeResult `json:"nodes"`
	Best      []string               `json:"best"`
	// PostFilter is the first right answer in the order of the file.
	PostFilter *PostFilter `json:"postFilter,omitempty"`
	// PostFilterAny holds all right answers where upstream chooses among several at random.
	PostFilterAny []*PostFilter `json:"postFilterAny,omitempty"`
	Message       string        `json:"message,omitempty"`
	// MessageAny holds the message of each answer of PostFilterAny.
	MessageAny []string `json:"messageAny,omitempty"`
	// Any holds the other right answers where upstream's order of volumes, which is random, decides more than PostFilter.
	Any []*Result `json:"any,omitempty"`
	// Ns is the time of UpdateSnapshot and SchedulePod in the real scheduler (mode -bench).
	Ns int64 `json:"ns,omitempty"`
}

const (
	resultSchedulable   = "Schedulable"
	resultUnschedulable = "Unschedulable"
	resultGated         = "Gated"
	resultError         = "Error"
)

// PreFilterRejection is what the PreFilter plugin said that rejected the pod on every node.
type PreFilterRejection struct {
	Plugin  string   `json:"plugin,omitempty"`
	Code    string   `json:"code"`
	Reasons []string `json:"reasons"`
}

// NodeResult is the verdict on one node.
type NodeResult struct {
	Code    string            `json:"code"`
	Plugin  string            `json:"plugin,omitempty"`
	Reasons []string          `json:"reasons,omitempty"`
	Scores  map[string]*Score `json:"scores,omitempty"`
	Total   *int64            `json:"total,omitempty"`
}

// Score is one plugin's part in a node's total.
type Score struct {
	Raw        int64 `json:"raw"`
	Normalized int64 `json:"normalized"`
	Weighted   int64 `json:"weighted"`
}

// PostFilter is a nomination with the pods that have to go for it, the most important first.
type PostFilter struct {
	NominatedNode string   `json:"nominatedNode"`
	Victims       []string `json:"victims"`
}

// text is what DefaultPreemption says of the nomination.
func (p *PostFilter) text() string {
	return fmt.Sprintf("preemption: found a potential placement for pod on node %s, preempting %d victims", p.NominatedNode, len(p.Victims))
}
