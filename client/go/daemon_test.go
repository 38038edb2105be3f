// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests of this file run the real daemon: the program that MOUNTATD names, or one built in build/. They
// need root. The whole test program moves to its own mount namespace at the start.

const inNamespaceVariable = "MOUNTAT_TEST_IN_NAMESPACE"

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(inNamespaceVariable) == "" && daemonPath() != "" {
		if code, ran := runInNamespace(); ran {
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}

// runInNamespace restarts this test program in a private mount namespace, which takes CAP_SYS_ADMIN.
func runInNamespace() (code int, ran bool) {
	test := exec.Command("/proc/self/exe", os.Args[1:]...)
	test.Env = append(os.Environ(), inNamespaceVariable+"=1")
	test.Stdin, test.Stdout, test.Stderr = os.Stdin, os.Stdout, os.Stderr
	test.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	err := test.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), true
	}
	return 0, err == nil
}

// daemonPath is empty if there is none.
func daemonPath() string {
	if path := os.Getenv("MOUNTATD"); path != "" {
		return path
	}
	paths, _ := filepath.Glob("../../build/*/daemon/mountatd")
	if len(paths) == 0 {
		return ""
	}
	path, _ := filepath.Abs(paths[0])
	return path
}

// realDaemon is a running mountatd.
type realDaemon struct {
	t        *testing.T
	instance string
	socket   string
	options  []string
	process  *exec.Cmd
	log      *bytes.Buffer // of the running process
}

func startDaemon(t *testing.T, options ...string) *realDaemon {
	t.Helper()
	if daemonPath() == "" {
		t.Skip("there is no mountatd: set MOUNTATD to its path")
	}
	if os.Getenv(inNamespaceVariable) == "" {
		t.Skip("needs root with CAP_SYS_ADMIN")
	}
	directory, err := os.MkdirTemp("", "mountatd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	d := &realDaemon{
		t:        t,
		instance: fmt.Sprintf("test-go-%d", os.Getpid()),
		socket:   filepath.Join(directory, "socket"),
		options:  append(options, "--runtime-directory="+directory),
	}
	d.start()
	t.Cleanup(d.stop)
	return d
}

// start starts or restarts it.
func (d *realDaemon) start() {
	d.t.Helper()
	d.log = new(bytes.Buffer)
	d.process = exec.Command(daemonPath(), append([]string{
		"--listen=" + d.socket,
		"--instance=" + d.instance,
	}, d.options...)...)
	d.process.Stderr = d.log
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
	eventually(d.t, "the daemon listens", func() bool {
		client, err := Dial(testContext(d.t), d.socket)
		if err == nil {
			client.Close()
		}
		return err == nil
	})
}

// kill ends it by a signal that leaves the mounts to the next instance.
func (d *realDaemon) kill(signal unix.Signal) {
	d.t.Helper()
	if err := d.process.Process.Signal(signal); err != nil {
		d.t.Fatal(err)
	}
	d.process.Wait()
}

// stop ends the daemon gracefully, and checks that no mount is left.
func (d *realDaemon) stop() {
	if d.process.ProcessState != nil {
		return
	}
	d.process.Process.Signal(unix.SIGTERM)
	if err := d.process.Wait(); err != nil {
		d.t.Errorf("the daemon: %v\n%s", err, d.log)
	}
	if left := d.mounts(); left != 0 {
		d.t.Errorf("%d mounts are left", left)
	}
}

// freeze stops every thread of the daemon, which takes a moment, until SIGCONT.
func (d *realDaemon) freeze() {
	d.t.Helper()
	if err := d.process.Process.Signal(unix.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	eventually(d.t, "all of the daemon's threads stand still", func() bool {
		paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.process.Process.Pid))
		for _, path := range paths {
			stat, readErr := os.ReadFile(path)
			if readErr != nil || !bytes.Contains(stat, []byte(") T ")) {
				return false
			}
		}
		return err == nil && len(paths) > 0
	})
}

func (d *realDaemon) dial() *Client {
	d.t.Helper()
	client, err := Dial(testContext(d.t), d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { client.Close() })
	return client
}

// mounts counts what this instance has in the mount table.
func (d *realDaemon) mounts() int {
	d.t.Helper()
	// Not /proc/self: openElsewhere may have moved the main thread to another namespace.
	file, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		d.t.Fatal(err)
	}
	defer file.Close()
	count := 0
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if strings.Contains(scanner.Text(), " mountatd:"+d.instance+" ") {
			count++
		}
	}
	return count
}

func magic(t *testing.T, path string) int64 {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		t.Fatal(err)
	}
	return int64(stat.Type)
}

func TestRealDaemonMountsAndUnmounts(t *testing.T) {
	before := countFDs(t)
	daemon := startDaemon(t)
	client := daemon.dial()
	hello, err := client.Hello(testContext(t))
	if err != nil || !strings.HasPrefix(hello.Version, "mountatd ") {
		t.Fatalf("hello: %+v, %v", hello, err)
	}

	path := newRoot(t, "sys")
	root := openDirectory(t, path)
	lease, err := client.Mount(testContext(t), root, Proc|Sysfs|Create)
	if err != nil {
		t.Fatal(err)
	}
	if lease.ID() == 0 {
		t.Error("lease 0")
	}
	if magic(t, path+"/proc") != unix.PROC_SUPER_MAGIC || magic(t, path+"/sys") != unix.SYSFS_MAGIC {
		t.Error("not procfs and sysfs")
	}
	if _, err := os.Readlink(path + "/proc/self/exe"); err != nil {
		t.Error(err)
	}
	if _, err := client.Mount(testContext(t), root, Proc); !errors.Is(err, StatusAlreadyMounted) {
		t.Errorf("a second mount: %v", err)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if left := names(t, path); len(left) != 1 || left[0] != "sys" || len(names(t, path+"/sys")) != 0 {
		t.Errorf("after the release there is %q", left)
	}
	client.Close()
	root.Close()
	daemon.stop()
	checkNoFDsLeak(t, before)
}

func TestRealDaemonHonoursPIDsOnly(t *testing.T) {
	client := startDaemon(t).dial()
	hello, err := client.Hello(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if hello.Features&FeaturePIDsOnly == 0 {
		t.Skip("the kernel has no subset=pid")
	}
	path := newRoot(t)
	lease, err := client.Mount(testContext(t), openDirectory(t, path), Proc|PIDsOnly|ReadOnly|Create)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "/proc/version"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("/proc/version: %v", err)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
}

// Each status that a client can cause, with the real daemon.
func TestRealDaemonRefusals(t *testing.T) {
	daemon := startDaemon(t, "--max-mounts-per-user=2")
	client := daemon.dial()
	mkdir := func(t *testing.T, name string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cases := []struct {
		want Status
		make func(t *testing.T) []Target
	}{
		{StatusWrongName, func(t *testing.T) []Target {
			return []Target{{openDirectory(t, mkdir(t, "sys")), FileSystemProc, 0}}
		}},
		{StatusNotAuthorised, func(t *testing.T) []Target {
			path := mkdir(t, "proc")
			if err := os.Chown(path, 12345, 12345); err != nil {
				t.Fatal(err)
			}
			return []Target{{openDirectory(t, path), FileSystemProc, 0}}
		}},
		{StatusNotADirectory, func(t *testing.T) []Target {
			file, err := os.Create(filepath.Join(t.TempDir(), "proc"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { file.Close() })
			return []Target{{file, FileSystemProc, 0}}
		}},
		{StatusTargetVanished, func(t *testing.T) []Target {
			path := mkdir(t, "proc")
			file := openDirectory(t, path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			return []Target{{file, FileSystemProc, 0}}
		}},
		{StatusUnsupportedFileSystem, func(t *testing.T) []Target {
			return []Target{{openDirectory(t, mkdir(t, "proc")), 9, 0}}
		}},
		{StatusMalformed, func(t *testing.T) []Target {
			return []Target{{openDirectory(t, mkdir(t, "sys")), FileSystemSysfs, OptionPIDsOnly}}
		}},
		{StatusAlreadyMounted, func(t *testing.T) []Target {
			target := Target{openDirectory(t, mkdir(t, "proc")), FileSystemProc, 0}
			return []Target{target, target}
		}},
		{StatusForeignNamespace, func(t *testing.T) []Target {
			return []Target{{openElsewhere(t, mkdir(t, "proc")), FileSystemProc, 0}}
		}},
		{StatusLimitExceeded, func(t *testing.T) []Target {
			var targets []Target
			for range 3 {
				targets = append(targets, Target{openDirectory(t, mkdir(t, "proc")), FileSystemProc, 0})
			}
			return targets
		}},
	}
	for _, c := range cases {
		t.Run(c.want.String(), func(t *testing.T) {
			_, err := client.MountTargets(testContext(t), c.make(t)...)
			var refusal *Error
			if !errors.Is(err, c.want) || !errors.As(err, &refusal) || refusal.Text == "" {
				t.Errorf("got %v", err)
			}
			if n := daemon.mounts(); n != 0 {
				t.Errorf("%d mounts", n)
			}
		})
	}
	unknown := newLease(client)
	unknown.id = 12345
	if err := unknown.Release(testContext(t)); !errors.Is(err, StatusNoSuchLease) {
		t.Errorf("an unknown lease: %v", err)
	}
}

// openElsewhere opens path in a new mount namespace, in a thread that is never used again.
func openElsewhere(t *testing.T, path string) *os.File {
	t.Helper()
	type opened struct {
		fd  int
		err error
	}
	result := make(chan opened)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			result <- opened{-1, err}
			return
		}
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		result <- opened{fd, err}
	}()
	r := <-result
	if r.err != nil {
		t.Fatal(r.err)
	}
	file := os.NewFile(uintptr(r.fd), path)
	t.Cleanup(func() { file.Close() })
	return file
}

func TestRealDaemonReleasesWhatAClosedClientHeld(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	path := newRoot(t)
	lease, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Sysfs|Create)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("waiting for it: %v", err)
	}
	if left := names(t, path); len(left) != 0 || daemon.mounts() != 0 {
		t.Errorf("%q and %d mounts are left", left, daemon.mounts())
	}
}

func TestRealDaemonThatStopsTakesItsMountsAlong(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	path := newRoot(t)
	lease, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Sysfs|Create)
	if err != nil {
		t.Fatal(err)
	}
	daemon.stop()
	<-lease.Done()
	if err := lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
	if left := names(t, path); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// While the daemon is stopped, the caller returns in time, and nothing is left mounted afterwards.
func TestRealDaemonThatStalls(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	if _, err := client.Hello(testContext(t)); err != nil {
		t.Fatal(err)
	}
	daemon.freeze()
	path := newRoot(t, "proc")
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := client.Mount(ctx, openDirectory(t, path), Proc|Sysfs|Create)
	if err := daemon.process.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := client.Hello(testContext(t)); err != nil {
		t.Errorf("the connection is unusable: %v", err)
	}
	eventually(t, "nothing left", func() bool {
		return daemon.mounts() == 0 && len(names(t, path)) == 1
	})
}

func TestRealDaemonServesManyAtOnce(t *testing.T) {
	before := countFDs(t)
	daemon := startDaemon(t)
	shared := daemon.dial()
	var group sync.WaitGroup
	for i := range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			client := shared
			if i%2 == 0 {
				client = daemon.dial()
				defer client.Close()
			}
			path := newRoot(t)
			root, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer root.Close()
			for range 25 {
				lease, err := client.Mount(testContext(t), root, Proc|Sysfs|Create)
				if err != nil {
					t.Error(err)
					return
				}
				if err := lease.Release(testContext(t)); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	if n := daemon.mounts(); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
	shared.Close()
	daemon.stop()
	checkNoFDsLeak(t, before)
}

// A client whose lease was just released by closing isn't refused because of it when it mounts again.
func TestRealDaemonIsReturnedToAtOnce(t *testing.T) {
	daemon := startDaemon(t)
	root := openDirectory(t, newRoot(t, "proc", "sys"))
	for i := 0; i < 500; i++ {
		client := daemon.dial()
		if _, err := client.Mount(testContext(t), root, Proc|Sysfs); err != nil {
			t.Fatalf("visit %d: %v", i, err)
		}
		client.Close()
	}
	eventually(t, "no mounts", func() bool { return daemon.mounts() == 0 })
}

// A process holds its lease until it is killed, and no longer.
func TestRealDaemonReleasesWhatADeadProcessHeld(t *testing.T) {
	daemon := startDaemon(t)
	path := newRoot(t, "proc")
	holder := exec.Command("/proc/self/exe", "-test.run=^TestHelperHoldsALease$")
	holder.Env = append(os.Environ(), "MOUNTAT_TEST_HOLD="+path, SocketVariable+"="+daemon.socket)
	output, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if said, _ := bufio.NewReader(output).ReadString('\n'); said != "mounted\n" {
		t.Errorf("the holder says %q", said)
	}
	if n := daemon.mounts(); n != 1 {
		t.Errorf("%d mounts while it lives", n)
	}
	holder.Process.Kill()
	holder.Wait()
	eventually(t, "no mounts", func() bool { return daemon.mounts() == 0 })
}

// TestHelperHoldsALease isn't a test, but the process that TestRealDaemonReleasesWhatADeadProcessHeld kills.
func TestHelperHoldsALease(t *testing.T) {
	path := os.Getenv("MOUNTAT_TEST_HOLD")
	if path == "" {
		return
	}
	client, err := Dial(testContext(t), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Mount(testContext(t), openDirectory(t, path), Proc); err != nil {
		t.Fatal(err)
	}
	fmt.Println("mounted")
	select {}
}

// requireFeature skips a test that the daemon is too old for.
func requireFeature(t *testing.T, client *Client, feature Feature) {
	t.Helper()
	hello, err := client.Hello(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if hello.Features&feature == 0 {
		t.Skipf("%s is older than 0.2", hello.Version)
	}
}

func TestRealDaemonKeepsALeaseThroughItsClientAndItself(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	requireFeature(t, client, FeatureKeep)
	path := newRoot(t)
	lease, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Sysfs|Create|Keep)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	daemon.kill(unix.SIGUSR1)
	daemon.start()
	if n := daemon.mounts(); n != 2 {
		t.Fatalf("%d mounts are there", n)
	}
	next := daemon.dial()
	eventually(t, "the next instance has the lease, and releases it", func() bool {
		return next.UnmountLease(testContext(t), lease.ID()) == nil
	})
	if n := daemon.mounts(); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
	if err := next.UnmountLease(testContext(t), lease.ID()); !errors.Is(err, StatusNoSuchLease) {
		t.Errorf("once more: %v", err)
	}
}

func TestRealDaemonChecks(t *testing.T) {
	build := t.TempDir()
	daemon := startDaemon(t, "--build-directory="+build)
	client := daemon.dial()
	requireFeature(t, client, FeatureCheck)
	path := newRoot(t, "proc", "sys")
	proc := Target{openDirectory(t, path+"/proc"), FileSystemProc, 0}
	sys := Target{openDirectory(t, path+"/sys"), FileSystemSysfs, 0}
	if err := client.Check(testContext(t), proc, sys); err != nil {
		t.Error(err)
	}
	if err := client.Check(testContext(t), Target{openDirectory(t, build), FileSystemProc, 0}); err != nil {
		t.Errorf("the build directory: %v", err)
	}
	if err := client.Check(testContext(t), Target{openDirectory(t, path), FileSystemProc, 0}); err != nil {
		t.Errorf("the place of one's own mountpoints: %v", err)
	}
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	err := client.Check(testContext(t), Target{openDirectory(t, path), FileSystemProc, 0})
	if !errors.Is(err, StatusNotAuthorised) {
		t.Errorf("another's: %v", err)
	}
	sys.FileSystem = FileSystemProc
	if err := client.Check(testContext(t), sys); !errors.Is(err, StatusWrongName) {
		t.Errorf("proc on sys: %v", err)
	}
	if n := daemon.mounts(); n != 0 {
		t.Errorf("%d mounts are there", n)
	}
}
