// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Mount mounts below the directory root what flags say: all of it or nothing. Root stays the
// caller's; O_PATH is enough. The mountpoints are opened with this process' rights, never through a
// symbolic link (ELOOP) or into another mount ([StatusAlreadyMounted]).
//
// With [Create], directories that are missing are made with mode 0555 less the umask, and removed
// when the mount fails or the lease is released. A lease keeps one descriptor of the root.
//
// If the daemon goes away before it answers, it is asked again. It may have granted the lease at
// the very end, with nobody left to be told: then [StatusAlreadyMounted], and the text says so,
// until the mount is released at the end of the daemon's --adopt-timeout.
func (c *Client) Mount(ctx context.Context, root *os.File, flags Flags) (*Lease, error) {
	if err := flags.check(); err != nil {
		return nil, err
	}
	if err := c.connection.why(); err != nil {
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
	lease := newLease(c)
	lease.root, lease.targets = own, targets
	return c.mount(ctx, lease, fds)
}

// Target is a directory to mount on, for [Client.MountTargets].
type Target struct {
	Directory  *os.File // stays the caller's; O_PATH is enough
	FileSystem FileSystem
	Options    Option
}

// MountTargets mounts on 1 to 16 directories, all of them or none. The daemon wants them named proc
// or sys, and owned by this user or below a build directory of the administrator's. A lease keeps a
// descriptor per target. If the daemon goes away: as [Client.Mount] has it.
func (c *Client) MountTargets(ctx context.Context, targets ...Target) (*Lease, error) {
	if len(targets) < 1 || len(targets) > protocolTargetsMax {
		return nil, fmt.Errorf("mountatd: mount: a request has 1 to %d targets, not %d: %w",
			protocolTargetsMax, len(targets), unix.EINVAL)
	}

	lease := newLease(c)
	var fds []int
	for i, target := range targets {
		file, err := duplicate(target.Directory)
		if err != nil {
			lease.close()
			return nil, fmt.Errorf("mountatd: mount: target %d: %w", i, err)
		}
		lease.directories = append(lease.directories, file)
		lease.targets = append(lease.targets, wireTarget{target.FileSystem, target.Options})
		fds = append(fds, int(file.Fd())) // nobody else closes it before the lease does
	}
	return c.mount(ctx, lease, fds)
}

// mount takes the lease's files, also on failure. The descriptors stay the caller's.
func (c *Client) mount(ctx context.Context, lease *Lease, fds []int) (*Lease, error) {
	q := inquiry{request: request{operation: operationMount, targets: lease.targets}, fds: fds}
	err := c.askMount(ctx, &q)
	switch {
	case err == nil && q.reply.status == StatusOK:
		lease.id = q.reply.lease
		c.connection.add(lease, q.channel)
		return lease, nil
	case err == nil:
		lease.abandon(q.inDoubt)
		return nil, explainMount(&q)
	case q.call != nil:
		if lease.root != nil {
			lease.root.clear() // a directory that is gone can't be mounted on any more
		}
		go lease.disown(&q)
	default:
		lease.abandon(q.inDoubt)
	}
	return nil, failed(operationMount, err)
}

const (
	sweepPatience = 2 * time.Second // in which an instance undoes what its predecessor had half done
	sweepPause    = 20 * time.Millisecond
)

// askMount: asked again after a loss, "already mounted" can be our own first attempt. What was half
// done, the next instance undoes at once: that is waited for.
func (c *Client) askMount(ctx context.Context, q *inquiry) error {
	var sweep time.Time
	for {
		err := c.connection.ask(ctx, q)
		if err != nil || !q.inDoubt || q.reply.status != StatusAlreadyMounted {
			return err
		}
		if sweep.IsZero() {
			sweep = time.Now().Add(sweepPatience)
		}
		if time.Now().After(sweep) {
			return nil
		}
		select {
		case <-time.After(sweepPause):
		case <-ctx.Done():
			return nil
		}
	}
}

func explainMount(q *inquiry) error {
	refusal := newReplyError(operationMount, q.reply, len(q.request.targets))
	if q.inDoubt && refusal.Status == StatusAlreadyMounted {
		refusal.Text = "mountatd went away before it answered, and something is mounted now: either " +
			"it was before, or mountatd had granted the mount at the very end: then it is released " +
			"within its --adopt-timeout"
	}
	return refusal
}
