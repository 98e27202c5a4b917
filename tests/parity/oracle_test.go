package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	seed  = flag.Int64("seed", 0, "first seed of the random cases; 0 takes one from the clock")
	cases = flag.Int("cases", 150, "number of random cases")
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func TestMain(m *testing.M) {
	flag.Parse()
	quiet()
	if err := serveExtenders(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// The oracle's verdicts are those of the real scheduler's SchedulePod, its message is that of the event of a whole real
// cycle, and what it nominates and evicts is what that cycle does.
func TestAgreesWithTheRealSchedulerOnRandomCases(t *testing.T) {
	first := *seed
	if first == 0 {
		first = time.Now().UnixNano() % 1_000_000_000
	}
	t.Logf("seeds %d to %d (repeat one with -seed N -cases 1)", first, first+int64(*cases)-1)
	seen := map[string]int{}
	for i := range int64(*cases) {
		c := caseLine(first + i)
		answer := selfCheckCase(c)
		if answer.Error != "" {
			t.Errorf("seed %d: %s", first+i, answer.Error)
		}
		for _, difference := range answer.SelfCheck {
			t.Errorf("seed %d: %s", first+i, difference)
		}
		for _, rejection := range answer.Rejected {
			for _, message := range rejection.Errors {
				seen["rejected: "+message]++
			}
		}
		for _, result := range answer.Results {
			count(seen, result)
		}
	}
	for _, what := range sortedKeys(seen) {
		t.Logf("%6d  %s", seen[what], what)
	}
}

func count(seen map[string]int, result *Result) {
	seen["result "+result.Result]++
	if result.PreFilter != nil {
		seen["preFilter "+result.PreFilter.Plugin]++
	}
	if result.PostFilter != nil {
		seen["postFilter nominates"]++
	}
	if result.PostFilterAny != nil {
		seen["postFilter has several answers"]++
	}
	for _, node := range result.Nodes {
		if node.Plugin != "" {
			seen["filter "+node.Plugin]++
		}
		for plugin := range node.Scores {
			seen["score "+plugin]++
		}
	}
}

// The same case gives the same answer, byte for byte.
func TestAnswersAreRepeatable(t *testing.T) {
	for seed := range int64(40) {
		first, second := encode(evaluateCase(caseLine(seed))), encode(evaluateCase(caseLine(seed)))
		if !bytes.Equal(first, second) {
			t.Errorf("seed %d: first  %s\nsecond %s", seed, first, second)
		}
	}
}

// The examples are answered as recorded beside them, and the real scheduler agrees. -update records anew.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".answers.jsonl") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) { checkExamples(t, file) })
	}
}

var update = flag.Bool("update", false, "record the answers to the examples anew")

func checkExamples(t *testing.T, file string) {
	recorded := strings.TrimSuffix(file, ".jsonl") + ".answers.jsonl"
	var answers []string
	for i, line := range lines(t, file) {
		var c, again Case
		for _, target := range []*Case{&c, &again} {
			if err := json.Unmarshal([]byte(line), target); err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
		}
		answer := evaluateCase(&c)
		if !strings.HasPrefix(filepath.Base(file), "admission") {
			answer.Objects = nil // recorded once, not with every case
		}
		answers = append(answers, string(encode(answer)))
		checked := selfCheckCase(&again)
		for _, difference := range checked.SelfCheck {
			t.Errorf("%s: %s", c.ID, difference)
		}
	}
	if *update {
		if err := os.WriteFile(recorded, []byte(strings.Join(answers, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for i, want := range lines(t, recorded) {
		if i >= len(answers) || answers[i] != want {
			t.Errorf("line %d: want %s\ngot %s", i+1, want, answers[min(i, len(answers)-1)])
		}
	}
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	scanner := bufio.NewScanner(bytes.NewReader(text))
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		if line := strings.TrimSpace(scanner.Text()); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// Answers come in the order of the lines, whichever worker is done first, and a bad line does not end the run.
func TestServeKeepsOrder(t *testing.T) {
	input := `{"id":"a","objects":[]}` + "\n{broken\n" + `{"id":"b","objects":[],"config":{"kind":"Nothing"}}` + "\n" + `{"id":"c","objects":[]}`
	var output bytes.Buffer
	if err := serve(strings.NewReader(input), &output, 2, func(line []byte) any { return answerCase(line, evaluateCase) }); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, line := range strings.Split(strings.TrimSpace(output.String()), "\n") {
		var answer Answer
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, answer.ID)
		if (answer.ID == "" || answer.ID == "b") != (answer.Error != "") {
			t.Errorf("%q: error %q", answer.ID, answer.Error)
		}
	}
	if !slices.Equal(ids, []string{"a", "", "b", "c"}) {
		t.Errorf("order %q", ids)
	}
}

// Configurations are judged as recorded.
func TestConfigurations(t *testing.T) {
	var verdicts []string
	for _, line := range lines(t, "examples/configurations.txt") {
		verdicts = append(verdicts, string(encode(checkConfig([]byte(line)))))
	}
	const recorded = "examples/configurations.answers.txt"
	if *update {
		if err := os.WriteFile(recorded, []byte(strings.Join(verdicts, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range lines(t, recorded) {
		if i >= len(verdicts) || verdicts[i] != want {
			t.Errorf("line %d: want %s\ngot %s", i+1, want, verdicts[min(i, len(verdicts)-1)])
		}
	}
}

// The bench mode measures every pod that is not held back.
func TestBenchMeasures(t *testing.T) {
	answer := benchCase(caseWith(t, `{"kind":"Node","apiVersion":"v1","metadata":{"name":"n"},"status":{"allocatable":{"cpu":"1","pods":"9"}}}`,
		`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p"},"spec":{"schedulerName":"my-scheduler","containers":[{"name":"c"}]}}`), 2, 3)
	if answer.Error != "" || len(answer.Results) != 1 || answer.Results[0].Ns <= 0 || !slices.Equal(answer.Results[0].Best, []string{"n"}) {
		t.Errorf("got %s", encode(answer))
	}
}

func caseWith(t *testing.T, objects ...string) *Case {
	t.Helper()
	c := &Case{ID: t.Name()}
	for _, text := range objects {
		c.Objects = append(c.Objects, json.RawMessage(text))
	}
	return c
}
