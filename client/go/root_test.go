// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Each of these is refused before a request is sent, and created directories are removed.
func TestRefusesMountpointsThatAreNone(t *testing.T) {
	before := countFDs(t)
	client, _ := newFakeDaemon(t).connect()
	withDaemon := countFDs(t)
	cases := []struct {
		name  string
		flags Flags
		build func(path string) error
		want  error
	}{
		{"missing", Proc | Sysfs, func(string) error { return nil }, unix.ENOENT},
		{"file", Proc | Sysfs | Create, func(p string) error {
			return os.WriteFile(p, nil, 0o600)
		}, StatusNotADirectory},
		{"symlink", Proc | Sysfs | Create, func(p string) error {
			return os.Symlink("/tmp", p)
		}, unix.ELOOP},
		{"dangling symlink", Proc | Sysfs | Create, func(p string) error {
			return os.Symlink("nowhere", p)
		}, unix.ELOOP},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := newRoot(t)
			if err := c.build(filepath.Join(path, "sys")); err != nil {
				t.Fatal(err)
			}
			root := openDirectory(t, path)
			if _, err := client.Mount(testContext(t), root, c.flags); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			root.Close()
			if _, err := os.Lstat(filepath.Join(path, "proc")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("proc was made and stays: %v", err)
			}
		})
	}
	checkNoFDsLeak(t, withDaemon)
	if withDaemon > before+4 { // the listener, two ends, and the poller's own
		t.Errorf("a client has %d descriptors", withDaemon-before)
	}
}

func TestRootThatIsAFileIsNotADirectory(t *testing.T) {
	client, _ := newFakeDaemon(t).connect()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := client.Mount(testContext(t), file, Proc); !errors.Is(err, StatusNotADirectory) {
		t.Errorf("got %v", err)
	}
}

func TestADirectoryThatSomebodyFilledStays(t *testing.T) {
	path := newRoot(t)
	root, err := openRoot(openDirectory(t, path), Proc|Create)
	if err != nil {
		t.Fatal(err)
	}
	_, fds, err := root.openTargets()
	if err != nil {
		t.Fatal(err)
	}
	closeAll(fds)
	if err := os.Chmod(filepath.Join(path, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "proc", "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !root.clear() {
		t.Error("bare, but told as mounted")
	}
	if _, err := os.Stat(filepath.Join(path, "proc", "mine")); err != nil {
		t.Error(err)
	}
}
