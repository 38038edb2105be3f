// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	mountat "github.com/mountatd/mountatd/client/go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
)

// brief is the timeout of tests in which mountatd doesn't answer.
const brief = 500 * time.Millisecond

func TestMain(m *testing.M) {
	os.Exit(testdaemon.Main(m))
}

// backend is a scripted runner.
type backend struct {
	onRun   func(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error)
	onReady func(ctx context.Context) error
	runs    atomic.Int64
}

func (b *backend) run(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
	b.runs.Add(1)
	if b.onRun == nil {
		return request, nil
	}
	return b.onRun(ctx, request)
}

func (b *backend) checkReadiness(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
	if b.onReady != nil {
		if err := b.onReady(ctx); err != nil {
			return nil, err
		}
	}
	return request, nil
}

// bench is a worker's connection to a proxy, with its runner and daemon.
type bench struct {
	t              *testing.T
	backend        backend
	buildDirectory string
	log            testdaemon.Log
	proxy          *Proxy
	connection     *grpc.ClientConn
	stopBackend    func()
	runnerSocket   string
}

// newBench starts a proxy between a gRPC client and a gRPC server. With socket "", no mountatd listens.
func newBench(t *testing.T, socket string) *bench {
	t.Helper()
	sockets, err := os.MkdirTemp("", "runner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	if socket == "" {
		socket = filepath.Join(sockets, "mountatd")
	}
	b := &bench{t: t, buildDirectory: t.TempDir()}

	b.runnerSocket = filepath.Join(sockets, "behind")
	b.serveBackend()
	runner, err := DialRunner(b.runnerSocket, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runner.Close() })
	b.proxy = New(Options{
		Runner:         runner,
		RunnerSocket:   b.runnerSocket,
		BuildDirectory: b.buildDirectory,
		Socket:         socket,
		Flags:          mountat.Proc | mountat.Sysfs | mountat.Create,
		MountTimeout:   10 * time.Second, // a busy machine takes its time; brief is for a mountatd that is silent
		ReleaseTimeout: 10 * time.Second,
		Registerer:     prometheus.NewRegistry(),
		Log:            slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	// Pauses that a test doesn't end are longer than the test.
	b.proxy.readiness.pauseMin, b.proxy.readiness.pauseMax = time.Hour, 4*time.Hour
	front := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.WaitForHandlers(true))
	b.proxy.Register(front)
	serve(t, front, filepath.Join(sockets, "front"))
	b.connection = dial(t, filepath.Join(sockets, "front"))
	return b
}

// serveBackend starts the runner, or restarts it after stopBackend.
func (b *bench) serveBackend() {
	b.t.Helper()
	server := grpc.NewServer(grpc.MaxRecvMsgSize(1 << 30))
	server.RegisterService(&serviceDesc, &b.backend)
	b.stopBackend = serve(b.t, server, b.runnerSocket)
}

// serveHealthAsRunner starts a server that isn't a runner.
func (b *bench) serveHealthAsRunner() {
	b.t.Helper()
	b.stopBackend()
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	serve(b.t, server, b.runnerSocket)
}

func serve(t *testing.T, server *grpc.Server, path string) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	stop = func() {
		server.Stop()
		listener.Close() // the server may not have it yet
	}
	t.Cleanup(stop)
	return stop
}

func dial(t *testing.T, path string) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient("unix:"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1<<30), grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return connection
}

// newRoot creates an input root, and returns its path as bb_worker would send it.
func (b *bench) newRoot(id string, names ...string) string {
	b.t.Helper()
	path := filepath.Join(b.buildDirectory, id, "root")
	if err := os.MkdirAll(path, 0o755); err != nil {
		b.t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Mkdir(filepath.Join(path, name), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	return id + "/root"
}

// in returns a path below the build directory.
func (b *bench) in(path ...string) string {
	return filepath.Join(append([]string{b.buildDirectory}, path...)...)
}

func (b *bench) run(request *emptypb.Empty, options ...grpc.CallOption) (*emptypb.Empty, error) {
	b.t.Helper()
	return b.runWith(testContext(b.t), request, options...)
}

func (b *bench) runWith(ctx context.Context, request *emptypb.Empty, options ...grpc.CallOption) (*emptypb.Empty, error) {
	response := new(emptypb.Empty)
	err := b.connection.Invoke(ctx, fullMethod(methodRun), request, response, options...)
	return response, err
}

func (b *bench) checkReadiness() error {
	b.t.Helper()
	return b.connection.Invoke(testContext(b.t), fullMethod(methodCheckReadiness), message(nil), message(nil))
}

// names lists a directory below the build directory.
func (b *bench) names(path ...string) []string {
	b.t.Helper()
	entries, err := os.ReadDir(b.in(path...))
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// checkNothingLeft checks mounts and created directories.
func (b *bench) checkNothingLeft(path string) {
	b.t.Helper()
	if left := b.names(path); len(left) != 0 {
		b.t.Errorf("left in %s: %q", path, left)
	}
}

// testContext ends a test that hangs.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
