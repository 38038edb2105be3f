// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"sync"
	"time"
)

// How long a release waits for mounts whose connection is gone: for the daemon to notice, or for
// its next instance to start.
const lostPatience = 10 * time.Second

// Lease is what [Client.Mount] made: the mounts of one request.
type Lease struct {
	client  *Client
	id      uint64
	root    *root // nil: of MountTargets
	targets []wireTarget

	mu        sync.Mutex // guards all below
	releasing *releasing
	released  bool
}

// releasing is an attempt that is under way. When done is closed, err is set.
type releasing struct {
	done chan struct{}
	err  error
}

// ID is the daemon's number for the lease, as its log and mountatctl show it.
func (l *Lease) ID() uint64 {
	return l.id
}

// Release unmounts. When it returns nil the directories are bare again, and those that [Create]
// made are gone unless somebody put something there. If the host refuses ([StatusHostFailed]) the
// lease stays and may be tried again. A lease that was released is released: nil.
//
// When ctx ends early the release goes on, and another call waits for the same one. When the
// connection has ended, Release waits for at most ten seconds until the daemon, or its next
// instance, has unmounted; after that errors.Is(err, [ErrLost]). It can't see that for a lease of
// [Client.MountTargets], which is simply lost.
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
	err := l.unmount()
	if errors.Is(err, ErrLost) && l.root != nil && l.clear() {
		err = nil
	} else if err == nil {
		l.drop()
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = err == nil
	l.releasing = nil
	attempt.err = err
	close(attempt.done)
}

// unmount asks the daemon, and waits for as long as the connection lasts.
func (l *Lease) unmount() error {
	ctx := context.Background()
	call, err := l.client.channel.start(ctx, &request{operation: operationUnmount, lease: l.id}, nil)
	if err != nil {
		return failed(operationUnmount, err)
	}
	reply, err := call.wait(ctx)
	if err != nil {
		return failed(operationUnmount, err)
	}
	if reply.status != StatusOK {
		return newReplyError(operationUnmount, reply, len(l.targets))
	}
	return nil
}

// drop forgets the root of a lease that isn't mounted.
func (l *Lease) drop() {
	if l.root != nil {
		l.root.clear()
		l.root.file.Close()
	}
}

// tryClear is drop for a lease that may be mounted; false if it is.
func (l *Lease) tryClear() bool {
	return l.root == nil || l.root.clear()
}

// clear is drop for a lease that may still be mounted, but not for long; false if it is.
func (l *Lease) clear() bool {
	return l.root == nil || l.root.clearWithin(lostPatience)
}

// disown finishes a mount that nobody waits for any more.
func (l *Lease) disown(call *call) {
	reply, err := call.wait(context.Background())
	switch {
	case err != nil:
		l.clear()
	case reply.status != StatusOK:
		l.drop()
	default:
		l.id = reply.lease
		l.Release(context.Background())
	}
}
