// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
)

// forward asks the runner behind: same request, metadata, deadline and cancellation; same response,
// header, trailer and status. Where the runner doesn't answer, the text of the status says so.
func (p *Proxy) forward(ctx context.Context, method string, request *emptypb.Empty) (*emptypb.Empty, error) {
	outgoing := ctx
	if received, ok := metadata.FromIncomingContext(ctx); ok {
		outgoing = metadata.NewOutgoingContext(ctx, received)
	}

	var header, trailer metadata.MD
	response := new(emptypb.Empty)
	err := p.runner.Invoke(outgoing, fullMethod(method), request, response,
		grpc.Header(&header), grpc.Trailer(&trailer))
	// These fail for want of a server's context alone.
	_ = grpc.SetHeader(ctx, header)
	_ = grpc.SetTrailer(ctx, trailer)
	if ctx.Err() == nil {
		// Whatever a server answers has its content-type: gRPC makes no status of its own with one.
		err = p.outage.judge(method, len(header)+len(trailer) > 0, err)
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}
