// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Other things than a working mountatd at its socket.
func TestASocketThatIsNotMountatds(t *testing.T) {
	for _, c := range []struct {
		name   string
		put    func(t *testing.T, path string)
		wanted string
	}{
		{"refusing", refusing, "is mountatd installed, and is mountatd.socket active?"},
		{"a file", regular, "is mountatd installed, and is mountatd.socket active?"},
		{"a datagram socket", datagram, "this isn't mountatd's socket"},
		{"a stream", accepting(nil), "this isn't mountatd's socket"},
		{"closes", acceptingPackets((*net.UnixConn).Close), "the connection to mountatd was lost"},
		{"garbage", acceptingPackets(func(c *net.UnixConn) error { return garbage(c) }), "broke the protocol"},
		{"never answers", acceptingPackets(nil), "no answer within 500ms"},
		{"accepts nobody", full, "no answer within 500ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			directory, err := os.MkdirTemp("", "mountatd")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(directory) })
			socket := filepath.Join(directory, "socket")
			c.put(t, socket)
			b := newBench(t, socket)
			path := b.newRoot("a")
			_, err = b.run(runRequest(path))
			text := fmt.Sprint(err)
			if status.Code(err) != codes.Unavailable || !strings.Contains(text, "desc = mountatd: ") ||
				!strings.Contains(text, c.wanted) {
				t.Errorf("Run: %v", err)
			}
			b.expectUnready(reasonNoAnswer, c.wanted)
			if n := b.backend.runs.Load(); n != 0 {
				t.Errorf("%d were run", n)
			}
			b.checkNothingLeft(path)
		})
	}
}

func listenPackets(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// acceptingPackets is accepting for a SOCK_SEQPACKET socket, like mountatd's.
func acceptingPackets(with func(*net.UnixConn) error) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		listener := listenPackets(t, path)
		go func() {
			for {
				connection, err := listener.AcceptUnix()
				if err != nil {
					return
				}
				defer connection.Close()
				if with != nil {
					with(connection)
				}
			}
		}()
	}
}

// full is a socket whose backlog stays full.
func full(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for {
		client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(client) })
		if err := unix.Connect(client, &unix.SockaddrUnix{Name: path}); err == unix.EAGAIN {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestMountatdIsRestartedBetweenTheCheckAndTheMount(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		b.expectReady(1)
		daemon.Kill(signal)
		daemon.Restart()
		if _, err := b.run(runRequest(path)); err != nil {
			t.Error(err)
		}
		b.checkNothingLeft(path)
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

// The caller goes away while it waits for mountatd, before and after the action.
func TestACancelAtEveryStep(t *testing.T) {
	for _, step := range []string{"mount", "run", "release"} {
		t.Run(step, func(t *testing.T) {
			daemon := testdaemon.Start(t)
			b := newBench(t, daemon.Socket)
			path := b.newRoot("a")
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			frozen := make(chan struct{})
			b.backend.onRun = func(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
				switch step {
				case "run":
					cancel()
					<-ctx.Done()
				case "release":
					daemon.Freeze()
					close(frozen)
				}
				return request, nil
			}
			if step == "mount" {
				daemon.Freeze()
			}
			ended := make(chan error, 1)
			go func() {
				_, err := b.runWith(ctx, runRequest(path))
				ended <- err
			}()
			switch step {
			case "mount":
				testdaemon.Eventually(t, "it is begun", func() bool { return b.proxy.running.Load() == 1 })
				cancel()
			case "release":
				<-frozen
				cancel()
			}
			if err := <-ended; status.Code(err) != codes.Canceled {
				t.Errorf("got %v", err)
			}
			daemon.Continue()
			testdaemon.Eventually(t, "nothing left", func() bool {
				return b.proxy.running.Load() == 0 && daemon.Mounts() == 0 && len(b.names(path)) == 0
			})
			b.backend.onRun = nil
			if _, err := b.run(runRequest(path)); err != nil {
				t.Errorf("the next action: %v", err)
			}
			b.expectReady(1)
		})
	}
}

func Test64ActionsAtOnce(t *testing.T) {
	const n = 64
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	var running, done sync.WaitGroup
	running.Add(n)
	all := make(chan struct{})
	b.backend.onRun = func(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
		running.Done()
		select {
		case <-all:
		case <-ctx.Done():
		}
		return request, ctx.Err()
	}
	for i := range n {
		path := b.newRoot(fmt.Sprint(i))
		done.Add(1)
		go func() {
			defer done.Done()
			if _, err := b.run(runRequest(path)); err != nil {
				t.Error(err)
				running.Done()
			}
		}()
	}
	running.Wait()
	if got := daemon.Mounts(); got != 2*n {
		t.Errorf("%d mounts", got)
	}
	if got := b.proxy.Status(); got != "64 actions running; starting" {
		t.Errorf("the status is %q", got)
	}
	close(all)
	done.Wait()
	if got := daemon.Mounts(); got != 0 {
		t.Errorf("%d mounts", got)
	}
	for i := range n {
		b.checkNothingLeft(fmt.Sprintf("%d/root", i))
	}
}

// Without free descriptors, the error says so; once there are some, actions run again.
func TestDescriptorsAreExhausted(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	b.expectReady(1) // opens the connections
	used := fillDescriptors(t)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	failed, ran := 0, false
	for spare := 0; spare < 40 && !ran; spare++ {
		limit := unix.Rlimit{Cur: uint64(used + spare), Max: before.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
		_, err := b.run(runRequest(path))
		ran = err == nil
		if text := fmt.Sprint(err); !ran && (status.Code(err) != codes.Unavailable ||
			!strings.Contains(text, "desc = this host: ") || !strings.Contains(text, "LimitNOFILE=")) {
			t.Errorf("with %d more: %v", spare, err)
		}
		if !ran {
			failed++
		}
	}
	if !ran || failed < 3 {
		t.Errorf("it ran: %v, after %d failures", ran, failed)
	}
	unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	if err := b.checkReadiness(); err != nil {
		t.Errorf("readiness: %v", err)
	}
	testdaemon.Eventually(t, "nothing left", func() bool {
		return daemon.Mounts() == 0 && len(b.names(path)) == 0
	})
}

// fillDescriptors uses all numbers below the one that it returns, since RLIMIT_NOFILE limits the numbers.
func fillDescriptors(t *testing.T) (next int) {
	t.Helper()
	for free := countFDs(t); ; {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if fd > free+64 {
			return fd + 1
		}
	}
}
