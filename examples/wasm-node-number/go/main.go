// NodeNumber as a WebAssembly guest in Go, built with the standard compiler:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o node-number.wasm .
//
// A pod goes to a node whose name ends with the same digit as its own: that scores 10, all else 0, and
// guestConfig {"reverse": true} turns it round. A pod whose name ends with no digit matches every node.
package main

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

//go:wasmimport k8s.io/scheduler get_config
func getConfig(buffer unsafe.Pointer, limit uint32) uint32

//go:wasmimport k8s.io/scheduler currentPod
func currentPod(buffer unsafe.Pointer, limit uint32) uint32

//go:wasmimport k8s.io/scheduler currentNodeName
func currentNodeName(buffer unsafe.Pointer, limit uint32) uint32

//go:wasmimport k8s.io/scheduler result.cluster_events
func clusterEvents(events unsafe.Pointer, length uint32)

// buffer is where the host writes; it grows to the longest answer.
var buffer = make([]byte, 4096)

// ask returns what the host says, until the next question. The host writes nothing where the buffer is too small.
func ask(question func(unsafe.Pointer, uint32) uint32) []byte {
	for {
		length := question(unsafe.Pointer(&buffer[0]), uint32(len(buffer)))
		if int(length) <= len(buffer) {
			return buffer[:length]
		}
		buffer = make([]byte, length)
	}
}

// field returns the last value of a field of bytes in a protobuf message, or nil.
func field(message []byte, number uint64) (found []byte) {
	for len(message) > 0 {
		tag, size := binary.Uvarint(message)
		if size <= 0 {
			return nil
		}
		value, next := binary.Uvarint(message[size:])
		if next <= 0 {
			return nil
		}
		message = message[size+next:]
		if tag&7 != 2 {
			continue
		}
		if value > uint64(len(message)) {
			return nil
		}
		if tag>>3 == number {
			found = message[:value]
		}
		message = message[value:]
	}
	return found
}

// lastDigit returns the digit with which a name ends, or 0.
func lastDigit(name []byte) byte {
	if len(name) == 0 || name[len(name)-1] < '0' || name[len(name)-1] > '9' {
		return 0
	}
	return name[len(name)-1]
}

// digit and reverse are those of the cycle.
var (
	digit   byte
	reverse bool
)

//go:wasmexport enqueue
func enqueue() {
	// A node (1) that is added (1).
	events := [8]byte{1, 0, 0, 0, 1, 0, 0, 0}
	clusterEvents(unsafe.Pointer(&events[0]), uint32(len(events)))
}

// podDigit returns the digit with which the pod's name ends, or 0.
func podDigit() byte {
	const metadata, name = 1, 1
	return lastDigit(field(field(ask(currentPod), metadata), name))
}

// key is where the host reads what counts of the pod.
var key [1]byte

// reading is secondmate's own: pods with the same key are scored alike, so it keeps the scores.
//
//go:wasmexport secondmate_reading
func reading() int64 {
	key[0] = podDigit()
	return int64(uintptr(unsafe.Pointer(&key[0])))<<32 | int64(len(key))
}

//go:wasmexport prescore
func prescore() int32 {
	digit = podDigit()
	config := bytes.ReplaceAll(ask(getConfig), []byte(" "), nil)
	reverse = bytes.Contains(config, []byte(`"reverse":true`))
	return 0
}

//go:wasmexport score
func score() int64 {
	matches := digit == 0 || lastDigit(ask(currentNodeName)) == digit
	if matches == reverse {
		return 0
	}
	// The score stands in the upper half, the status in the lower.
	return 10 << 32
}

func main() {}
