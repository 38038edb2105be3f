// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Lease is the mounts of one request, made by [Client.Mount].
type Lease struct {
	client      *Client
	id          uint64
	kept        bool  // it belongs to the user, and to no connection
	root        *root // of Mount; nil for MountTargets
	targets     []wireTarget
	directories []*os.File // of MountTargets, one per target; owned
	done        chan struct{}

	// Guarded by the connection's mutex:
	channel *channel // that it belongs to
	lost    error    // why it was lost, or nil

	mu        sync.Mutex // guards all below
	releasing *releasing
	released  bool
}

// releasing is a running attempt to release. Once done is closed, err is set.
type releasing struct {
	done chan struct{}
	err  error
}

func newLease(client *Client) *Lease {
	return &Lease{client: client, done: make(chan struct{})}
}

// ID returns the daemon's number of the lease, as shown by its log and mountatctl.
func (l *Lease) ID() uint64 {
	return l.id
}

// Done returns a channel that is closed when the lease is no longer held: after [Lease.Release]; when
// it is lost in a restart of the daemon ([ErrLeaseLost], returned by Release); or when its Client ends.
// A restart that keeps the lease doesn't close it. For a kept lease ([Keep]), only Release does.
func (l *Lease) Done() <-chan struct{} {
	return l.done
}

// Release unmounts. When it returns nil everything is unmounted, and the directories created by
// [Create] are removed unless they aren't empty. If the host refuses ([StatusHostFailed]) the lease
// stays: try again. Releasing a released lease returns nil.
//
// If ctx ends early, the release goes on, and another call waits for the same one. While the daemon is
// away, Release waits for it. If the next instance doesn't adopt the lease, or its [Client] has ended,
// Release waits until nothing is mounted any more. Each takes at most 45 seconds, longer than the
// daemon's default --adopt-timeout; then the error is an [ErrLost], and an [ErrLeaseLost] if the lease
// was lost. Try again.
//
// A kept lease ([Keep]) is released as by [Client.UnmountLease], so its Client must not have ended.
func (l *Lease) Release(ctx context.Context) error {
	attempt := l.attempt()
	if attempt == nil {
		return nil
	}
	select {
	case <-attempt.done:
		return attempt.err
	case <-ctx.Done():
		return failed(operationUnmount, ctx.Err())
	}
}

// attempt starts a release or returns the running one; nil if the lease is released.
func (l *Lease) attempt() *releasing {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return nil
	}
	if l.releasing == nil {
		l.releasing = &releasing{done: make(chan struct{})}
		go l.run(l.releasing)
	}
	return l.releasing
}

func (l *Lease) run(attempt *releasing) {
	var err error
	if l.kept {
		err = l.releaseKept()
	} else {
		err = l.releaseHeld()
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = err == nil
	l.releasing = nil
	attempt.err = err
	close(attempt.done)
}

func (l *Lease) releaseHeld() error {
	connection := l.client.connection
	err := l.unmount()
	switch {
	case errors.Is(err, ErrLost): // may wrap a status too, if adoption was refused
		if !connection.holds(l) && l.clear() {
			err = nil
		}
	case err == nil, errors.Is(err, StatusNoSuchLease):
		connection.remove(l)
		l.drop()
	}
	return err
}

// releaseKept releases a kept lease. It is not called concurrently.
func (l *Lease) releaseKept() error {
	err := l.client.UnmountLease(context.Background(), l.id)
	if err == nil || errors.Is(err, StatusNoSuchLease) {
		select {
		case <-l.done: // closed by an earlier attempt
		default:
			close(l.done)
		}
	}
	return err
}

// unmount sends the request until an instance that has the lease answers, without a time limit.
func (l *Lease) unmount() error {
	ctx := context.Background()
	for losses := 1; ; losses++ {
		channel, err := l.client.connection.await(ctx, l)
		if err != nil {
			return failed(operationUnmount, err)
		}
		q := inquiry{request: request{operation: operationUnmount, lease: l.id}}
		err = q.askOnce(ctx, channel)
		l.client.connection.asked()
		if err == nil {
			return l.explainUnmount(q.reply)
		}
		if !errors.Is(err, ErrLost) || losses == lossesMax {
			return failed(operationUnmount, err)
		}
	}
}

func (l *Lease) explainUnmount(r *reply) error {
	if r.status == StatusOK {
		return nil
	}
	return newReplyError(operationUnmount, r, len(l.targets))
}

// drop closes the files of a lease that isn't mounted, and removes the directories created for it.
func (l *Lease) drop() {
	if l.root != nil {
		l.root.clear()
	}
	l.close()
}

// leave closes the files of a lease that stays mounted, and leaves the directories created for it.
func (l *Lease) leave() {
	l.close()
	l.root, l.directories = nil, nil
}

func (l *Lease) close() {
	if l.root != nil {
		l.root.file.Close()
	}
	for _, directory := range l.directories {
		directory.Close()
	}
}

// tryClear is drop for a lease that may still be mounted; it returns false if it is.
func (l *Lease) tryClear() bool {
	bare := false
	if l.root != nil {
		bare = l.root.clear()
	} else {
		bare = l.areTargetsBare()
	}
	if bare {
		l.close()
	}
	return bare
}

// clear is drop for a lease that the daemon, or its next instance, is about to release because the
// connection is closed. It waits for that, and returns false if it takes too long.
func (l *Lease) clear() bool {
	const pauseMax = 100 * time.Millisecond
	deadline := time.Now().Add(l.client.connection.patience)
	for pause := time.Millisecond; !l.tryClear(); pause = min(2*pause, pauseMax) {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// abandon drops a lease that wasn't granted, as far as known.
func (l *Lease) abandon(inDoubt bool) {
	if !inDoubt {
		l.drop()
	} else if !l.tryClear() {
		go func() {
			l.clear()
			l.close()
		}()
	}
}

// disown completes a mount whose caller has stopped waiting: it unmounts what is granted.
func (l *Lease) disown(q *inquiry) {
	reply, err := q.call.wait(context.Background())
	switch {
	case err != nil:
		l.clear()
		l.close()
	case reply.status != StatusOK:
		l.drop()
	default:
		l.id = reply.lease
		if l.kept {
			l.client.UnmountLease(context.Background(), l.id)
			l.drop()
			return
		}
		l.client.connection.add(l, q.channel)
		l.Release(context.Background())
	}
}

// UnmountLease releases a kept lease of this user ([Keep]) by its number, whichever client requested
// it. When it returns nil everything is unmounted. Other leases are released by [Lease.Release]. If ctx
// ends early, the daemon goes on.
func (c *Client) UnmountLease(ctx context.Context, id uint64) error {
	q := inquiry{request: request{operation: operationUnmount, lease: id}}
	if err := c.connection.ask(ctx, &q); err != nil {
		return failed(operationUnmount, err)
	}
	if q.reply.status == StatusOK {
		return nil
	}
	refusal := newReplyError(operationUnmount, q.reply, 0)
	if q.inDoubt && refusal.Status == StatusNoSuchLease { // the first attempt may have succeeded
		refusal.Text = fmt.Sprintf("mountatd went away before it answered, and there is no lease %016x "+
			"now: either it was unmounted, or it never existed", id)
	}
	return refusal
}
