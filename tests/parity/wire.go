package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// wireField is a field of a message: its name in JSON, its number in protobuf and its type as the schema writes it.
type wireField struct {
	number int
	text   string
}

// wireSchema writes how pods and nodes are encoded as protobuf, a line a message: crates/wasm reads it. Whether a field is a
// pointer decides whether it is written where it is absent, and only the Go types know that.
func wireSchema(out io.Writer) error {
	lines := map[string]string{}
	var visit func(reflect.Type) error
	visit = func(message reflect.Type) error {
		if _, seen := lines[message.Name()]; seen {
			return nil
		}
		lines[message.Name()] = ""
		var fields []wireField
		for i := range message.NumField() {
			field := message.Field(i)
			tag := field.Tag.Get("protobuf")
			if tag == "" {
				continue
			}
			number, err := strconv.Atoi(strings.Split(tag, ",")[1])
			if err != nil {
				return fmt.Errorf("%s.%s: %w", message.Name(), field.Name, err)
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" {
				// Embedded: its fields stand in JSON among those of the message, and in protobuf in a message of their own.
				name = "^"
			}
			text, nested, err := wireType(field.Type)
			if err != nil {
				return fmt.Errorf("%s.%s: %w", message.Name(), field.Name, err)
			}
			if nested != nil {
				if err := visit(nested); err != nil {
					return err
				}
			}
			fields = append(fields, wireField{number, fmt.Sprintf("%s=%d:%s", name, number, text)})
		}
		sort.Slice(fields, func(a, b int) bool { return fields[a].number < fields[b].number })
		line := message.Name()
		for _, field := range fields {
			line += " " + field.text
		}
		lines[message.Name()] = line
		return nil
	}
	for _, root := range []any{corev1.Pod{}, corev1.NodeList{}} {
		if err := visit(reflect.TypeOf(root)); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(lines))
	for name := range lines {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if _, err := fmt.Fprintln(out, lines[name]); err != nil {
			return err
		}
	}
	return nil
}

// wireType is a type as the schema writes it, with the message that it leads to.
func wireType(t reflect.Type) (string, reflect.Type, error) {
	switch t {
	case reflect.TypeOf(resource.Quantity{}):
		return "quantity", nil, nil
	case reflect.TypeOf(metav1.Time{}):
		return "time", nil, nil
	case reflect.TypeOf(intstr.IntOrString{}):
		return "intorstring", nil, nil
	case reflect.TypeOf(metav1.FieldsV1{}):
		return "raw", nil, nil
	}
	switch t.Kind() {
	case reflect.String:
		return "string", nil, nil
	case reflect.Bool:
		return "bool", nil, nil
	case reflect.Int32, reflect.Int64:
		return "int", nil, nil
	case reflect.Struct:
		return t.Name(), t, nil
	case reflect.Pointer:
		text, nested, err := wireType(t.Elem())
		return text + "?", nested, err
	case reflect.Slice:
		text, nested, err := wireType(t.Elem())
		return text + "[]", nested, err
	case reflect.Map:
		text, nested, err := wireType(t.Elem())
		return text + "{}", nested, err
	default:
		return "", nil, fmt.Errorf("%s is not known", t)
	}
}

// wireEncode answers each line, `Pod {…}` or `Node {…}`, with the object's protobuf in hexadecimal.
func wireEncode(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		kind, text, _ := strings.Cut(lines.Text(), " ")
		var object interface{ Marshal() ([]byte, error) }
		switch kind {
		case "Pod":
			object = &corev1.Pod{}
		case "Node":
			object = &corev1.Node{}
		default:
			return fmt.Errorf("kind %q is not known", kind)
		}
		if err := json.Unmarshal([]byte(text), object); err != nil {
			return err
		}
		bytes, err := object.Marshal()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, hex.EncodeToString(bytes)); err != nil {
			return err
		}
	}
	return lines.Err()
}

// wire runs one of the two.
func wire(command string) error {
	if command == "schema" {
		return wireSchema(os.Stdout)
	}
	return wireEncode(os.Stdin, os.Stdout)
}
