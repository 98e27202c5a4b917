package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// readTexts answers each line, `quantity "TEXT"` or `duration "TEXT"` with the text as JSON: with value and milli-value of the
// quantity, with nanoseconds, or with `refused`.
func readTexts(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<24)
	writer := bufio.NewWriter(out)
	for lines.Scan() {
		kind, quoted, _ := strings.Cut(lines.Text(), " ")
		var text string
		if err := json.Unmarshal([]byte(quoted), &text); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		answer := "refused"
		switch kind {
		case "quantity":
			if quantity, err := resource.ParseQuantity(text); err == nil {
				answer = fmt.Sprint(quantity.Value(), quantity.MilliValue())
			}
		case "duration":
			if duration, err := time.ParseDuration(text); err == nil {
				answer = fmt.Sprint(duration.Nanoseconds())
			}
		default:
			return fmt.Errorf("kind %q is not known", kind)
		}
		if _, err := fmt.Fprintln(writer, answer); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return writer.Flush()
}
