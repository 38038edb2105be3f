// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
)

// forward calls bb_runner with the same request, metadata, deadline and cancellation, and returns the same
// response, header, trailer and status. If bb_runner doesn't answer, the text of the status says so.
func (p *Proxy) forward(ctx context.Context, method string, request *emptypb.Empty) (*emptypb.Empty, error) {
	outgoing := ctx
	if received, ok := metadata.FromIncomingContext(ctx); ok {
		outgoing = metadata.NewOutgoingContext(ctx, received)
	}

	var header, trailer metadata.MD
	response := new(emptypb.Empty)
	err := p.runner.Invoke(outgoing, fullMethod(method), request, response,
		grpc.Header(&header), grpc.Trailer(&trailer))
	// These fail only without a server's context.
	_ = grpc.SetHeader(ctx, header)
	_ = grpc.SetTrailer(ctx, trailer)
	if ctx.Err() == nil {
		// A server's answer has a header or trailer; a status made by gRPC itself has neither.
		err = p.outage.judge(method, len(header)+len(trailer) > 0, err)
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}
