// SPDX-License-Identifier: Apache-2.0

// Package proxy serves Buildbarn's runner protocol to bb_worker. It mounts /proc, /sys and /dev in the input
// root of each action and forwards the request to bb_runner.
//
// Messages are decoded as empty messages, which keep unknown fields, and so pass through unchanged. This
// needs no Buildbarn module and preserves fields of later versions. Unknown methods aren't forwarded: one
// might run an action without /proc.
package proxy

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	mountat "github.com/mountatd/mountatd/client/go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// ServiceName is the gRPC service of Buildbarn's runners.
const ServiceName = "buildbarn.runner.Runner"

// The text of a failure begins with its origin.
const (
	ofWorker   = "bb_worker: " // its request, or the input root
	ofRunner   = "bb_runner: "
	ofMountatd = "mountatd: "
	ofHost     = "this host: " // files, and this program's rights and limits
)

// Options are the options of a Proxy.
type Options struct {
	Runner         grpc.ClientConnInterface // bb_runner
	RunnerSocket   string                   // its path, for messages
	BuildDirectory string                   // as configured in bb_worker and bb_runner
	Socket         string                   // mountatd's, as for mountat.Dial
	Flags          mountat.Flags            // what to mount for each action
	MountTimeout   time.Duration            // for mountatd to answer
	ReleaseTimeout time.Duration            // for the unmount; then the action fails, and may be retried
	Registerer     prometheus.Registerer
	Log            *slog.Logger
}

// Proxy is a runner that forwards to bb_runner.
type Proxy struct {
	runner         grpc.ClientConnInterface
	buildDirectory string
	mounter        mounter
	readiness      readiness
	outage         outage
	running        atomic.Int64 // number of running actions
	metrics        *metrics
	log            *slog.Logger
	limited        *LimitedLog
}

// New returns a Proxy.
func New(options Options) *Proxy {
	metrics := newMetrics(options.Registerer)
	mounter := mounter{
		dialer:         &mountat.Dialer{Socket: options.Socket, MaxIdle: maxIdle},
		flags:          options.Flags,
		mountTimeout:   options.MountTimeout,
		releaseTimeout: options.ReleaseTimeout,
		absenceTimeout: absenceTimeout,
	}
	return &Proxy{
		runner:         options.Runner,
		buildDirectory: options.BuildDirectory,
		mounter:        mounter,
		readiness: readiness{
			log:      NewLimitedLog(options.Log, "readiness"),
			metrics:  metrics,
			what:     mounter.mountpoints(),
			pauseMin: pauseMin,
			pauseMax: pauseMax,
		},
		outage:  outage{log: NewLimitedLog(options.Log, "bb_runner"), metrics: metrics, socket: options.RunnerSocket},
		metrics: metrics,
		log:     options.Log,
		limited: NewLimitedLog(options.Log, "actions"),
	}
}

// Register registers p as the runner of a server.
func (p *Proxy) Register(registrar grpc.ServiceRegistrar) {
	registrar.RegisterService(&serviceDesc, p)
}

// runner is the interface that the server calls, implemented by Proxy.
type runner interface {
	checkReadiness(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error)
	run(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error)
}

const (
	methodCheckReadiness = "CheckReadiness"
	methodRun            = "Run"
)

var serviceDesc = grpc.ServiceDesc{
	ServiceName: ServiceName,
	HandlerType: (*runner)(nil),
	Methods: []grpc.MethodDesc{
		unary(methodCheckReadiness, runner.checkReadiness),
		unary(methodRun, runner.run),
	},
}

// unary describes a method like protoc's generated code.
func unary(name string, call func(runner, context.Context, *emptypb.Empty) (*emptypb.Empty, error)) grpc.MethodDesc {
	handle := func(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		request := new(emptypb.Empty)
		if err := decode(request); err != nil {
			return nil, err
		}
		handler := func(ctx context.Context, request any) (any, error) {
			return call(server.(runner), ctx, request.(*emptypb.Empty))
		}
		if interceptor == nil {
			return handler(ctx, request)
		}
		info := &grpc.UnaryServerInfo{Server: server, FullMethod: fullMethod(name)}
		return interceptor(ctx, request, info, handler)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handle}
}

func fullMethod(name string) string {
	return "/" + ServiceName + "/" + name
}
