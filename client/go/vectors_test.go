// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const vectorsPath = "../../tests/vectors"

// vector is one file of the golden vectors: their README.md explains the keys.
type vector struct {
	t       *testing.T
	values  map[string]string
	targets []string
	bytes   []byte
}

func readVector(t *testing.T, path string) vector {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := vector{t: t, values: make(map[string]string)}
	for _, line := range strings.Split(string(content), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, found := strings.Cut(line, ":")
		if !found {
			t.Fatalf("a line without key: %q", line)
		}
		value = strings.TrimPrefix(value, " ")
		if key == "target" {
			v.targets = append(v.targets, value)
		} else {
			v.values[key] = value
		}
	}
	v.bytes, err = hex.DecodeString(strings.ReplaceAll(v.values["bytes"], " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *vector) number(key string) uint64 {
	v.t.Helper()
	return v.parse(v.values[key])
}

func (v *vector) parse(value string) uint64 {
	v.t.Helper()
	n, err := strconv.ParseUint(value, 0, 64)
	if err != nil {
		v.t.Fatal(err)
	}
	return n
}

// isOurs reports whether this package's encoder can produce the request: version 1, with the right number of
// targets.
func (v *vector) isOurs() bool {
	return v.values["status"] != "close" && v.values["encodes"] == "yes" &&
		v.number("version") == protocolVersion
}

func (v *vector) request() request {
	r := request{
		operation: operation(v.number("operation")),
		cookie:    v.number("cookie"),
		lease:     v.number("lease"),
		flags:     uint32(v.number("flags")),
	}
	for _, target := range v.targets {
		fileSystem, options, _ := strings.Cut(target, " ")
		r.targets = append(r.targets,
			wireTarget{FileSystem(v.parse(fileSystem)), Option(v.parse(options))})
	}
	return r
}

func (v *vector) checkRequest() {
	r := v.request()
	if got := r.encode(); !bytes.Equal(got, v.bytes) {
		v.t.Errorf("encoded as\n%x, want\n%x", got, v.bytes)
	}
}

// checkEnter compares the verdict of the fake daemon, which checks this package's requests in other tests.
func (v *vector) checkEnter() {
	index := uint32(protocolNoTarget)
	if v.values["index"] != "none" {
		index = uint32(v.number("index"))
	}
	want := Status(v.number("status"))
	if status, at := judgeEnter(v.bytes); status != want || at != index {
		v.t.Errorf("judged as %v at %d, want %v at %d", status, at, want, index)
	}
}

func (v *vector) isEnter() bool {
	return v.values["message"] == "request" && v.values["status"] != "close" &&
		v.number("version") == protocolVersion && operation(v.number("operation")) == operationEnter
}

func (v *vector) checkReply() {
	got, err := decodeReply(v.bytes)
	if v.values["status"] == "close" {
		if err == nil {
			v.t.Errorf("accepted as %+v", got)
		}
		return
	}
	if err != nil {
		v.t.Fatal(err)
	}
	want := reply{
		operation: operation(v.number("operation")),
		cookie:    v.number("cookie"),
		lease:     v.number("lease"),
		status:    Status(v.number("status")),
		errno:     uint32(v.number("errno")),
		target:    protocolNoTarget,
		flags:     uint32(v.number("flags")),
		text:      v.values["text"],
	}
	if v.values["index"] != "none" {
		want.target = uint32(v.number("index"))
	}
	if *got != want {
		v.t.Errorf("decoded as %+v, want %+v", *got, want)
	}
	if again := encodeReply(want); !bytes.Equal(again, v.bytes) {
		v.t.Errorf("the tests' own daemon encodes it as\n%x, want\n%x", again, v.bytes)
	}
}

func TestGoldenVectors(t *testing.T) {
	if _, err := os.Stat(vectorsPath); err != nil {
		t.Skip("the golden vectors are missing:", err) // the module was downloaded without the repository
	}
	paths, err := filepath.Glob(vectorsPath + "/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	requests, replies, enters := 0, 0, 0
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			v := readVector(t, path)
			if v.isEnter() {
				enters++
				v.checkEnter()
			}
			switch {
			case v.values["message"] == "reply":
				replies++
				v.checkReply()
			case v.isOurs():
				requests++
				v.checkRequest()
			}
		})
	}
	if requests < 12 || replies < 20 || enters < 12 {
		t.Errorf("only %d requests, %d to enter, and %d replies were found", requests, enters, replies)
	}
}

// An adopt request has no options: the daemon has recorded them.
func TestAdoptionIsTheGoldenOne(t *testing.T) {
	if _, err := os.Stat(vectorsPath); err != nil {
		t.Skip("the golden vectors are not here:", err)
	}
	v := readVector(t, vectorsPath+"/request-adopt.txt")
	lease := newLease(nil)
	lease.id = v.number("lease")
	lease.targets = []wireTarget{{FileSystemProc, OptionPIDsOnly}}
	r := lease.adoption()
	r.cookie = v.number("cookie")
	if got := r.encode(); !bytes.Equal(got, v.bytes) {
		t.Errorf("encoded as\n%x, want\n%x", got, v.bytes)
	}
}

func TestEnterIsTheGoldenOne(t *testing.T) {
	if _, err := os.Stat(vectorsPath); err != nil {
		t.Skip("the golden vectors are not here:", err)
	}
	v := readVector(t, vectorsPath+"/request-enter.txt")
	targets, fds, err := openNamespaces()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(fds)
	r := request{operation: operationEnter, cookie: v.number("cookie"), targets: targets}
	if got := r.encode(); !bytes.Equal(got, v.bytes) {
		t.Errorf("encoded as\n%x, want\n%x", got, v.bytes)
	}
}
