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

// Lease is what [Client.Mount] made: the mounts of one request.
type Lease struct {
	client      *Client
	id          uint64
	kept        bool  // by the daemon, for the user: no connection has it
	root        *root // nil: of MountTargets
	targets     []wireTarget
	directories []*os.File // of MountTargets, as many as targets; owned
	done        chan struct{}

	// These are guarded by the connection's mutex.
	channel *channel // the one that it belongs to
	lost    error    // why it is held no more, or nil

	mu        sync.Mutex // guards all below
	releasing *releasing
	released  bool
}

// releasing is an attempt that is under way. When done is closed, err is set.
type releasing struct {
	done chan struct{}
	err  error
}

func newLease(client *Client) *Lease {
	return &Lease{client: client, done: make(chan struct{})}
}

// ID is the daemon's number for the lease, as its log and mountatctl show it.
func (l *Lease) ID() uint64 {
	return l.id
}

// Done is closed when the lease is held no more: by [Lease.Release]; because it was lost when the
// daemon went away, as Release then tells ([ErrLeaseLost]); or because its Client has ended. A
// restart of the daemon that keeps the lease isn't to be noticed. Of a kept lease ([Keep]) only
// Release is known here.
func (l *Lease) Done() <-chan struct{} {
	return l.done
}

// Release unmounts. When it returns nil the directories are bare again, and those that [Create]
// made are gone unless somebody put something there. If the host refuses ([StatusHostFailed]) the
// lease stays and may be tried again. A lease that was released is released: nil.
//
// When ctx ends early the release goes on, and another call waits for the same one. When the
// daemon isn't there, Release waits for it; a lease that the next instance doesn't adopt, or whose
// [Client] has ended, is released as soon as nothing is mounted there any more. Both for at most 45
// seconds, which is longer than the daemon's default --adopt-timeout; after that errors.Is(err,
// [ErrLost]), and errors.Is(err, [ErrLeaseLost]) if the lease was lost. It may be tried again.
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

// attempt starts a release, or joins the one that is under way. nil: there is no need.
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
	case errors.Is(err, ErrLost): // which may be for a status of adopting
		if !connection.holds(l) && l.clear() {
			err = nil
		}
	case err == nil, errors.Is(err, StatusNoSuchLease):
		connection.remove(l)
		l.drop()
	}
	return err
}

// releaseKept is not called twice at the same time.
func (l *Lease) releaseKept() error {
	err := l.client.UnmountLease(context.Background(), l.id)
	if err == nil || errors.Is(err, StatusNoSuchLease) {
		select {
		case <-l.done: // by an attempt before this one
		default:
			close(l.done)
		}
	}
	return err
}

// unmount asks until an instance that has the lease answers, and waits for as long as that takes.
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

// drop forgets the files of a lease that isn't mounted.
func (l *Lease) drop() {
	if l.root != nil {
		l.root.clear()
	}
	l.close()
}

// leave forgets the files of a lease that stays mounted, and what was made for it.
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

// tryClear is drop for a lease that may be mounted; false if it is.
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

// clear is drop for a lease that may still be mounted, but not for long: the daemon releases it when
// it finds the connection closed, or its next instance does. False if it is mounted all the same.
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

// abandon gives up a lease that wasn't granted, as far as is known.
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

// disown finishes a mount that nobody waits for any more.
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

// UnmountLease releases a kept lease of this user ([Keep]) by its number, whoever asked for it. When it
// returns nil the directories are bare again. Leases that aren't kept belong to their [Lease]. When ctx
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
	if q.inDoubt && refusal.Status == StatusNoSuchLease { // or the success of our first attempt
		refusal.Text = fmt.Sprintf("mountatd went away before it answered, and there is no lease %016x "+
			"now: either it was unmounted, or it never existed", id)
	}
	return refusal
}
