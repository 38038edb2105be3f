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

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	mountat "github.com/mountatd/mountatd/client/go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
