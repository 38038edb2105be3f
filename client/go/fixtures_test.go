// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testContext ends a test that hangs.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// openDirectory opens path as a client would.
func openDirectory(t *testing.T, path string) *os.File {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { file.Close() })
	return file
}

// newRoot makes an input root with the given directories.
func newRoot(t *testing.T, names ...string) string {
	t.Helper()
	path := t.TempDir()
	for _, name := range names {
		if err := os.Mkdir(filepath.Join(path, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// names lists a directory's entries.
func names(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// eventually waits until what is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

// countFDs counts the open descriptors of this process.
func countFDs(t *testing.T) int {
	t.Helper()
	return len(names(t, "/proc/self/fd"))
}

// checkNoFDsLeak compares the number of descriptors before and after.
func checkNoFDsLeak(t *testing.T, before int) {
	t.Helper()
	eventually(t, "as many descriptors as before", func() bool { return countFDs(t) <= before })
}

// inBackground runs the daemon's side of a test; the returned function waits for its end.
func inBackground(run func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		run()
	}()
	return func() { <-done }
}

func procTarget(t *testing.T) Target {
	t.Helper()
	return Target{Directory: openDirectory(t, t.TempDir()), FileSystem: FileSystemProc}
}
