// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/proxy"
	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// running is a server with its sockets in a temporary directory.
type running struct {
	t          *testing.T
	log        testdaemon.Log
	directory  string
	connection *grpc.ClientConn
	stop       context.CancelFunc
	kill       chan struct{}
	ended      chan error
}

func start(t *testing.T, arguments ...string) *running {
	t.Helper()
	directory, err := os.MkdirTemp("", "runner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	o, err := parseOptions(append([]string{
		"--listen=" + directory + "/front", "--runner=" + directory + "/behind",
		"--build-directory=" + directory, "--metrics=" + directory + "/metrics",
		"--mountatd=" + directory + "/absent",
	}, arguments...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{t: t, directory: directory, stop: stop, kill: make(chan struct{}),
		ended: make(chan error, 1)}
	s, err := newServer(o, slog.New(slog.NewTextHandler(&r.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	go func() { r.ended <- s.run(ctx, r.kill) }()
	t.Cleanup(stop)
	r.connection, err = grpc.NewClient("unix:"+directory+"/front",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.connection.Close() })
	return r
}

func (r *running) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *running) waitForEnd() {
	r.t.Helper()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Error(err)
		}
	case <-time.After(20 * time.Second):
		r.t.Fatal("it doesn't end")
	}
}

// serveRunner starts a runner whose actions report that they run, and end with their context or the channel.
func (r *running) serveRunner(started chan<- struct{}, end <-chan struct{}) {
	r.t.Helper()
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
			return err
		}
		started <- struct{}{}
		select {
		case <-end:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		return stream.SendMsg(new(emptypb.Empty))
	}))
	listener, err := net.Listen("unix", r.directory+"/behind")
	if err != nil {
		r.t.Fatal(err)
	}
	go server.Serve(listener)
	r.t.Cleanup(server.Stop)
}

// runAction runs an action in a new input root.
func (r *running) runAction() <-chan error {
	r.t.Helper()
	if err := os.MkdirAll(r.directory+"/a/root", 0o755); err != nil {
		r.t.Fatal(err)
	}
	request := new(emptypb.Empty)
	request.ProtoReflect().SetUnknown(protowire.AppendString([]byte{6<<3 | 2}, "a/root"))
	result := make(chan error, 1)
	go func() {
		result <- r.connection.Invoke(r.context(), "/"+proxy.ServiceName+"/Run", request, new(emptypb.Empty))
	}()
	return result
}

func (r *running) checkNothingLeft() {
	r.t.Helper()
	if entries, err := os.ReadDir(r.directory + "/a/root"); err != nil || len(entries) > 0 {
		r.t.Errorf("left in the input root: %v, %v", entries, err)
	}
}

// scrape gets the metrics like Prometheus.
func (r *running) scrape() string {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.directory+"/metrics")
		},
	}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://localhost/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(body)
}

// A connection that sends nothing, and one that is idle.
func TestConnectionsForMetricsEnd(t *testing.T) {
	listener, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	server := newMetricsServer(prometheus.NewRegistry(), 50*time.Millisecond, io.Discard)
	go server.Serve(listener)
	defer server.Close()
	for _, request := range []string{"", "GET /metrics HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"} {
		connection, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		connection.SetReadDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(connection, request) // which a busy server may not read in time
		if _, err := io.Copy(io.Discard, connection); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q: %v", request, err)
		}
	}
}

// failing fails once as when descriptors run out, and then as when it is closed.
type failing struct {
	net.Listener
	failed bool
}

func (f *failing) Accept() (net.Conn, error) {
	if f.failed {
		return nil, net.ErrClosed
	}
	f.failed = true
	return nil, &net.OpError{Op: "accept", Err: unix.EMFILE}
}

func (f *failing) Close() error { return nil }

func TestErrorsOfTheServerForMetricsAreLogged(t *testing.T) {
	var text testdaemon.Log
	newMetricsServer(prometheus.NewRegistry(), time.Second, &text).Serve(new(failing))
	if text.Count("Accept error") != 1 {
		t.Errorf("the log is %q", text.String())
	}
}

func TestConnectionsForMetricsAreLimited(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", t.TempDir() + "/s"} {
		listener, err := listenMetrics(address)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		accepted := make(chan net.Conn)
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				accepted <- connection
			}
		}()
		for range metricsConnections + 1 {
			connection, err := net.Dial(listener.Addr().Network(), listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
		}
		var first net.Conn
		for range metricsConnections {
			first = <-accepted
		}
		select {
		case <-accepted:
			t.Fatal("one more is accepted")
		case <-time.After(100 * time.Millisecond):
		}
		first.Close()
		(<-accepted).Close()
	}
}

// Whoever holds connections for metrics leaves actions their descriptors.
func TestHeldConnectionsForMetricsTakeNoDescriptors(t *testing.T) {
	s := describe(t, "", "--metrics=127.0.0.1:0")
	s.wrap("prlimit", "--nofile=100")
	s.begin()
	served := regexp.MustCompile(`msg=serving .* metrics=(127\.0\.0\.1:[1-9]\d*)\n`)
	var address string
	testdaemon.Eventually(t, "the log has the port", func() bool {
		if found := served.FindStringSubmatch(s.stderr.String()); found != nil {
			address = found[1]
		}
		return address != ""
	})
	for range 150 {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
	}
	for range 20 {
		connection, err := grpc.NewClient("unix:"+s.directory+"/front",
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		health := grpc_health_v1.NewHealthClient(connection)
		if _, err := health.Check(s.context(), new(grpc_health_v1.HealthCheckRequest)); err != nil {
			t.Fatal(err)
		}
	}
	if s.stderr.Count("open files") != 0 {
		t.Errorf("the log is %q", s.stderr)
	}
}

// Every metric, label and label value in README.md's queries exists.
func TestTheQueriesOfTheManualAreAboutWhatIsServed(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t)
	health := grpc_health_v1.NewHealthClient(r.connection) // waits until it serves
	if _, err := health.Check(r.context(), new(grpc_health_v1.HealthCheckRequest)); err != nil {
		t.Fatal(err)
	}
	body := r.scrape()
	served := func(pattern string) bool { return regexp.MustCompile(`(?m)^` + pattern + ` \S+$`).MatchString(body) }
	blocks := regexp.MustCompile("(?s)```promql\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) != 3 {
		t.Errorf("%d blocks of queries", len(blocks))
	}
	for _, block := range blocks {
		for _, m := range regexp.MustCompile(`(mountat_runner_\w+)(?:\{(\w+)=~?"([^"]*)"\})?`).FindAllStringSubmatch(block[1], -1) {
			if !served(m[1] + `(\{.*\})?`) {
				t.Errorf("there is no %s", m[1])
			}
			for _, value := range strings.Split(m[3], "|") {
				if m[2] != "" && !served(m[1]+`\{`+m[2]+`="`+value+`"\}`) {
					t.Errorf("there is no %s{%s=%q}", m[1], m[2], value)
				}
			}
		}
		for _, m := range regexp.MustCompile(`by \(([\w, ]+)\)`).FindAllStringSubmatch(block[1], -1) {
			for _, label := range strings.Split(m[1], ", ") {
				if label != "instance" && !strings.Contains(body, label+`="`) { // added by Prometheus
					t.Errorf("there is no label %s", label)
				}
			}
		}
	}
	if !served(`mountat_runner_build_info\{goversion="go[^"]+",version="[^"]+"\}`) {
		t.Error("there is no version")
	}
}

func TestServesHealthAndMetrics(t *testing.T) {
	r := start(t)
	health := grpc_health_v1.NewHealthClient(r.connection)
	for _, service := range []string{"", proxy.ServiceName} {
		answer, err := health.Check(r.context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, answer, err)
		}
	}

	body := r.scrape()
	for _, name := range []string{
		"mountat_runner_actions_total 0", "mountat_runner_leases 0",
		`mountat_runner_failures_total{step="mount"} 0`, "mountat_runner_mount_duration_seconds_count 0",
		"mountat_runner_release_duration_seconds_count 0", "go_goroutines", "mountat_runner_ready 0",
		`mountat_runner_unready{reason="foreign-namespace"} 0`, `mountat_runner_failures_total{step="runner"} 0`,
	} {
		if !strings.Contains(body, name) {
			t.Errorf("there is no %s", name)
		}
	}
	r.stop()
	r.waitForEnd()
	if _, err := os.Lstat(r.directory + "/front"); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// It is logged even if no worker asks. And the server serves all the same.
func TestLogsAtStartWhetherItIsReady(t *testing.T) {
	daemon := testdaemon.Start(t)
	directory := t.TempDir()
	if err := os.Chown(directory, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"--mountatd=" + daemon.Socket, "--build-directory=" + directory}
	r := start(t, arguments...)
	testdaemon.Eventually(t, "the log has why it isn't ready", func() bool {
		return r.log.Count("not ready, so bb_worker takes no work: ") == 1
	})
	if r.log.Count("--build-directory="+directory+":") != 1 || r.log.Count("reason=not-authorised\n") != 1 {
		t.Errorf("the log is %q", r.log.String())
	}
	started, end := make(chan struct{}, 2), make(chan struct{})
	close(end)
	r.serveRunner(started, end)
	check := func() error {
		return r.connection.Invoke(r.context(), "/"+proxy.ServiceName+"/CheckReadiness", new(emptypb.Empty),
			new(emptypb.Empty))
	}
	if err := check(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not-authorised") {
		t.Errorf("CheckReadiness: %v", err)
	}

	daemon.Stop()
	daemon.SetOptions("--build-directory=" + directory)
	daemon.Restart()
	if err := check(); err != nil {
		t.Errorf("CheckReadiness: %v", err)
	}
	r.stop()
	r.waitForEnd()

	r = start(t, arguments...)
	testdaemon.Eventually(t, "the log has that it is ready", func() bool {
		return r.log.Count(`msg="ready:`) == 1
	})
	if n := r.log.Count("not ready"); n != 0 {
		t.Errorf("%d times it isn't", n)
	}
}

func TestAStopWaitsForWhatRuns(t *testing.T) {
	daemon := testdaemon.Start(t)
	r := start(t, "--mountatd="+daemon.Socket)
	started, end := make(chan struct{}, 1), make(chan struct{})
	r.serveRunner(started, end)
	result := r.runAction()
	<-started
	r.stop()
	select {
	case <-r.ended:
		t.Error("it ended with an action running")
	case <-time.After(100 * time.Millisecond):
	}
	if n := daemon.Mounts(); n != 2 {
		t.Errorf("%d mounts while it runs", n)
	}
	close(end)
	if err := <-result; err != nil {
		t.Errorf("the action: %v", err)
	}
	r.waitForEnd()
	r.checkNothingLeft()
}

// Both the end of --stop-timeout and a second signal cancel running actions, and unmount.
func TestAStopThatCannotWaitUnmounts(t *testing.T) {
	for name, arguments := range map[string][]string{
		"time is over":  {"--stop-timeout=50ms"},
		"second signal": {},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := testdaemon.Start(t)
			r := start(t, append(arguments, "--mountatd="+daemon.Socket)...)
			started := make(chan struct{}, 1)
			r.serveRunner(started, nil)
			result := r.runAction()
			<-started
			r.stop()
			if len(arguments) == 0 {
				close(r.kill)
			}
			if err := <-result; status.Code(err) == codes.OK {
				t.Error("the action ended well")
			}
			r.waitForEnd()
			if n := daemon.Mounts(); n != 0 {
				t.Errorf("%d mounts", n)
			}
			r.checkNothingLeft()
		})
	}
}

// The first instance goes on.
func TestASecondOneOnTheSameSocketSaysSo(t *testing.T) {
	r := start(t)
	health := grpc_health_v1.NewHealthClient(r.connection)
	check := func() {
		t.Helper()
		if _, err := health.Check(r.context(), new(grpc_health_v1.HealthCheckRequest)); err != nil {
			t.Error(err)
		}
	}
	check()
	s := describe(t, "", "--listen="+r.directory+"/front")
	s.begin()
	s.expectExit(1)
	if s.stderr.Count("front is in use by another program, perhaps another mountat-runner") != 1 {
		t.Errorf("the log is %q", s.stderr)
	}
	check()
	if connection, err := net.Dial("unix", r.directory+"/front"); err != nil {
		t.Errorf("it was taken away: %v", err)
	} else {
		connection.Close()
	}
	// The same with the port of the metrics.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s = describe(t, "", "--metrics="+taken.Addr().String())
	s.begin()
	s.expectExit(1)
	if s.stderr.Count("cannot listen for metrics") != 1 || s.stderr.Count("give another --metrics") != 1 {
		t.Errorf("the log is %q", s.stderr)
	}
}

// The status line of systemctl status.
func TestTheServiceManagerHearsWhatGoesOn(t *testing.T) {
	daemon := testdaemon.Start(t)
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	hear := func(wanted string) {
		t.Helper()
		var heard []string
		buffer := make([]byte, 4096)
		socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		for {
			n, err := socket.Read(buffer)
			if err != nil {
				t.Fatalf("%v instead of %q, after %q", err, wanted, heard)
			}
			if text := string(buffer[:n]); text == wanted {
				return
			} else {
				heard = append(heard, text)
			}
		}
	}

	r := start(t, "--mountatd="+daemon.Socket)
	hear("READY=1")
	hear("STATUS=0 actions running; ready")
	running, end := make(chan struct{}, 1), make(chan struct{})
	r.serveRunner(running, end)
	result := r.runAction()
	<-running
	hear("STATUS=1 action running; ready")
	close(end)
	if err := <-result; err != nil {
		t.Error(err)
	}
	hear("STATUS=0 actions running; ready")
	r.stop()
	hear("STOPPING=1\nSTATUS=stopping: waiting for running actions")
	r.waitForEnd()
}

func TestTheSocketHasItsModeAndReplacesAnOldOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, mode := range []fs.FileMode{0o600, 0o666} {
		listener, err := listenUnix(path, mode)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := listenUnix(path, mode); err == nil || !strings.Contains(err.Error(), path+" is in use by another program") {
			t.Errorf("while it is served: %v", err)
		}
		listener.(*net.UnixListener).SetUnlinkOnClose(false)
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%v, %v, want %v", info.Mode(), err, mode)
		}
		listener.Close()
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path, 0o600); err == nil {
		t.Error("a file was replaced")
	}
}

func TestHidesFromTracers(t *testing.T) {
	if err := hide(); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		t.Errorf("dumpable: %d, %v", dumpable, err)
	}
}
