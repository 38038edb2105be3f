// SPDX-License-Identifier: Apache-2.0

package runner_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	runner_pb "github.com/buildbarn/bb-remote-execution/pkg/proto/runner"
	"github.com/buildbarn/bb-storage/pkg/filesystem/path"
	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"github.com/mountatd/mountatd/client/buildbarn/runner"
	mountat "github.com/mountatd/mountatd/client/go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	ample = time.Minute
	short = 200 * time.Millisecond // for a daemon that stands still
)

func TestMain(m *testing.M) {
	os.Exit(testdaemon.Main(m))
}

// base is the next runner, which does what a test says.
type base struct {
	onRun   func(ctx context.Context) (*runner_pb.RunResponse, error)
	onReady func() error
}

func (b *base) Run(ctx context.Context, _ *runner_pb.RunRequest) (*runner_pb.RunResponse, error) {
	return b.onRun(ctx)
}

func (b *base) CheckReadiness(context.Context, *runner_pb.CheckReadinessRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, b.onReady()
}

// bench is a decorator with the next runner and a build directory.
type bench struct {
	*base
	runner_pb.RunnerServer
	t              *testing.T
	buildDirectory string
}

func newBench(t *testing.T, socket string, fileSystems mountat.Flags, timeout time.Duration) *bench {
	t.Helper()
	b := &bench{
		base: &base{
			onRun: func(context.Context) (*runner_pb.RunResponse, error) {
				t.Error("the next runner was called")
				return &runner_pb.RunResponse{}, nil
			},
			onReady: func() error {
				t.Error("the next runner was called")
				return nil
			},
		},
		t:              t,
		buildDirectory: t.TempDir(),
	}
	builder, walker := path.EmptyBuilder.Join(path.NewAbsoluteScopeWalker(path.VoidComponentWalker))
	if err := path.Resolve(path.LocalFormat.NewParser(b.buildDirectory), walker); err != nil {
		t.Fatal(err)
	}
	dialer := &mountat.Dialer{Socket: socket, MaxIdle: 8}
	b.RunnerServer = runner.NewInputRootMountingRunner(b.base, builder, dialer, fileSystems, timeout)
	return b
}

func (b *bench) Run(ctx context.Context, inputRoot string) (*runner_pb.RunResponse, error) {
	return b.RunnerServer.Run(ctx, &runner_pb.RunRequest{InputRootDirectory: inputRoot})
}

func (b *bench) CheckReadiness() error {
	_, err := b.RunnerServer.CheckReadiness(b.t.Context(), &runner_pb.CheckReadinessRequest{})
	return err
}

func (b *bench) in(name string) string {
	return filepath.Join(b.buildDirectory, name)
}

func (b *bench) mkdir(name string) {
	b.t.Helper()
	if err := os.MkdirAll(b.in(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) expectNames(directory string, want ...string) {
	b.t.Helper()
	entries, err := os.ReadDir(b.in(directory))
	if err != nil {
		b.t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("%q contains %q, want %q", directory, got, want)
	}
}

func expectStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("got %v, want %v with %q", err, code, text)
	}
}

func TestActionHasItsMountsAndLeavesNothing(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket, mountat.Proc|mountat.Sysfs|mountat.Dev, ample)
	b.mkdir("a/root/proc")
	b.onRun = func(context.Context) (*runner_pb.RunResponse, error) {
		for _, name := range []string{"proc/self/exe", "sys/kernel", "dev/null"} {
			if _, err := os.Lstat(b.in("a/root/" + name)); err != nil {
				t.Error(err)
			}
		}
		return &runner_pb.RunResponse{ExitCode: 7}, nil
	}
	response, err := b.Run(t.Context(), "a/root")
	if err != nil || response.ExitCode != 7 {
		t.Errorf("got %v, %v", response, err)
	}
	b.expectNames("a/root", "proc")
	b.expectNames("a/root/proc")
}

func TestOnlyAskedForFileSystemsAreMounted(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket, mountat.Proc, ample)
	b.mkdir("root/sys")
	b.onRun = func(context.Context) (*runner_pb.RunResponse, error) {
		b.expectNames("root", "proc", "sys")
		b.expectNames("root/sys")
		return &runner_pb.RunResponse{}, nil
	}
	if _, err := b.Run(t.Context(), "root"); err != nil {
		t.Error(err)
	}
	b.expectNames("root", "sys")
}

func TestErrorOfTheNextRunnerPasses(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket, mountat.Proc, ample)
	b.mkdir("root")
	want := status.Error(codes.InvalidArgument, "Failed to start process")
	b.onRun = func(context.Context) (*runner_pb.RunResponse, error) { return nil, want }
	if _, err := b.Run(t.Context(), "root"); err != want {
		t.Errorf("got %v, want %v", err, want)
	}
	b.expectNames("root")
	b.onReady = func() error { return want }
	if err := b.CheckReadiness(); err != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestNothingRunsWithoutMountatd(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "socket"), mountat.Proc, ample)
	b.mkdir("root")
	_, err := b.Run(t.Context(), "root")
	expectStatus(t, err, codes.Unavailable, "cannot connect to mountatd")
	b.expectNames("root")
	expectStatus(t, b.CheckReadiness(), codes.Unavailable, "cannot connect to mountatd")
}

func TestBadInputRootsAreRefused(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket, mountat.Proc|mountat.Sysfs, ample)
	b.mkdir("root")
	b.mkdir("mount")
	b.mkdir("link is proc")
	b.mkdir("file is sys")
	if err := errors.Join(
		os.Symlink("root", b.in("link")),
		os.Symlink("/", b.in("link is proc/proc")),
		os.WriteFile(b.in("file"), nil, 0o600),
		os.WriteFile(b.in("file is sys/sys"), nil, 0o600),
		unix.Mount("tmpfs", b.in("mount"), "tmpfs", 0, ""),
		os.Mkdir(b.in("mount/root"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(b.in("mount"), unix.MNT_DETACH)

	for _, test := range []struct {
		inputRoot string
		code      codes.Code
		text      string
	}{
		{"", codes.Unavailable, "Failed to open input root directory"},
		{"missing", codes.Unavailable, "no such file"},
		{b.in("root"), codes.FailedPrecondition, "outside build directory"},
		{"../root", codes.FailedPrecondition, "outside build directory"},
		{"mount/root", codes.FailedPrecondition, "on another mount"},
		{"link", codes.InvalidArgument, "symbolic links"},
		{"link/proc", codes.InvalidArgument, "symbolic links"},
		{"file", codes.InvalidArgument, "not a directory"},
		{"ro\x00ot", codes.InvalidArgument, "invalid argument"},
		{strings.Repeat("x", 256), codes.InvalidArgument, "file name too long"},
		{"link is proc", codes.InvalidArgument, "proc below the root is a symbolic link"},
		{"file is sys", codes.InvalidArgument, "sys below the root, or the root itself, is not a directory"},
	} {
		_, err := b.Run(t.Context(), test.inputRoot)
		expectStatus(t, err, test.code, test.text)
	}
	b.expectNames("file is sys", "sys")
}

func TestMountsThatCannotBeRemovedFailTheAction(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket, mountat.Proc, 2*time.Second) // also for the mount
	b.mkdir("root")
	b.onRun = func(context.Context) (*runner_pb.RunResponse, error) {
		daemon.Freeze()
		return &runner_pb.RunResponse{}, nil
	}
	_, err := b.Run(t.Context(), "root")
	expectStatus(t, err, codes.Unavailable, "Failed to unmount")
	daemon.Continue()
	testdaemon.Eventually(t, "the mount is gone", func() bool { return daemon.Mounts() == 0 })
}

func TestMountatdThatDoesNotAnswerFailsTheAction(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket, mountat.Proc, short)
	b.mkdir("root")
	daemon.Freeze()
	_, err := b.Run(t.Context(), "root")
	expectStatus(t, err, codes.Unavailable, "Failed to mount")
	expectStatus(t, b.CheckReadiness(), codes.Unavailable, "Failed to check mounting")
	daemon.Continue()
	testdaemon.Eventually(t, "nothing is mounted late", func() bool {
		return daemon.Mounts() == 0 && os.Remove(b.in("root")) == nil
	})
}

func TestCancelationWhileMountingIsNoFailure(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket, mountat.Proc, ample)
	b.mkdir("root")
	daemon.Freeze()
	defer daemon.Continue()
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	_, err := b.Run(ctx, "root")
	expectStatus(t, err, codes.DeadlineExceeded, "")
}

func TestCancelationUnmountsBeforeTheActionTerminates(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket, mountat.Proc, ample)
	b.mkdir("root")
	ctx, cancel := context.WithCancel(t.Context())
	b.onRun = func(ctx context.Context) (*runner_pb.RunResponse, error) {
		cancel()
		<-ctx.Done()
		testdaemon.Eventually(t, "the mount is gone", func() bool { return daemon.Mounts() == 0 })
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if _, err := b.Run(ctx, "root"); err == nil {
		t.Error("the action succeeded")
	}
	b.expectNames("root")
}

func TestStopOfMountatdTerminatesTheAction(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket, mountat.Proc, ample)
	b.mkdir("root")
	b.onRun = func(ctx context.Context) (*runner_pb.RunResponse, error) {
		daemon.Stop()
		testdaemon.Eventually(t, "the action is canceled", func() bool { return ctx.Err() != nil })
		return &runner_pb.RunResponse{}, nil
	}
	_, err := b.Run(t.Context(), "root")
	expectStatus(t, err, codes.Unavailable, "mountatd stopped")
	b.expectNames("root")
}

func TestRestartOfMountatdIsNotNoticed(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket, mountat.Proc, ample)
	b.mkdir("root")
	b.onRun = func(ctx context.Context) (*runner_pb.RunResponse, error) {
		daemon.Kill(unix.SIGKILL)
		daemon.Restart()
		_, err := os.Readlink(b.in("root/proc/self/exe"))
		return &runner_pb.RunResponse{}, errors.Join(err, ctx.Err())
	}
	if _, err := b.Run(t.Context(), "root"); err != nil {
		t.Error(err)
	}
	b.expectNames("root")
}

func TestActionsRunAtTheSameTime(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket, mountat.Proc, ample)
	roots := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	var running, done sync.WaitGroup
	running.Add(len(roots))
	b.onRun = func(context.Context) (*runner_pb.RunResponse, error) {
		running.Done()
		running.Wait()
		return &runner_pb.RunResponse{}, nil
	}
	for _, root := range roots {
		b.mkdir(root)
		done.Go(func() {
			if _, err := b.Run(t.Context(), root); err != nil {
				t.Error(err)
				running.Done()
			}
		})
	}
	done.Wait()
	for _, root := range roots {
		b.expectNames(root)
	}
}

func TestReadinessIsThatOfTheBuildDirectoryAndTheNextRunner(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket, mountat.Proc|mountat.Sysfs|mountat.Dev, ample)
	asked := 0
	b.onReady = func() error { asked++; return nil }
	if err := b.CheckReadiness(); err != nil || asked != 1 {
		t.Errorf("got %v after asking %d times", err, asked)
	}

	daemon.Stop()
	daemon.SetOptions("--no-dev")
	daemon.Restart()
	expectStatus(t, b.CheckReadiness(), codes.Unavailable, "unsupported-file-system")

	if err := os.Remove(b.buildDirectory); err != nil {
		t.Fatal(err)
	}
	expectStatus(t, b.CheckReadiness(), codes.Unavailable, "Failed to open build directory")
	if asked != 1 {
		t.Errorf("the next runner was asked %d times", asked)
	}
}
