// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Mount mounts below the directory root what flags say: all of it or nothing. Root stays the
// caller's; O_PATH is enough. The mountpoints are opened with this process' rights, never through a
// symbolic link (ELOOP) or into another mount ([StatusAlreadyMounted]); one of this user's own that
// is about to go, because its client was closed, is waited for, a second at most.
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
	if errors.Is(err, StatusAlreadyMounted) {
		c.awaitLeaving(ctx, own)
		targets, fds, err = own.openTargets()
	}
	if err != nil {
		own.clear()
		own.file.Close()
		return nil, err
	}
	defer closeAll(fds)
	lease := newLease(c)
	lease.root, lease.targets, lease.kept = own, targets, flags&Keep != 0
	return c.mount(ctx, lease, fds)
}

// awaitLeaving: a lease that is let go by closing its connection is released a moment later. Who
// comes back at once meets its own mounts, and the daemon answers a question about those when they
// are gone. Whatever it says: what counts is whether the directory can be opened then.
func (c *Client) awaitLeaving(ctx context.Context, own *root) {
	for i := range fileSystems {
		mountpoint := &fileSystems[i]
		if own.flags&mountpoint.flag == 0 {
			continue
		}
		fd, err := own.openMount(mountpoint.name)
		if err != nil {
			continue
		}
		file := os.NewFile(uintptr(fd), mountpoint.name)
		_ = c.Check(ctx, Target{Directory: file, FileSystem: mountpoint.fileSystem})
		file.Close()
	}
}

// Target is a directory to mount on, for [Client.MountTargets].
type Target struct {
	Directory  *os.File // stays the caller's; O_PATH is enough
	FileSystem FileSystem
	Options    Option
}

// MountTargets mounts on 1 to 16 directories, all of them or none. The daemon wants them named proc,
// sys or dev, and owned by this user or below a build directory of the administrator's. A lease keeps a
// descriptor per target. If the daemon goes away: as [Client.Mount] has it.
func (c *Client) MountTargets(ctx context.Context, targets ...Target) (*Lease, error) {
	lease, fds, err := c.openTargets(targets)
	if err != nil {
		return nil, err
	}
	return c.mount(ctx, lease, fds)
}

// MountTargetsKept is [Client.MountTargets] with a kept lease: see [Keep].
func (c *Client) MountTargetsKept(ctx context.Context, targets ...Target) (*Lease, error) {
	lease, fds, err := c.openTargets(targets)
	if err != nil {
		return nil, err
	}
	lease.kept = true
	return c.mount(ctx, lease, fds)
}

// Check tells whether the daemon would mount on 1 to 16 directories: nil, or the error that the
// mount would give. Nothing is mounted. A directory by another name than those, or a build directory
// of the administrator's, is judged as a mountpoint of the same owner right below it would
// be, so that a program can see whether it is set up while there is nothing to mount on yet. A
// daemon older than 0.2 isn't asked: [StatusUnknownOperation].
func (c *Client) Check(ctx context.Context, targets ...Target) error {
	lease, fds, err := c.openTargets(targets)
	if err != nil {
		return err
	}
	defer lease.close()
	q := inquiry{
		request:  request{operation: operationMount, flags: protocolCheck, targets: lease.targets},
		fds:      fds,
		features: FeatureCheck | featuresOf(lease.targets),
	}
	if err := c.connection.ask(ctx, &q); err != nil {
		return failed(operationMount, err)
	}
	if q.reply.status != StatusOK {
		return newReplyError(operationMount, q.reply, len(lease.targets))
	}
	return nil
}

// featuresOf is what a daemon must have to mount all of the targets.
func featuresOf(targets []wireTarget) (features Feature) {
	for _, target := range targets {
		features |= target.fileSystem.features()
	}
	return features
}

// openTargets gives a lease that isn't granted yet, with descriptors of its own for the targets.
func (c *Client) openTargets(targets []Target) (lease *Lease, fds []int, err error) {
	if len(targets) < 1 || len(targets) > protocolTargetsMax {
		return nil, nil, fmt.Errorf("mountatd: mount: a request takes 1 to %d targets, not %d: make several requests: %w",
			protocolTargetsMax, len(targets), unix.EINVAL)
	}
	lease = newLease(c)
	for i, target := range targets {
		file, err := duplicate(target.Directory)
		if err != nil {
			lease.close()
			return nil, nil, fmt.Errorf("mountatd: mount: target %d: %w", i, err)
		}
		lease.directories = append(lease.directories, file)
		lease.targets = append(lease.targets, wireTarget{target.FileSystem, target.Options})
		fds = append(fds, int(file.Fd())) // nobody else closes it before the lease does
	}
	return lease, fds, nil
}

// mount takes the lease's files, also on failure. The descriptors stay the caller's.
func (c *Client) mount(ctx context.Context, lease *Lease, fds []int) (*Lease, error) {
	q := inquiry{request: request{operation: operationMount, targets: lease.targets}, fds: fds}
	if lease.kept {
		q.request.flags, q.features = protocolKeep, FeatureKeep
	}
	err := c.askMount(ctx, &q)
	switch {
	case err == nil && q.reply.status == StatusOK:
		lease.id = q.reply.lease
		if lease.kept {
			lease.leave()
		} else {
			c.connection.add(lease, q.channel)
		}
		return lease, nil
	case err == nil:
		lease.abandon(q.inDoubt)
		return nil, explainMount(ctx, &q)
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

func explainMount(ctx context.Context, q *inquiry) error {
	refusal := newReplyError(operationMount, q.reply, len(q.request.targets))
	if refusal.Status == StatusUnsupportedFileSystem && refusal.Target >= 0 {
		features := q.request.targets[refusal.Target].fileSystem.features()
		var lack *Error
		if errors.As(q.channel.require(ctx, features), &lack) && lack.Status == refusal.Status {
			refusal.Text = lack.Text // a daemon of 0.1 doesn't know that there is such a thing
		}
	}
	if q.inDoubt && refusal.Status == StatusAlreadyMounted {
		then := "mountatd unmounts it within its --adopt-timeout"
		if q.request.flags == protocolKeep {
			then = "mountatctl list shows its lease"
		}
		refusal.Text = "mountatd went away before it answered, and something is mounted there now: if it is " +
			"this mount, " + then
	}
	return refusal
}
