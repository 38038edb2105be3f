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

// Mount mounts the file systems in flags below the directory root: all or none. The caller keeps root;
// O_PATH is enough. The mountpoints are opened with this process's rights; no symbolic link is followed
// (ELOOP) and no mount crossed ([StatusAlreadyMounted]). If one of this user's own mounts is about to
// go because its Client was closed, Mount waits for that, a second at most.
//
// [Create] creates missing directories with mode 0555 less the umask, and removes them when the mount
// fails or the lease is released. A lease keeps one descriptor of the root open.
//
// If the daemon goes away before it answers, the request is sent again. If it had granted the first
// one, nobody knows that lease: Mount returns [StatusAlreadyMounted], with a text that says so, until
// the daemon unmounts at the end of its --adopt-timeout.
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

// awaitLeaving waits for this user's own old mounts: a lease is released a moment after its connection
// is closed, and the daemon answers a check of such a mount once it is gone. The result of the check
// doesn't matter, only whether the directory can be opened afterwards.
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
	Directory  *os.File // the caller keeps it; O_PATH is enough
	FileSystem FileSystem
	Options    Option
}

// MountTargets mounts on 1 to 16 directories: all or none. They must be named proc, sys or dev, and be
// owned by this user or lie below a build directory set by the administrator. A lease keeps one
// descriptor per target open. If the daemon goes away: see [Client.Mount].
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

// Check reports whether the daemon would mount on 1 to 16 directories: it returns nil, or the error of
// the mount. It mounts nothing. A directory not named proc, sys or dev, and a build directory, are
// judged as a mountpoint with the same owner directly below them, so that a program can check its setup
// before there are mountpoints. A daemon older than 0.2 isn't asked: [StatusUnknownOperation].
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

// featuresOf returns the features that the daemon needs to mount all targets.
func featuresOf(targets []wireTarget) (features Feature) {
	for _, target := range targets {
		features |= target.fileSystem.features()
	}
	return features
}

// openTargets returns a lease that isn't granted yet, with its own descriptors of the targets.
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
		fds = append(fds, int(file.Fd())) // valid until the lease is closed
	}
	return lease, fds, nil
}

// mount takes ownership of the lease's files, even on failure, but not of fds.
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
			lease.root.clear() // a removed directory can't be mounted on any more
		}
		go lease.disown(&q)
	default:
		lease.abandon(q.inDoubt)
	}
	return nil, failed(operationMount, err)
}

const (
	sweepTimeout = 2 * time.Second // for a new instance to undo requests that the last one left half done
	sweepPause   = 20 * time.Millisecond
)

// askMount sends a mount. If it is sent again after a loss, "already mounted" may refer to the first
// attempt. The next instance undoes half-done requests at its start, so askMount waits for that.
func (c *Client) askMount(ctx context.Context, q *inquiry) error {
	var sweep time.Time
	for {
		err := c.connection.ask(ctx, q)
		if err != nil || !q.inDoubt || q.reply.status != StatusAlreadyMounted {
			return err
		}
		if sweep.IsZero() {
			sweep = time.Now().Add(sweepTimeout)
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
			refusal.Text = lack.Text // mountatd 0.1 doesn't know dev, so its own text doesn't help
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
