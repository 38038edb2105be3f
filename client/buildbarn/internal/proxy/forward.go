// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
)

// forwarding is a request to the runner behind. It is announced first, so that bb_runner can make ready
// for it while there is something else to be done.
type forwarding struct {
	proxy           *Proxy
	ctx             context.Context
	method          string
	stream          grpc.ClientStream
	header, trailer metadata.MD
}

// forward asks the runner behind: same request, metadata, deadline and cancellation; same response,
// header, trailer and status. Where the runner doesn't answer, the text of the status says so.
func (p *Proxy) forward(ctx context.Context, method string, request *emptypb.Empty) (*emptypb.Empty, error) {
	f, err := p.announce(ctx, method)
	if err != nil {
		return nil, err
	}
	return f.send(request)
}

// announce sends all but the request. Until that is sent nothing is run, and nothing is if ctx ends
// before. It must end.
func (p *Proxy) announce(ctx context.Context, method string) (*forwarding, error) {
	outgoing := ctx
	if received, ok := metadata.FromIncomingContext(ctx); ok {
		outgoing = metadata.NewOutgoingContext(ctx, received)
	}
	f := &forwarding{proxy: p, ctx: ctx, method: method}
	var err error
	f.stream, err = p.runner.NewStream(outgoing, &grpc.StreamDesc{}, fullMethod(method),
		grpc.Header(&f.header), grpc.Trailer(&f.trailer))
	if err != nil {
		return nil, f.judge(err)
	}
	return f, nil
}

func (f *forwarding) send(request *emptypb.Empty) (*emptypb.Empty, error) {
	response := new(emptypb.Empty)
	err := f.stream.SendMsg(request)
	if err == nil || errors.Is(err, io.EOF) { // the stream has ended: why, is received
		err = f.stream.RecvMsg(response)
	}
	// These fail for want of a server's context alone.
	_ = grpc.SetHeader(f.ctx, f.header)
	_ = grpc.SetTrailer(f.ctx, f.trailer)
	if err = f.judge(err); err != nil {
		return nil, err
	}
	return response, nil
}

// judge leaves out what the caller itself ended.
func (f *forwarding) judge(err error) error {
	if f.ctx.Err() != nil {
		return err
	}
	// Whatever a server answers has its content-type: gRPC makes no status of its own with one.
	return f.proxy.outage.judge(f.method, len(f.header)+len(f.trailer) > 0, err)
}
