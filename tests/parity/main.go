// Command oracle asks the real kube-scheduler framework about clusters that it reads from standard input, one case a
// line, and answers in the form of `secondmate explain --from`. README.md describes the protocol.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"

	"github.com/go-logr/logr"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
)

const (
	// readAhead bounds how many cases are held between standard input and standard output.
	readAhead = 16
	// readBuffer suits lines of some hundred kilobytes; longer ones are assembled from several reads.
	readBuffer = 1 << 20
)

func main() {
	configCheck := flag.Bool("config-check", false, "read KubeSchedulerConfigurations, one a line (an object, or a string with YAML), and answer with upstream's verdict")
	selfCheck := flag.Bool("self-check", false, "hold the oracle's answers against the real scheduler's SchedulePod and its events")
	bench := flag.Bool("bench", false, "measure UpdateSnapshot and SchedulePod of the real scheduler for each pod (field ns)")
	steps := flag.Bool("steps", false, "measure one scheduling step after the other, each pod seen on its node before the next one is tried")
	parallelism := flag.Int("parallelism", 16, "workers inside a scheduling cycle for -bench and -steps")
	repeat := flag.Int("repeat", 5, "how often -bench evaluates each pod; the shortest time counts")
	workers := flag.Int("workers", 2, "cases in work at the same time; -bench and -steps always take one")
	wireOf := flag.String("wire", "", "schema: print how pods and nodes are encoded as protobuf; encode: encode those of standard input")
	texts := flag.Bool("texts", false, "read quantities and durations, one a line, and answer with what Go reads in them")
	flag.Parse()
	if *wireOf != "" || *texts {
		read := func() error { return wire(*wireOf) }
		if *texts {
			read = func() error { return readTexts(os.Stdin, os.Stdout) }
		}
		if err := read(); err != nil {
			fmt.Fprintln(os.Stderr, "oracle:", err)
			os.Exit(1)
		}
		return
	}
	quiet()
	if err := serveExtenders(); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}

	answer := func(line []byte) any { return answerCase(line, evaluateCase) }
	switch {
	case *configCheck:
		answer = func(line []byte) any { return checkConfig(line) }
	case *selfCheck:
		answer = func(line []byte) any { return answerCase(line, selfCheckCase) }
	case *bench:
		*workers = 1
		answer = func(line []byte) any {
			return answerCase(line, func(c *Case) *Answer { return benchCase(c, *parallelism, *repeat) })
		}
	case *steps:
		*workers = 1
		answer = func(line []byte) any { return answerSteps(line, *parallelism) }
	}
	if err := serve(os.Stdin, os.Stdout, max(*workers, 1), answer); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

// quiet keeps the scheduler's own logging away and takes out the pause that it makes after each logged error.
func quiet() {
	klog.SetLogger(logr.Discard())
	utilruntime.ErrorHandlers = nil
	metrics.Register()
}

// serve answers the lines of in on out, in order, with the given number of workers.
func serve(in io.Reader, out io.Writer, workers int, answer func([]byte) any) error {
	type job struct {
		line []byte
		done chan []byte
	}
	jobs, ordered := make(chan job), make(chan job, readAhead)
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for job := range jobs {
				job.done <- encode(answer(job.line))
			}
		})
	}
	var readErr error
	go func() {
		defer close(ordered)
		defer close(jobs)
		reader := bufio.NewReaderSize(in, readBuffer)
		for {
			line, err := reader.ReadBytes('\n')
			if line = bytes.TrimSpace(line); len(line) > 0 {
				next := job{line, make(chan []byte, 1)}
				ordered <- next
				jobs <- next
			}
			if err != nil {
				if err != io.EOF {
					readErr = err
				}
				return
			}
		}
	}()
	writer := bufio.NewWriterSize(out, readBuffer)
	var writeErr error
	for job := range ordered {
		text := <-job.done
		if writeErr != nil {
			continue
		}
		if _, writeErr = writer.Write(append(text, '\n')); writeErr == nil && len(ordered) == 0 {
			writeErr = writer.Flush()
		}
	}
	wait.Wait()
	if writeErr == nil {
		writeErr = writer.Flush()
	}
	if writeErr != nil {
		return writeErr
	}
	return readErr
}

func encode(answer any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		failed, _ := json.Marshal(Answer{Error: "answer cannot be encoded: " + err.Error()})
		return failed
	}
	return bytes.TrimRight(text.Bytes(), "\n")
}

// answerCase decodes a line and hands it on; a panic below it is the answer's error, not the end of the run.
func answerCase(line []byte, handle func(*Case) *Answer) (answer *Answer) {
	var c Case
	defer func() {
		if recovered := recover(); recovered != nil {
			answer = &Answer{ID: c.ID, Error: fmt.Sprintf("panic: %v\n%s", recovered, debug.Stack())}
		}
	}()
	if err := json.Unmarshal(line, &c); err != nil {
		return &Answer{ID: c.ID, Error: "case cannot be decoded: " + err.Error()}
	}
	return handle(&c)
}
