// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// Window is gRPC's flow-control window in bytes. Without a fixed one, gRPC estimates it with a ping per
// message, which pays only on a network.
const Window = 1 << 20

// DialRunner returns a client of bb_runner's socket, and doesn't connect yet. It retries every second, so
// that a restarted runner is found soon; gRPC's default backs off for up to two minutes.
func DialRunner(path string, maxMessageSize int) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(Window), grpc.WithInitialConnWindowSize(Window),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return connectRunner(ctx, path)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  50 * time.Millisecond,
				Multiplier: 1.6,
				Jitter:     0.2,
				MaxDelay:   time.Second,
			},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize),
			grpc.MaxCallSendMsgSize(maxMessageSize)))
}

// connectRunner connects, and adds to an error what to do.
func connectRunner(ctx context.Context, path string) (net.Conn, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, runnerCure(err))
	}
	return connection, nil
}

func runnerCure(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return "is bb_runner running, and is --runner a path in the listenPaths of its grpcServers?"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("uid %d must be able to connect: set UMask=0000 in bb_runner's unit, or umask 0 "+
			"(setUmask) in its configuration, and let that uid enter the socket's directory", os.Geteuid())
	case isExhausted(err):
		return cureOfHost(err)[2:]
	}
	return "is --runner bb_runner's socket?"
}
