// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"os"
	"time"

	mountat "github.com/mountatd/mountatd/client/go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// For how long a daemon that isn't there is waited for: without socket activation, one that is being
// restarted is away for a moment.
const absencePatience = time.Second

// mounter gets leases from mountatd. Each has a connection of its own: when this program is killed,
// the kernel closes it, and the daemon unmounts.
type mounter struct {
	socket         string
	flags          mountat.Flags
	mountTimeout   time.Duration
	releaseTimeout time.Duration
}

// hold is a lease with its connection.
type hold struct {
	client  *mountat.Client
	lease   *mountat.Lease
	timeout time.Duration
}

// check asks whether the daemon is there. Errors are gRPC statuses.
func (m *mounter) check(ctx context.Context) error {
	timed, cancel := context.WithTimeout(ctx, m.mountTimeout)
	defer cancel()
	client, err := m.dial(timed)
	if err != nil {
		return m.failed(ctx, err)
	}
	defer client.Close()
	if _, err := client.Hello(timed); err != nil {
		return m.failed(ctx, err)
	}
	return nil
}

// mount mounts below root, which stays the caller's. Errors are gRPC statuses.
func (m *mounter) mount(ctx context.Context, root *os.File) (*hold, error) {
	timed, cancel := context.WithTimeout(ctx, m.mountTimeout)
	defer cancel()
	client, err := m.dial(timed)
	if err != nil {
		return nil, m.failed(ctx, err)
	}
	lease, err := client.Mount(timed, root, m.flags)
	if err != nil {
		client.Close()
		return nil, m.failed(ctx, err)
	}
	return &hold{client, lease, m.releaseTimeout}, nil
}

func (m *mounter) dial(ctx context.Context) (*mountat.Client, error) {
	giveUp := time.Now().Add(absencePatience)
	for {
		client, err := mountat.Dial(ctx, m.socket)
		isAbsent := errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
		if !isAbsent || ctx.Err() != nil || time.Now().After(giveUp) {
			return client, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// failed makes a status of an error of the daemon's or its client's: the caller's own end first,
// then what is wrong with the action's files. All else is this machine's trouble, and may be
// tried again.
func (m *mounter) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	switch {
	case errors.Is(err, mountat.StatusNotADirectory), errors.Is(err, unix.ELOOP):
		return status.Errorf(codes.InvalidArgument, "the input root cannot get /proc and /sys: %v", err)
	case errors.Is(err, context.DeadlineExceeded):
		return status.Errorf(codes.Unavailable, "mountatd didn't answer within %v: %v", m.mountTimeout,
			err)
	}
	return status.Errorf(codes.Unavailable, "/proc and /sys cannot be mounted: %v", err)
}

// lost is closed when the mounts are gone, or are about to be, without release having been called.
// A daemon that is restarted keeps them.
func (h *hold) lost() <-chan struct{} {
	return h.lease.Done()
}

// release unmounts and ends the connection. When it returns nil the input root is as it was.
func (h *hold) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	defer h.client.Close()
	return h.lease.Release(ctx)
}
