// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// runRequest returns a RunRequest as sent by bb_worker, followed by more fields.
func runRequest(inputRoot string, rest ...byte) *emptypb.Empty {
	var b []byte
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, "true")
	b = protowire.AppendTag(b, inputRootDirectoryField, protowire.BytesType)
	b = protowire.AppendString(b, inputRoot)
	b = protowire.AppendTag(b, 99, protowire.Fixed64Type) // of a later version
	b = protowire.AppendFixed64(b, 42)
	return message(append(b, rest...))
}

func message(fields []byte) *emptypb.Empty {
	m := new(emptypb.Empty)
	m.ProtoReflect().SetUnknown(fields)
	return m
}

func TestReadsTheInputRootAlone(t *testing.T) {
	for _, path := range []string{"a1b2/root", "root", "...", "a..b/..c", "ü"} {
		if got, err := inputRootPath(runRequest(path)); err != nil || got != path {
			t.Errorf("%q: got %q, %v", path, got, err)
		}
	}
	last := protowire.AppendString(
		protowire.AppendTag(nil, inputRootDirectoryField, protowire.BytesType), "last")
	if got, err := inputRootPath(runRequest("first", last...)); err != nil || got != "last" {
		t.Errorf("of two: got %q, %v", got, err)
	}
}

// badPaths are refused regardless of the build directory.
var badPaths = map[string]string{
	"empty":           "",
	"absolute":        "/etc",
	"parent":          "..",
	"parent in front": "../x",
	"parent within":   "x/../y",
	"parent at end":   "x/..",
	"NUL":             "x\x00y",
	"too long":        strings.Repeat("x", unix.PathMax),
}

func TestRefusesBadPaths(t *testing.T) {
	for name, path := range badPaths {
		if _, err := inputRootPath(runRequest(path)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	cases := map[string][]byte{
		"absent":         {},
		"a number":       protowire.AppendVarint(protowire.AppendTag(nil, 6, protowire.VarintType), 7),
		"cut":            {6<<3 | 2, 9, 'x'},
		"no tag":         {0xff},
		"cut after ours": append(protowire.AppendString([]byte{6<<3 | 2}, "x"), 7<<3|2, 5),
	}
	for name, fields := range cases {
		if _, err := inputRootPath(message(fields)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzInputRootPath(f *testing.F) {
	good, _ := proto.Marshal(runRequest("a/root"))
	f.Add(good)
	f.Add([]byte{6<<3 | 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(emptypb.Empty)
		if proto.Unmarshal(b, m) != nil {
			return
		}
		if path, err := inputRootPath(m); err == nil && checkPath(path) != nil {
			t.Errorf("%q was let through", path)
		}
	})
}
