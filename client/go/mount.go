// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mount mounts below the directory root what flags say: all of it or nothing. Root stays the
// caller's; O_PATH is enough. The mountpoints are opened with this process' rights, never through a
// symbolic link (ELOOP) or into another mount ([StatusAlreadyMounted]).
//
// With [Create], directories that are missing are made with mode 0555 less the umask, and removed
// when the mount fails or the lease is released. A lease keeps one descriptor of the root.
func (c *Client) Mount(ctx context.Context, root *os.File, flags Flags) (*Lease, error) {
	if err := flags.check(); err != nil {
		return nil, err
	}
	if err := c.channel.why(); err != nil {
		return nil, failed(operationMount, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, failed(operationMount, err)
	}

	own, err := openRoot(root, flags)
	if err != nil {
		return nil, err
	}
	targets, fds, err := own.openTargets()
	if err != nil {
		own.clear()
		own.file.Close()
		return nil, err
	}
	defer closeAll(fds)
	return c.mount(ctx, own, targets, fds)
}

// Target is a directory to mount on, for [Client.MountTargets].
type Target struct {
	Directory  *os.File // stays the caller's; O_PATH is enough
	FileSystem FileSystem
	Options    Option
}

// MountTargets mounts on 1 to 16 directories, all of them or none. The daemon wants them named proc
// or sys, and owned by this user or below a build directory of the administrator's.
func (c *Client) MountTargets(ctx context.Context, targets ...Target) (*Lease, error) {
	if len(targets) < 1 || len(targets) > protocolTargetsMax {
		return nil, fmt.Errorf("mountatd: mount: a request has 1 to %d targets, not %d: %w",
			protocolTargetsMax, len(targets), unix.EINVAL)
	}

	var wires []wireTarget
	var fds []int
	defer func() { closeAll(fds) }()
	for i, target := range targets {
		err := control(target.Directory, func(original int) error {
			fd, err := unix.FcntlInt(uintptr(original), unix.F_DUPFD_CLOEXEC, 3)
			if err == nil {
				fds = append(fds, fd)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("mountatd: mount: target %d: %w", i, err)
		}
		wires = append(wires, wireTarget{target.FileSystem, target.Options})
	}
	return c.mount(ctx, nil, wires, fds)
}

// mount takes root, which may be nil, also on failure. The descriptors stay the caller's.
func (c *Client) mount(ctx context.Context, root *root, targets []wireTarget, fds []int) (*Lease, error) {
	lease := &Lease{client: c, root: root, targets: targets}
	call, err := c.channel.start(ctx, &request{operation: operationMount, targets: targets}, fds)
	if err != nil {
		lease.drop()
		return nil, failed(operationMount, err)
	}

	reply, err := call.wait(ctx)
	switch {
	case errors.Is(err, ErrLost):
		if !lease.tryClear() { // it may have been mounted all the same
			go lease.clear()
		}
		return nil, failed(operationMount, err)
	case err != nil:
		lease.tryClear() // a directory that is gone can't be mounted on any more
		go lease.disown(call)
		return nil, failed(operationMount, err)
	case reply.status != StatusOK:
		lease.drop()
		return nil, newReplyError(operationMount, reply, len(targets))
	}
	lease.id = reply.lease
	return lease, nil
}
