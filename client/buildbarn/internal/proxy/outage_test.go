// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

func (b *bench) runnerFailures() float64 {
	return testutil.ToFloat64(b.proxy.metrics.failures.WithLabelValues(stepRunner))
}

// expectOutages checks how many outages began and ended in the log.
func (b *bench) expectOutages(began, ended int) {
	b.t.Helper()
	for text, want := range map[string]int{`level=WARN msg="bb_runner: `: began, `msg="bb_runner: answers again"`: ended} {
		if got := b.log.Count(text); got != want {
			b.t.Errorf("the log has %s %d times instead of %d:\n%s", text, got, want, b.log.String())
		}
	}
}

func TestFailuresOfTheRunnerAreCountedAndLoggedOncePerOutage(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	path := b.newRoot("a")
	var answer error
	b.backend.onRun = func(_ context.Context, request *emptypb.Empty) (*emptypb.Empty, error) { return request, answer }
	run := func(err error) {
		t.Helper()
		answer = err
		if _, got := b.run(runRequest(path)); status.Code(got) != status.Code(err) ||
			status.Convert(got).Message() != status.Convert(err).Message() {
			t.Errorf("bb_worker got %v, bb_runner said %v", got, err)
		}
	}
	run(nil)
	run(status.Error(codes.InvalidArgument, "no such program"))
	b.expectOutages(0, 0)
	for range 3 {
		run(status.Error(codes.Internal, "cannot chroot"))
		b.expectReady(1) // CheckReadiness still succeeds, which doesn't end the outage
	}
	b.expectOutages(1, 0)
	if got := b.runnerFailures(); got != 3 {
		t.Errorf("%v failures are counted", got)
	}
	if got := b.proxy.Status(); got != "0 actions running; not ready: bb_runner: cannot chroot" {
		t.Errorf("the status is %q", got)
	}
	run(status.Error(codes.InvalidArgument, "no such program"))
	b.expectOutages(1, 1)
	if b.log.Count("failed=3\n") != 1 || b.log.Count("step=runner method=Run code=Internal\n") != 1 {
		t.Errorf("the log is %s", b.log.String())
	}
	run(status.Error(codes.Internal, "again"))
	run(nil)
	b.expectOutages(2, 2)
	if got := b.proxy.Status(); got != "0 actions running; ready" {
		t.Errorf("the status is %q", got)
	}

	b.backend.onReady = func(context.Context) error { return status.Error(codes.Unavailable, "not yet") }
	for range 2 {
		if err := b.checkReadiness(); status.Convert(err).Message() != "not yet" {
			t.Errorf("readiness: %v", err)
		}
	}
	b.expectOutages(3, 2)
	b.backend.onReady = nil
	b.expectReady(1)
	b.expectOutages(3, 3)
}

func TestAnActionIsOneLineOfDebugging(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	b.backend.onRun = func(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
		if got := b.proxy.Status(); got != "1 action running; starting" {
			t.Errorf("the status is %q", got)
		}
		return nil, status.Error(codes.Internal, "of bb_runner's")
	}
	b.run(runRequest(b.newRoot("a")))
	b.run(runRequest("../b"))
	lines := strings.Split(b.log.String(), "\n")
	var debugged []string
	for _, line := range lines {
		if _, found, is := strings.Cut(line, "level=DEBUG msg=action "); is {
			debugged = append(debugged, found)
		}
	}
	if len(debugged) != 2 {
		t.Fatalf("%d lines: %q", len(debugged), debugged)
	}
	for _, text := range []string{"input_root=a/root ", "code=Internal ", "lease=", "mount=", "run=", "release=",
		`error="of bb_runner's"`} {
		if !strings.Contains(debugged[0], text) {
			t.Errorf("there is no %q in %q", text, debugged[0])
		}
	}
	if debugged[1] != `input_root=../b code=InvalidArgument error="bb_worker: input_root_directory contains \"..\""` {
		t.Errorf("the second is %q", debugged[1])
	}
}

// In the journal slog quotes it; bb_worker gets the same text.
func TestTheRunnersTextIsEscapedInTheStatus(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	const text = "a\nb \x1b]0;title\x07 \x1b[31m \u202e \r c\\x07"
	b.backend.onReady = func(context.Context) error { return status.Error(codes.Internal, text) }
	if err := b.checkReadiness(); status.Convert(err).Message() != text {
		t.Errorf("bb_worker got %v", err)
	}
	const want = `bb_runner: a b \x1b]0;title\x07 \x1b[31m \xe2\x80\xae \x0d c\x07`
	if got := b.proxy.Status(); got != "0 actions running; not ready: "+want {
		t.Errorf("the status is %q", got)
	}
	if b.log.Count("\x1b") != 0 || b.log.Count("\u202e") != 0 || b.log.Count(`\x1b]0;title`) != 1 {
		t.Errorf("the log is %q", b.log.String())
	}
}

// Other things than a working bb_runner at --runner.
func TestASocketThatIsNotTheRunners(t *testing.T) {
	daemon := testdaemon.Start(t)
	for _, c := range []struct {
		name   string
		put    func(t *testing.T, path string)
		code   codes.Code
		wanted string
	}{
		{"missing", func(*testing.T, string) {}, codes.Unavailable, "no such file or directory: is bb_runner running"},
		{"refusing", refusing, codes.Unavailable, "connection refused: is bb_runner running"},
		{"a file", regular, codes.Unavailable, "connection refused: is bb_runner running"},
		{"a datagram socket", datagram, codes.Unavailable, "is --runner bb_runner's socket?"},
		{"closes", accepting((net.Conn).Close), codes.Unavailable, "is that bb_runner's socket? See its log"},
		{"garbage", accepting(garbage), codes.Unavailable, "is that bb_runner's socket? See its log"},
		{"never answers", accepting(nil), codes.Unavailable, "is that bb_runner's socket? See its log"},
		{"another server", web, codes.Unavailable, "is that bb_runner's socket? See its log"},
		{"another gRPC server", nil, codes.Unimplemented, "unknown service"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, daemon.Socket)
			path := b.newRoot("a")
			if c.put == nil {
				b.serveHealthAsRunner()
			} else {
				b.stopBackend()
				c.put(t, b.runnerSocket)
			}
			for range 2 {
				_, err := b.run(runRequest(path))
				if status.Code(err) != c.code || !strings.Contains(fmt.Sprint(err), c.wanted) {
					t.Errorf("Run: %v", err)
				}
			}
			if err := b.checkReadiness(); status.Code(err) != c.code {
				t.Errorf("readiness: %v", err)
			}
			if got := b.runnerFailures(); got != 3 {
				t.Errorf("%v failures are counted", got)
			}
			b.expectOutages(1, 0)
			b.checkNothingLeft(path)
			if n := daemon.Mounts(); n != 0 {
				t.Errorf("%d mounts", n)
			}
		})
	}
}

// regular, refusing and datagram create files that can't be connected to.
func regular(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
}

func refusing(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
}

func datagram(t *testing.T, path string) {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
}

// accepting does one thing, or nothing, with each connection.
func accepting(with func(net.Conn) error) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				connection, err := listener.Accept()
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

func garbage(connection net.Conn) error {
	_, err := io.WriteString(connection, strings.Repeat("\x00\xff", 5000))
	return err
}

// web is a server of HTTP/1.1.
func web(t *testing.T, path string) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
}

func TestARunnerThatDiesDuringAnAction(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	b.backend.onRun = func(ctx context.Context, _ *emptypb.Empty) (*emptypb.Empty, error) {
		go b.stopBackend()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := b.run(runRequest(path))
	if status.Code(err) != codes.Unavailable || !strings.Contains(fmt.Sprint(err), "bb_runner: no answer") {
		t.Errorf("got %v", err)
	}
	b.checkNothingLeft(path)
	if n := daemon.Mounts(); n != 0 {
		t.Errorf("%d mounts", n)
	}
	b.expectOutages(1, 0)

	b.backend.onRun = nil
	b.serveBackend()
	testdaemon.Eventually(t, "it is connected to again", func() bool {
		_, err := b.run(runRequest(path))
		return err == nil
	})
	b.expectOutages(1, 1)
}

// bb_worker's deadline ends it, as without this program, and doesn't count as a failure.
func TestARunnerThatNeverAnswers(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	b.backend.onRun = func(ctx context.Context, _ *emptypb.Empty) (*emptypb.Empty, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
	defer cancel()
	if _, err := b.runWith(ctx, runRequest(path)); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	testdaemon.Eventually(t, "nothing left", func() bool {
		return daemon.Mounts() == 0 && len(b.names(path)) == 0
	})
	if got := b.runnerFailures(); got != 0 {
		t.Errorf("%v failures are counted", got)
	}
}

// The limit applies to gRPC messages in both directions.
func TestMessagesOfTheLimitAndAboveIt(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	path := b.newRoot("a")
	fill := func(request *emptypb.Empty, size int) *emptypb.Empty {
		fields := request.ProtoReflect().GetUnknown()
		left := size - len(fields)
		padding := left - len(bytesField(left)) + left // minus the tag and the length
		filled := message(append(fields[:len(fields):len(fields)], bytesField(padding)...))
		if got := len(filled.ProtoReflect().GetUnknown()); got != size {
			t.Fatalf("a message of %d bytes instead of %d", got, size)
		}
		return filled
	}
	const limit = 64 << 20 // newBench's
	for _, c := range []struct {
		request, response int
		code              codes.Code
	}{
		{limit, 0, codes.OK}, {limit + 1, 0, codes.ResourceExhausted},
		{0, limit, codes.OK}, {0, limit + 1, codes.ResourceExhausted},
	} {
		request, response := runRequest(path), message(nil)
		if c.request > 0 {
			request = fill(request, c.request)
		}
		if c.response > 0 {
			response = fill(response, c.response)
		}
		b.backend.onRun = func(_ context.Context, got *emptypb.Empty) (*emptypb.Empty, error) { return response, nil }
		_, err := b.run(request)
		if status.Code(err) != c.code {
			t.Errorf("%+v: got %v", c, err)
		}
		b.checkNothingLeft(path)
	}
	if got := b.backend.runs.Load(); got != 3 {
		t.Errorf("%d were run", got)
	}
	b.expectOutages(1, 0)
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
