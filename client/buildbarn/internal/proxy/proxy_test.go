// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

func TestMessagesPassUnchanged(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	path := b.newRoot("a")
	want := status.New(codes.DataLoss, "of the runner's")
	want, err := want.WithDetails(durationpb.New(7 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	request := runRequest(path, protowire.AppendString([]byte{5<<3 | 2}, "stderr")...)
	failing := false
	b.backend.onRun = func(ctx context.Context, got *emptypb.Empty) (*emptypb.Empty, error) {
		if !proto.Equal(got, request) {
			t.Errorf("the runner got %v, want %v", got, request)
		}
		received, _ := metadata.FromIncomingContext(ctx)
		if values := received.Get("who-bin"); !slices.Equal(values, []string{"me\x00", "and me"}) {
			t.Errorf("the runner got the metadata %q", values)
		}
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the runner got no deadline")
		}
		grpc.SetHeader(ctx, metadata.Pairs("h", "1"))
		grpc.SetTrailer(ctx, metadata.Pairs("t", "2"))
		if failing {
			return nil, want.Err()
		}
		return message(protowire.AppendString([]byte{2<<3 | 2}, "usage")), nil
	}

	ctx := metadata.AppendToOutgoingContext(testContext(t), "who-bin", "me\x00", "who-bin", "and me")
	for _, failing = range []bool{false, true} {
		var header, trailer metadata.MD
		response, err := b.runWith(ctx, request, grpc.Header(&header), grpc.Trailer(&trailer))
		if failing {
			if got := status.Convert(err); !proto.Equal(got.Proto(), want.Proto()) {
				t.Errorf("the worker got the status %v, want %v", got, want)
			}
		} else if err != nil ||
			!proto.Equal(response, message(protowire.AppendString([]byte{2<<3 | 2}, "usage"))) {
			t.Errorf("the worker got %v, %v", response, err)
		}
		if !slices.Equal(trailer.Get("t"), []string{"2"}) || (!failing && !slices.Equal(header.Get("h"), []string{"1"})) {
			t.Errorf("the worker got the header %v and the trailer %v", header, trailer)
		}
		b.checkNothingLeft(path)
	}
}

func TestALargeRequestPasses(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	path := b.newRoot("a")
	if _, err := b.run(runRequest(path, bytesField(20<<20)...)); err != nil {
		t.Error(err)
	}
	b.checkNothingLeft(path)
}

func TestAnUnknownMethodIsNotForwarded(t *testing.T) {
	b := newBench(t, "")
	err := b.connection.Invoke(testContext(t), fullMethod("RunLater"), message(nil), message(nil))
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}
