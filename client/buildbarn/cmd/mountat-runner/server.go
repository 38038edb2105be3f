// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/proxy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// server is the program except its command line and signals.
type server struct {
	options  *options
	log      *slog.Logger
	registry *prometheus.Registry
	runner   *grpc.ClientConn
	proxy    *proxy.Proxy
	grpc     *grpc.Server
	health   *health.Server
	metrics  *http.Server
	requests *proxy.LimitedLog // of the metrics' server
	manager  *notifier

	listener        net.Listener
	metricsListener net.Listener // nil without --metrics
}

func newServer(o *options, log *slog.Logger) (*server, error) {
	if err := proxy.Probe(); err != nil {
		return nil, fmt.Errorf("this host: %w", err)
	}
	runner, err := proxy.DialRunner(o.runner, o.maxMessageSize)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), buildInfo(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s := &server{
		options:  o,
		log:      log,
		registry: registry,
		runner:   runner,
		health:   health.NewServer(),
		requests: proxy.NewLimitedLog(log, "requests for metrics"),
		// Without WaitForHandlers, the program could exit before the mounts are released.
		grpc: grpc.NewServer(grpc.MaxRecvMsgSize(o.maxMessageSize),
			grpc.MaxSendMsgSize(o.maxMessageSize), grpc.WaitForHandlers(true),
			grpc.InitialWindowSize(proxy.Window), grpc.InitialConnWindowSize(proxy.Window)),
	}
	s.proxy = newProxy(o, runner, registry, log)
	s.proxy.Register(s.grpc)
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus(proxy.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	return s, nil
}

// buildInfo is a metric that shows which versions a fleet runs.
func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "mountat_runner_build_info",
		Help:        "1, with the version as a label.",
		ConstLabels: prometheus.Labels{"version": version(), "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

func newProxy(o *options, runner *grpc.ClientConn, registry *prometheus.Registry, log *slog.Logger) *proxy.Proxy {
	return proxy.New(proxy.Options{
		Runner:         runner,
		RunnerSocket:   o.runner,
		BuildDirectory: o.buildDirectory,
		Socket:         o.mountatd,
		Flags:          o.mount,
		MountTimeout:   o.mountTimeout,
		ReleaseTimeout: o.releaseTimeout,
		Registerer:     registry,
		Log:            log,
	})
}

// run serves until ctx ends, then stops gracefully, or at once when kill is closed.
func (s *server) run(ctx context.Context, kill <-chan struct{}) error {
	if err := s.listen(); err != nil {
		return err
	}
	return s.serve(ctx, kill)
}

// listen binds the sockets of serve. If serve isn't called, the caller calls close.
func (s *server) listen() (err error) {
	s.listener, err = listenUnix(s.options.listen, s.options.listenMode)
	if err != nil {
		return fmt.Errorf("this host: cannot listen: %w", err)
	}
	if s.options.metrics == "" {
		return nil
	}
	s.metricsListener, err = listenMetrics(s.options.metrics)
	if err != nil {
		s.close()
		return fmt.Errorf("this host: cannot listen for metrics: %w: give another --metrics", err)
	}
	return nil
}

func (s *server) close() {
	s.runner.Close()
	s.listener.Close()
	if s.metricsListener != nil {
		s.metricsListener.Close()
	}
}

// serve is run after listen.
func (s *server) serve(ctx context.Context, kill <-chan struct{}) error {
	defer s.close() // a stop before gRPC has taken the listener leaves that open
	failed := make(chan error, 2)
	s.serveMetrics(failed)
	go func() { failed <- s.grpc.Serve(s.listener) }()
	s.manager = newNotifier(s.log)
	defer s.manager.close()
	s.manager.send("READY=1")
	reporting, stopReporting := context.WithCancel(ctx)
	defer stopReporting()
	go s.manager.report(reporting, s.proxy.Status)
	serving := []any{slog.String("listen", s.options.listen), slog.String("runner", s.options.runner)}
	if s.metricsListener != nil { // its port may be the kernel's choice
		serving = append(serving, slog.String("metrics", s.metricsListener.Addr().String()))
	}
	s.log.Info("serving", serving...)

	// Logs problems at the start, while the administrator is looking. They aren't fatal: mountatd and
	// bb_worker's FUSE mount may come later.
	go s.proxy.Check(ctx)

	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	s.stop(kill)
	return err
}

func (s *server) serveMetrics(failed chan<- error) {
	if s.metricsListener == nil {
		return
	}
	s.metrics = newMetricsServer(s.registry, metricsTimeout, s.requests)
	go s.serveHTTP(failed)
}

// metricsTimeout is for one of metricsConnections to send a request, to take the response, and to be idle.
const metricsTimeout = 10 * time.Second

func newMetricsServer(registry prometheus.Gatherer, timeout time.Duration, errorLog io.Writer) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return &http.Server{Handler: mux, ErrorLog: log.New(errorLog, "", 0),
		ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: timeout}
}

func (s *server) serveHTTP(failed chan<- error) {
	if err := s.metrics.Serve(s.metricsListener); !errors.Is(err, http.ErrServerClosed) {
		failed <- fmt.Errorf("metrics: %w", err)
	}
}

// stop accepts no more work, waits for running actions, and after --stop-timeout cancels them, which
// unmounts too.
func (s *server) stop(kill <-chan struct{}) {
	s.log.Info("stopping: waiting for running actions", slog.Duration("for", s.options.stopTimeout))
	s.manager.send("STOPPING=1\nSTATUS=stopping: waiting for running actions")
	s.health.Shutdown()
	stopped := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(s.options.stopTimeout):
		s.grpc.Stop()
	case <-kill:
		s.grpc.Stop()
	}
	<-stopped
	s.proxy.Flush()
	s.requests.Flush()
	if s.metrics != nil {
		s.metrics.Close()
	}
}
