// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A client in a container, here a process with its own mount and pid namespaces: this test program, which
// runs one of the parts in TestHelperInAContainer.

const containerVariable = "MOUNTAT_TEST_CONTAINER"

// container is that process, as seen from outside.
type container struct {
	t       *testing.T
	process *exec.Cmd
	stdin   io.Writer
	stdout  *bufio.Reader
}

// startContainer runs the part with that name, below path, as the owner of path.
func startContainer(t *testing.T, daemon *realDaemon, half, path string) *container {
	t.Helper()
	c := &container{t: t, process: exec.Command("/proc/self/exe", "-test.run=^TestHelperInAContainer$")}
	c.process.Env = append(os.Environ(), containerVariable+"="+half+":"+path, SocketVariable+"="+daemon.socket)
	c.process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Uid != 0 {
		c.process.SysProcAttr.Credential = &syscall.Credential{Uid: stat.Uid, Gid: stat.Gid}
	}
	stdin, err := c.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin, c.stdout = stdin, bufio.NewReader(stdout)
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.process.Process.Kill()
		c.process.Wait()
	})
	return c
}

// expect waits until it prints the text.
func (c *container) expect(want string) {
	c.t.Helper()
	said, _ := c.stdout.ReadString('\n')
	if said != want+"\n" {
		rest, _ := io.ReadAll(c.stdout)
		c.t.Fatalf("in the container: %s%s", said, rest)
	}
}

func (c *container) goOn() {
	fmt.Fprintln(c.stdin, "go on")
}

// end waits for it to exit with status 0.
func (c *container) end() {
	c.t.Helper()
	rest, _ := io.ReadAll(c.stdout)
	if err := c.process.Wait(); err != nil {
		c.t.Errorf("in the container: %v\n%s", err, rest)
	}
}

// TestHelperInAContainer isn't a test, but the program of startContainer.
func TestHelperInAContainer(t *testing.T) {
	half, path, _ := strings.Cut(os.Getenv(containerVariable), ":")
	if half == "" {
		return
	}
	// With the outer /proc, an unprivileged user can do the same.
	if os.Getuid() == 0 {
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil { // like mountat-runner
		t.Fatal(err)
	}
	client, err := Dial(testContext(t), "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	switch half {
	case "mounts":
		mountInContainer(t, client, path)
	case "is refused":
		refusedInContainer(t, client, path)
	}
}

func say(what string) {
	fmt.Println(what)
	bufio.NewReader(os.Stdin).ReadString('\n')
}

// checkProcesses checks that a procfs shows the container's processes, with this one as PID 1.
func checkProcesses(t *testing.T, proc string) {
	t.Helper()
	if self, err := os.Readlink(proc + "/self"); err != nil || self != "1" {
		t.Errorf("%s/self is %q, %v", proc, self, err)
	}
	for _, name := range names(t, proc) {
		if pid, err := strconv.Atoi(name); err == nil && pid != 1 {
			t.Errorf("process %d is in %s", pid, proc)
		}
	}
}

func mountInContainer(t *testing.T, client *Client, path string) {
	target := Target{Directory: openDirectory(t, path), FileSystem: FileSystemProc}
	if err := client.Check(testContext(t), target); err != nil {
		t.Fatal(err)
	}
	before := countFDs(t)
	root := openDirectory(t, path)
	lease, err := client.Mount(testContext(t), root, Proc|Sysfs|Create)
	if err != nil {
		t.Fatal(err)
	}
	checkProcesses(t, path+"/proc")
	checkHeld(t, lease, path)

	say("mounted")
	waitUntilAdopted(t, lease)
	checkProcesses(t, path+"/proc")
	checkHeld(t, lease, path)
	if err := lease.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if left := names(t, path); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	lease, err = client.Mount(testContext(t), root, Proc|Create)
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
	if _, err := client.Mount(testContext(t), root, Proc|Create|Keep); !errors.Is(err, StatusForeignNamespace) {
		t.Errorf("a kept one: %v", err)
	}
	root.Close()
	checkNoFDsLeak(t, before)
}

func refusedInContainer(t *testing.T, client *Client, path string) {
	for range 2 {
		_, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Create)
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Status != StatusForeignNamespace || refusal.Operation != "mount" {
			t.Errorf("got %v", err)
		}
	}
	hello, err := client.Hello(testContext(t))
	if err != nil || hello.Features&FeatureEnter != 0 {
		t.Errorf("hello: %+v, %v", hello, err)
	}
}

// The mounts are only in the container, and outlive the daemon as usual. Its debug log has one refusal, by
// which the client found out about the namespace.
func TestRealDaemonMountsInAContainer(t *testing.T) {
	for _, uid := range []int{0, 12345} {
		t.Run(fmt.Sprint("uid ", uid), func(t *testing.T) { testContainerOf(t, uid) })
	}
}

func testContainerOf(t *testing.T, uid int) {
	daemon := startDaemon(t, fmt.Sprintf("--join=%d", uid), "--log-level=debug")
	path := filepath.Join(filepath.Dir(daemon.socket), "build") // t.TempDir is closed to other users
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{filepath.Dir(daemon.socket): 0o755, daemon.socket: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
	container := startContainer(t, daemon, "mounts", path)
	container.expect("mounted")
	if n := daemon.mounts(); n != 0 {
		t.Errorf("%d mounts are out here", n)
	}
	daemon.kill(unix.SIGUSR1)
	if n := strings.Count(daemon.log.String(), StatusForeignNamespace.String()); n != 1 {
		t.Errorf("%d refusals in\n%s", n, daemon.log)
	}
	daemon.start()
	if err := os.Chmod(daemon.socket, 0o777); err != nil {
		t.Fatal(err)
	}
	container.goOn()
	container.end()
	daemon.stop()
	if n := strings.Count(daemon.log.String(), StatusForeignNamespace.String()); n != 1 { // of the kept one
		t.Errorf("%d refusals in\n%s", n, daemon.log)
	}
}

func TestRealDaemonDoesNotJoinUnlessToldTo(t *testing.T) {
	for _, options := range [][]string{nil, {"--join=12345"}} {
		daemon := startDaemon(t, options...)
		startContainer(t, daemon, "is refused", newRoot(t)).end()
		daemon.stop()
	}
}
