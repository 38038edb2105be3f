// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Invalid requests: nothing is run, nothing is left, and the status says why.
func TestRefusesBadInputRoots(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	b.newRoot("a")
	if err := os.Symlink("a", b.in("link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", b.in("a/out")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.in("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(b.in("mount/a/root"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", b.in("mount/a"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(b.in("mount/a"), unix.MNT_DETACH)
	if err := os.MkdirAll(b.in("mount/a/root"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(string) error{
		"file-proc": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"link-proc": func(path string) error { return os.Symlink("/proc", path) },
	} {
		if err := spoil(b.in(b.newRoot(name), "proc")); err != nil {
			t.Fatal(err)
		}
	}

	type refusal struct {
		request *emptypb.Empty
		code    codes.Code
		text    string
	}
	cases := map[string]refusal{
		"absent":          {message(nil), codes.InvalidArgument, "empty or absent"},
		"a link":          {runRequest("link/root"), codes.InvalidArgument, "symbolic link"},
		"a link out":      {runRequest("a/out/etc"), codes.InvalidArgument, "symbolic link"},
		"a file":          {runRequest("file"), codes.InvalidArgument, "not a directory"},
		"below a file":    {runRequest("file/root"), codes.InvalidArgument, "not a directory"},
		"too long":        {runRequest(strings.Repeat("x/", 5000)), codes.InvalidArgument, "too long"},
		"not there":       {runRequest("b/root"), codes.Unavailable, "no such file"},
		"on a mount":      {runRequest("mount/a/root"), codes.FailedPrecondition, "on a mount below"},
		"a mount":         {runRequest("mount/a"), codes.FailedPrecondition, "on a mount below"},
		"proc is a file":  {runRequest("file-proc/root"), codes.InvalidArgument, "not-a-directory"},
		"proc is a link":  {runRequest("link-proc/root"), codes.InvalidArgument, "symbolic link"},
		"of 100 MiB":      {runRequest("a/root", bytesField(100<<20)...), codes.ResourceExhausted, "larger than max"},
		"field 6 a float": {message([]byte{6<<3 | 5, 0, 0, 0, 0}), codes.InvalidArgument, "not a string"},
	}
	for name, path := range badPaths {
		cases[name] = refusal{runRequest(path), codes.InvalidArgument, "input_root_directory"}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := b.run(c.request)
			if status.Code(err) != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v with %q", err, c.code, c.text)
			}
		})
	}
	if n := b.backend.runs.Load(); n != 0 {
		t.Errorf("%d were run", n)
	}
	b.checkNothingLeft("mount/a/root")
	if left := b.names("a/root"); len(left) != 0 || daemon.Mounts() != 0 {
		t.Errorf("left behind: %q, %d mounts", left, daemon.Mounts())
	}
	if left := b.names("file-proc/root"); !slices.Equal(left, []string{"proc"}) {
		t.Errorf("left behind: %q", left)
	}
}

// bytesField is a field of a later version, n bytes large.
func bytesField(n int) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 98, protowire.BytesType), make([]byte, n))
}

func TestABuildDirectoryThatIsNotThereIsUnavailable(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	b.proxy.buildDirectory = b.in("absent")
	_, err := b.run(runRequest("a/root"))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "--build-directory") {
		t.Errorf("got %v", err)
	}
	// It is mounted later, like bb_worker's FUSE.
	if err := os.MkdirAll(b.in("absent/a/root"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.run(runRequest("a/root")); err != nil {
		t.Errorf("after it appeared: %v", err)
	}
}

// A running action keeps the old build directory, and the next one gets the new one.
func TestTheBuildDirectoryIsReplacedDuringAnAction(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	old := b.newRoot("a")
	b.backend.onRun = func(_ context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
		return request, unix.Mount("none", b.buildDirectory, "tmpfs", 0, "") // as bb_worker's next FUSE
	}
	if _, err := b.run(runRequest(old)); err != nil {
		t.Error(err)
	}
	defer unix.Unmount(b.buildDirectory, unix.MNT_DETACH)
	if n := daemon.Mounts(); n != 0 {
		t.Errorf("%d mounts", n)
	}
	b.backend.onRun = nil
	if _, err := b.run(runRequest(old)); status.Code(err) != codes.Unavailable {
		t.Errorf("in the new one there is no %s: %v", old, err)
	}
	path := b.newRoot("b")
	if _, err := b.run(runRequest(path)); err != nil {
		t.Error(err)
	}
	b.checkNothingLeft(path)
	unix.Unmount(b.buildDirectory, unix.MNT_DETACH)
	b.checkNothingLeft(old)
}

// A build directory that isn't a directory, and one behind symbolic links, as operators may configure it.
func TestWhatABuildDirectoryMayBe(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	path := b.newRoot("a")
	directory := t.TempDir()
	for name, target := range map[string]string{"link": b.buildDirectory, "dangling": "/no/such", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(directory, name)); err != nil {
			t.Fatal(err)
		}
	}
	regular(t, filepath.Join(directory, "file"))
	for name, wanted := range map[string]string{
		"link": "", "dangling": "no such file or directory", "loop": "too many levels of symbolic links",
		"file": "not a directory", "none": "no such file or directory",
	} {
		b.proxy.buildDirectory = filepath.Join(directory, name)
		_, err := b.run(runRequest(path))
		if wanted == "" && err == nil {
			continue
		}
		if text := fmt.Sprint(err); wanted == "" || status.Code(err) != codes.Unavailable ||
			!strings.Contains(text, wanted) || !strings.Contains(text, "desc = this host: cannot open the build") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.checkNothingLeft(path)
}
