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

// Window is how many bytes gRPC may have under way to this program. Where it isn't told, it measures what
// would be best, with a ping for each message, which is for networks.
const Window = 1 << 20

// DialRunner gives a connection to bb_runner's socket, and doesn't connect yet. A runner that comes
// back is noticed within a second: gRPC's own idea of backing off, up to two minutes, is for networks.
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

// connectRunner says what to do where it fails.
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
