// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// refuseDev answers a mount of procfs, sysfs and a dev.
func (p *fakePeer) refuseDev(flags uint32, text string) {
	p.t.Helper()
	p.answerMount(flags, reply{status: StatusUnsupportedFileSystem, target: 2, text: text})
}

// checkDevRefused expects a refusal that contains all of wanted, and nothing left below path.
func checkDevRefused(t *testing.T, err error, path string, wanted ...string) {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Status != StatusUnsupportedFileSystem || refusal.Errno != unix.EOPNOTSUPP {
		t.Fatalf("got %v", err)
	}
	for _, part := range wanted {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q isn't in %q", part, err)
		}
	}
	if left := names(t, path); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// If the daemon offers it, one request is sent, and no hello before.
func TestADevIsTheThirdTarget(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	go func() {
		r := peer.mustReceive(operationMount)
		if r.targets != 3 || r.fds != 3 {
			t.Errorf("the daemon got %+v", r)
		}
		peer.reply(reply{operation: operationMount, cookie: r.cookie, lease: 42})
		peer.answerUnmount(42, StatusOK)
	}()
	lease, err := client.Mount(testContext(t), openDirectory(t, path), Dev|Sysfs|Proc|Create)
	if err != nil {
		t.Fatal(err)
	}
	var got []FileSystem
	for _, target := range lease.targets {
		got = append(got, target.fileSystem)
	}
	if !slices.Equal(got, []FileSystem{FileSystemProc, FileSystemSysfs, FileSystemDev}) {
		t.Errorf("the targets are %v", got)
	}
	if made := names(t, path); !slices.Equal(made, []string{"dev", "proc", "sys"}) {
		t.Errorf("made: %q", made)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
	if left := names(t, path); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestADaemonTooOldForDevIsNamed(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	go func() {
		peer.refuseDev(0, "")
		for range 3 {
			peer.greetAs("mountatd 0.1.0", 0x1f)
		}
	}()
	_, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Sysfs|Dev|Create)
	checkDevRefused(t, err, path, "(target 2)", "mountatd 0.1.0 can't mount a /dev", "0.2 or later")

	// Nor are kept or check requests sent.
	_, err = client.Mount(testContext(t), openDirectory(t, path), Dev|Create|Keep)
	if !errors.Is(err, StatusUnknownOperation) || !strings.Contains(err.Error(), "can't keep mounts") {
		t.Errorf("keep: %v", err)
	}
	err = client.Check(testContext(t), Dev.Targets(openDirectory(t, path))...)
	checkDevRefused(t, err, path, "mountatd 0.1.0 can't mount a /dev", "0.2 or later")
	client.Close()
	peer.checkEnd()
}

func TestADaemonThatOffersNoDevSaysWhy(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	const why = "there is no /dev/full"
	go func() {
		peer.refuseDev(0, why)
		peer.greetAs("mountatd 0.2.0", FeatureKeep|FeatureCheck)
		peer.refuseDev(protocolKeep, why)
		peer.refuseDev(protocolCheck, why)
	}()
	root := openDirectory(t, path)
	_, err := client.Mount(testContext(t), root, Proc|Sysfs|Dev|Create)
	checkDevRefused(t, err, path, why)
	_, err = client.Mount(testContext(t), root, Proc|Sysfs|Dev|Create|Keep)
	checkDevRefused(t, err, path, why)
	checkDevRefused(t, client.Check(testContext(t), (Proc|Sysfs|Dev).Targets(root)...), path, why)
	client.Close()
	peer.checkEnd()
}

// For other file systems, the daemon's own text is kept.
func TestAnotherRefusedFileSystemIsNotTakenForTheDev(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	go peer.answerMount(0, reply{status: StatusUnsupportedFileSystem, target: 0, text: "on vfat"})
	_, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Sysfs|Dev|Create)
	checkDevRefused(t, err, path, "(target 0)", "on vfat")
	client.Close()
	peer.checkEnd()
}

func TestTargetsHaveTheirOptions(t *testing.T) {
	root := openDirectory(t, t.TempDir())
	got := (Proc | Dev | PIDsOnly | ReadOnly | Create).Targets(root)
	want := []Target{
		{root, FileSystemProc, OptionReadOnly | OptionPIDsOnly},
		{root, FileSystemDev, OptionReadOnly},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// ---- the real daemon ----

// mountsBelow counts all mounts: only some mounts of a /dev have the daemon as source.
func mountsBelow(t *testing.T, path string) int {
	t.Helper()
	table, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(table), " "+path+"/")
}

const (
	mountsOfDev = 9
	mountsOfAll = mountsOfDev + 2
)

// checkDev expects a /dev that works.
func checkDev(t *testing.T, path string) {
	t.Helper()
	want := []string{"fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
		"tty", "urandom", "zero"}
	if got := names(t, path); !slices.Equal(got, want) {
		t.Errorf("%s has %q", path, got)
	}
	if err := os.WriteFile(path+"/null", []byte("away"), 0); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path+"/null", 0); err == nil {
		t.Error("the mode of null could be changed")
	}
	if err := os.WriteFile(path+"/shm/mine", nil, 0o600); err != nil {
		t.Error(err)
	}
}

func TestRealDaemonMountsADev(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	requireFeature(t, client, FeatureDev)
	path := newRoot(t, "dev")
	root := openDirectory(t, path)
	lease, err := client.Mount(testContext(t), root, Proc|Sysfs|Dev|Create)
	if err != nil {
		t.Fatal(err)
	}
	checkDev(t, path+"/dev")
	if n := mountsBelow(t, path); n != mountsOfAll {
		t.Errorf("%d mounts are there", n)
	}
	if _, err := client.Mount(testContext(t), root, Dev); !errors.Is(err, StatusAlreadyMounted) {
		t.Errorf("a second one: %v", err)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if n := mountsBelow(t, path); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
	if left := names(t, path); !slices.Equal(left, []string{"dev"}) || len(names(t, path+"/dev")) != 0 {
		t.Errorf("after the release there is %q", left)
	}

	// Not on a directory with another name.
	_, err = client.MountTargets(testContext(t), Target{openDirectory(t, newRoot(t)), FileSystemDev, 0})
	if !errors.Is(err, StatusWrongName) {
		t.Errorf("on another name: %v", err)
	}
	if err := client.Check(testContext(t), Dev.Targets(root)...); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestRealDaemonAdoptsADev(t *testing.T) {
	for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGUSR1} {
		daemon := startDaemon(t)
		client := daemon.dial()
		requireFeature(t, client, FeatureDev)
		path := newRoot(t, "a", "b", "b/dev")
		whole, err := client.Mount(testContext(t), openDirectory(t, path+"/a"), Proc|Sysfs|Dev|Create)
		if err != nil {
			t.Fatal(err)
		}
		target := Target{openDirectory(t, path+"/b/dev"), FileSystemDev, 0}
		single, err := client.MountTargets(testContext(t), target)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+"/a/dev/shm/kept", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		daemon.kill(signal)
		daemon.start()
		waitUntilAdopted(t, whole)
		waitUntilAdopted(t, single)
		checkHeld(t, whole, path+"/a")
		checkDev(t, path+"/b/dev")
		if _, err := os.Stat(path + "/a/dev/shm/kept"); err != nil {
			t.Error(err)
		}
		for _, lease := range []*Lease{whole, single} {
			if err := lease.Release(testContext(t)); err != nil {
				t.Error(err)
			}
		}
		if n := mountsBelow(t, path); n != 0 {
			t.Errorf("%d mounts are left", n)
		}
		client.Close()
		daemon.stop()
	}
}

// A client that dies, or closes, leaves nothing.
func TestRealDaemonReleasesTheDevOfAClientThatGoes(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	requireFeature(t, client, FeatureDev)
	path := newRoot(t, "dev")
	if _, err := client.Mount(testContext(t), openDirectory(t, path), Dev); err != nil {
		t.Fatal(err)
	}
	client.Close()
	eventually(t, "nothing is mounted", func() bool { return mountsBelow(t, path) == 0 })
}

func TestRealDaemonWithoutDevSaysSo(t *testing.T) {
	client := startDaemon(t, "--no-dev").dial()
	path := newRoot(t)
	_, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Dev|Create)
	checkDevRefused(t, err, path, "(target 1)", "--no-dev")
}

// Each of its mounts counts against the limit.
func TestRealDaemonCountsAllMountsOfADev(t *testing.T) {
	client := startDaemon(t, "--max-mounts-per-user=10").dial()
	requireFeature(t, client, FeatureDev)
	path := newRoot(t)
	root := openDirectory(t, path)
	if _, err := client.Mount(testContext(t), root, Proc|Sysfs|Dev|Create); !errors.Is(err, StatusLimitExceeded) {
		t.Errorf("11 mounts: %v", err)
	}
	if left := names(t, path); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	lease, err := client.Mount(testContext(t), root, Proc|Dev|Create)
	if err != nil {
		t.Fatalf("10 mounts: %v", err)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
}
