// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestADaemonThatIsNotThereIsUnavailable(t *testing.T) {
	b := newBench(t, "")
	b.proxy.mounter.absenceTimeout = brief
	path := b.newRoot("a")
	_, err := b.run(runRequest(path))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "mountatd") {
		t.Errorf("Run: %v", err)
	}
	err = b.checkReadiness()
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "mountatd") {
		t.Errorf("CheckReadiness: %v", err)
	}
	if n := b.backend.runs.Load(); n != 0 {
		t.Errorf("%d were run", n)
	}
	b.checkNothingLeft(path)
}

func TestADaemonThatRefusesIsUnavailable(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	path := b.newRoot("a", "proc")
	if err := os.Chown(b.in(path, "proc"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	_, err := b.run(runRequest(path))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not-authorised") ||
		!strings.Contains(err.Error(), "--build-directory") {
		t.Errorf("got %v", err)
	}
	if left := b.names(path); !slices.Equal(left, []string{"proc"}) || b.backend.runs.Load() != 0 {
		t.Errorf("there is %q, %d were run", left, b.backend.runs.Load())
	}
}

func TestADaemonThatStallsIsUnavailable(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	patience := b.proxy.mounter.mountTimeout
	b.proxy.mounter.mountTimeout = brief
	daemon.Freeze()
	_, err := b.run(runRequest(path))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("got %v", err)
	}
	b.checkNothingLeft(path)
	b.proxy.mounter.mountTimeout = patience
	daemon.Continue()
	if _, err := b.run(runRequest(path)); err != nil {
		t.Errorf("the next action: %v", err)
	}
	testdaemon.Eventually(t, "no mounts", func() bool { return daemon.Mounts() == 0 })
	b.checkNothingLeft(path)
}

// If the unmount fails, so does the action, or the mounts would be uploaded with its outputs.
func TestADaemonThatStallsAtTheEndIsUnavailable(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	b.proxy.mounter.releaseTimeout = brief
	path := b.newRoot("a")
	b.backend.onRun = func(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
		daemon.Freeze()
		return new(emptypb.Empty), nil
	}
	_, err := b.run(runRequest(path))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "cannot unmount ") {
		t.Errorf("got %v", err)
	}
	daemon.Continue()
	testdaemon.Eventually(t, "nothing left", func() bool {
		return daemon.Mounts() == 0 && len(b.names(path)) == 0
	})
}

// The mounts stay: no action notices a crash or upgrade of the daemon.
func TestADaemonThatIsRestartedIsNotNoticed(t *testing.T) {
	for name, signal := range map[string]unix.Signal{"killed": unix.SIGKILL, "restarted": unix.SIGUSR1} {
		t.Run(name, func(t *testing.T) {
			daemon := testdaemon.Start(t, "--adopt-timeout=5")
			b := newBench(t, daemon.Socket)
			path := b.newRoot("a")
			b.backend.onRun = func(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
				daemon.Kill(signal)
				daemon.Restart()
				time.Sleep(5500 * time.Millisecond) // longer than --adopt-timeout
				_, err := os.Readlink(b.in(path, "proc/self/exe"))
				return request, errors.Join(err, ctx.Err())
			}
			if _, err := b.run(runRequest(path)); err != nil {
				t.Error(err)
			}
			b.checkNothingLeft(path)
			if n := daemon.Mounts(); n != 0 {
				t.Errorf("%d mounts", n)
			}
		})
	}
}

// Without the daemon an action can go on, but it fails in the end: its mounts would be uploaded.
func TestADaemonThatIsAwayAtTheEndIsUnavailable(t *testing.T) {
	daemon := testdaemon.Start(t, "--adopt-timeout=1")
	b := newBench(t, daemon.Socket)
	b.proxy.mounter.releaseTimeout = brief
	path := b.newRoot("a")
	b.backend.onRun = func(_ context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
		daemon.Kill(unix.SIGKILL)
		return request, nil
	}
	_, err := b.run(runRequest(path))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "cannot unmount ") {
		t.Errorf("got %v", err)
	}
	daemon.Restart()
	testdaemon.Eventually(t, "nothing left", func() bool {
		return daemon.Mounts() == 0 && len(b.names(path)) == 0
	})
}

// Actions and readiness wait for a daemon that comes back within a moment.
func TestADaemonThatIsBackSoonIsWaitedFor(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	b.proxy.mounter.absenceTimeout *= 10
	path := b.newRoot("a")
	for _, ask := range []func() error{
		func() error { _, err := b.run(runRequest(path)); return err },
		b.checkReadiness,
	} {
		daemon.Kill(unix.SIGKILL)
		result := make(chan error)
		go func() { result <- ask() }()
		time.Sleep(100 * time.Millisecond)
		daemon.Restart()
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
	b.checkNothingLeft(path)
}

// A daemon that is stopped unmounts: the action ends at once, with a retryable error.
func TestADaemonThatStopsIsUnavailable(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	running := make(chan struct{})
	b.backend.onRun = func(ctx context.Context, _ *emptypb.Empty) (*emptypb.Empty, error) {
		close(running)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-running
		daemon.Stop()
	}()
	_, err := b.run(runRequest(path))
	<-stopped
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "went away during the action") {
		t.Errorf("got %v", err)
	}
	b.checkNothingLeft(path)
	if got := testutil.ToFloat64(b.proxy.metrics.failures.WithLabelValues(stepLost)); got != 1 {
		t.Errorf("%v failures are counted", got)
	}

	daemon.Restart()
	b.backend.onRun = nil
	if _, err := b.run(runRequest(path)); err != nil {
		t.Errorf("the next action: %v", err)
	}
	b.checkNothingLeft(path)
}

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
			b.proxy.mounter.absenceTimeout = brief
			if strings.HasPrefix(c.wanted, "no answer") {
				b.proxy.mounter.mountTimeout = brief
			}
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
