// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	mountat "github.com/mountatd/mountatd/client/go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestAnActionHasProcAndSysAndLeavesNothing(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a", "proc")
	b.backend.onRun = func(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
		if _, err := os.Readlink(b.in(path, "proc/self/exe")); err != nil {
			t.Error(err)
		}
		if len(b.names(path, "sys")) == 0 {
			t.Error("sys is empty")
		}
		return new(emptypb.Empty), nil
	}
	if _, err := b.run(runRequest(path)); err != nil {
		t.Fatal(err)
	}
	if left := b.names(path); !slices.Equal(left, []string{"proc"}) {
		t.Errorf("there is %q, want proc alone", left)
	}
	if left := b.names(path, "proc"); len(left) != 0 || daemon.Mounts() != 0 {
		t.Errorf("%q in proc, %d mounts", left, daemon.Mounts())
	}
}

func TestAnActionHasADevAndLeavesNothing(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	b.proxy.mounter.flags |= mountat.Dev
	b.expectReady(1)
	path := b.newRoot("a")
	b.backend.onRun = func(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
		if err := os.WriteFile(b.in(path, "dev/null"), []byte("away"), 0); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(b.in(path, "dev/shm/mine"), nil, 0o600); err != nil {
			t.Error(err)
		}
		return new(emptypb.Empty), nil
	}
	if _, err := b.run(runRequest(path)); err != nil {
		t.Fatal(err)
	}
	if left := b.names(path); len(left) != 0 {
		t.Errorf("there is %q", left)
	}
}

func TestMessagesPassUnchanged(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	path := b.newRoot("a")
	want := status.New(codes.DataLoss, "of the runner's")
	want, err := want.WithDetails(durationpb.New(7 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	request := runRequest(path, protowire.AppendString([]byte{5<<3 | 2}, "stderr")...)
	failing := false
	b.backend.onRun = func(ctx context.Context, got *emptypb.Empty) (*emptypb.Empty, error) {
		if !proto.Equal(got, request) {
			t.Errorf("the runner got %v, want %v", got, request)
		}
		received, _ := metadata.FromIncomingContext(ctx)
		if values := received.Get("who-bin"); !slices.Equal(values, []string{"me\x00", "and me"}) {
			t.Errorf("the runner got the metadata %q", values)
		}
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the runner got no deadline")
		}
		grpc.SetHeader(ctx, metadata.Pairs("h", "1"))
		grpc.SetTrailer(ctx, metadata.Pairs("t", "2"))
		if failing {
			return nil, want.Err()
		}
		return message(protowire.AppendString([]byte{2<<3 | 2}, "usage")), nil
	}

	ctx := metadata.AppendToOutgoingContext(testContext(t), "who-bin", "me\x00", "who-bin", "and me")
	for _, failing = range []bool{false, true} {
		var header, trailer metadata.MD
		response, err := b.runWith(ctx, request, grpc.Header(&header), grpc.Trailer(&trailer))
		if failing {
			if got := status.Convert(err); !proto.Equal(got.Proto(), want.Proto()) {
				t.Errorf("the worker got the status %v, want %v", got, want)
			}
		} else if err != nil ||
			!proto.Equal(response, message(protowire.AppendString([]byte{2<<3 | 2}, "usage"))) {
			t.Errorf("the worker got %v, %v", response, err)
		}
		if !slices.Equal(trailer.Get("t"), []string{"2"}) || (!failing && !slices.Equal(header.Get("h"), []string{"1"})) {
			t.Errorf("the worker got the header %v and the trailer %v", header, trailer)
		}
		b.checkNothingLeft(path)
	}
}

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

func TestALargeRequestPasses(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	path := b.newRoot("a")
	if _, err := b.run(runRequest(path, bytesField(20<<20)...)); err != nil {
		t.Error(err)
	}
	b.checkNothingLeft(path)
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

func TestARunnerThatIsNotThereIsUnavailable(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	b.stopBackend()
	if _, err := b.run(runRequest(path)); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	b.checkNothingLeft(path)
	if n := daemon.Mounts(); n != 0 {
		t.Errorf("%d mounts", n)
	}
}

func TestADaemonThatIsNotThereIsUnavailable(t *testing.T) {
	b := newBench(t, "")
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
	daemon.Freeze()
	start := time.Now()
	_, err := b.run(runRequest(path))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	b.checkNothingLeft(path)
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
			daemon := testdaemon.Start(t, "--adopt-timeout=1")
			b := newBench(t, daemon.Socket)
			path := b.newRoot("a")
			b.backend.onRun = func(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
				daemon.Kill(signal)
				daemon.Restart()
				time.Sleep(1500 * time.Millisecond) // longer than --adopt-timeout
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

// bb_worker doesn't wait for the runner when it cancels: the mounts must go at once, even if the runner is
// slow.
func TestACancelDetachesAtOnce(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	ctx, cancel := context.WithCancel(testContext(t))
	linger := make(chan struct{})
	cancelled := make(chan struct{})
	b.backend.onRun = func(ctx context.Context, _ *emptypb.Empty) (*emptypb.Empty, error) {
		cancel()
		<-ctx.Done()
		close(cancelled)
		<-linger
		return nil, errors.New("nobody listens")
	}
	if _, err := b.runWith(ctx, runRequest(path)); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	testdaemon.Eventually(t, "nothing left", func() bool {
		return daemon.Mounts() == 0 && len(b.names(path)) == 0
	})
	<-cancelled
	close(linger)
}

func TestAnUnknownMethodIsNotForwarded(t *testing.T) {
	b := newBench(t, "")
	err := b.connection.Invoke(testContext(t), fullMethod("RunLater"), message(nil), message(nil))
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

func TestManyAtOnceLeaveNothing(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	b.backend.onRun = func(_ context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
		path, _ := inputRootPath(request)
		_, err := os.Readlink(b.in(path, "proc/self/exe"))
		return request, err
	}
	before := countFDs(t)
	var group sync.WaitGroup
	for i := range 16 {
		group.Add(1)
		go func() {
			defer group.Done()
			path := b.newRoot(fmt.Sprint(i))
			for range 25 {
				if _, err := b.run(runRequest(path)); err != nil {
					t.Error(err)
					return
				}
			}
			b.checkNothingLeft(path)
		}()
	}
	group.Wait()
	if n := daemon.Mounts(); n != 0 {
		t.Errorf("%d mounts", n)
	}
	// Both ends of the two gRPC connections were opened meanwhile.
	testdaemon.Eventually(t, "no more descriptors than before", func() bool {
		return countFDs(t) <= before+4
	})
	if got := testutil.ToFloat64(b.proxy.metrics.actions); got != 400 {
		t.Errorf("%v actions are counted", got)
	}
	if got := testutil.ToFloat64(b.proxy.metrics.leases); got != 0 {
		t.Errorf("%v leases are counted", got)
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
