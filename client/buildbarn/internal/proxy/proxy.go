// SPDX-License-Identifier: Apache-2.0

// Package proxy stands between bb_worker and bb_runner. It serves Buildbarn's runner protocol, gives
// the input root of each action /proc, /sys and /dev, and forwards.
//
// Messages pass through as they are: they are decoded as empty messages, whose unknown fields are
// kept. So no Buildbarn module is needed, and fields of later versions survive. A method that isn't
// known here is not forwarded: it might run something without /proc.
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

// The text of a failure begins with whose it is.
const (
	ofWorker   = "bb_worker: " // what it asked for, or made
	ofRunner   = "bb_runner: "
	ofMountatd = "mountatd: "
	ofHost     = "this host: " // files, and this program's rights and limits
)

// Options say what a Proxy is between, and what it does.
type Options struct {
	Runner         grpc.ClientConnInterface // bb_runner
	RunnerSocket   string                   // its path, for a person
	BuildDirectory string                   // as bb_worker and bb_runner know it
	Socket         string                   // mountatd's, as mountat.Dial takes it
	Flags          mountat.Flags            // what every action gets
	MountTimeout   time.Duration            // for mountatd to answer
	ReleaseTimeout time.Duration            // after that the action fails, and may be tried again
	Registerer     prometheus.Registerer
	Log            *slog.Logger
}

// Proxy is a runner that forwards to another one.
type Proxy struct {
	runner         grpc.ClientConnInterface
	buildDirectory string
	mounter        mounter
	readiness      readiness
	outage         outage
	running        atomic.Int64 // actions
	metrics        *metrics
	log            *slog.Logger
}

// New makes a Proxy.
func New(options Options) *Proxy {
	metrics := newMetrics(options.Registerer)
	mounter := mounter{
		dialer:         &mountat.Dialer{Socket: options.Socket, MaxIdle: maxIdle},
		flags:          options.Flags,
		mountTimeout:   options.MountTimeout,
		releaseTimeout: options.ReleaseTimeout,
	}
	return &Proxy{
		runner:         options.Runner,
		buildDirectory: options.BuildDirectory,
		mounter:        mounter,
		readiness: readiness{
			log:      options.Log,
			metrics:  metrics,
			what:     mounter.mountpoints(),
			pauseMin: pauseMin,
			pauseMax: pauseMax,
		},
		outage:  outage{log: options.Log, metrics: metrics, socket: options.RunnerSocket},
		metrics: metrics,
		log:     options.Log,
	}
}

// Register makes p the runner of a server.
func (p *Proxy) Register(registrar grpc.ServiceRegistrar) {
	registrar.RegisterService(&serviceDesc, p)
}

// runner is what a server calls; Proxy is one.
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

// unary describes a method, as protoc's plugin would.
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
