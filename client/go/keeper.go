// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	reconnectPauseMin = 5 * time.Millisecond // doubled each time
	reconnectPauseMax = 200 * time.Millisecond

	// After a channel that lived this long, the pauses start over.
	steady = time.Second
)

// keep is the keeper's goroutine: it reconnects whenever the channel is lost and still needed.
func (c *connection) keep(ch *channel) {
	pause := reconnectPauseMin
	for {
		since := time.Now()
		c.attend(ch)
		if !c.detach(ch) {
			return
		}
		if time.Since(since) > steady {
			pause = reconnectPauseMin
		}
		// A daemon that is being killed closes its connections one by one, and its listening socket
		// accepts new ones until it is closed too.
		for ch = nil; ch == nil; ch = c.reconnect() {
			if !c.sleep(pause) || !c.waitUntilWanted() {
				return
			}
			pause = min(2*pause, reconnectPauseMax)
			c.lookForMounts()
		}
	}
}

// attend offers all leases to the daemon on ch, and waits for the end of ch.
func (c *connection) attend(ch *channel) {
	for {
		var later <-chan time.Time
		if c.offerAll(ch) {
			later = time.After(reconnectPauseMax)
		}
		select {
		case <-ch.over:
			return
		case <-c.closing.Done():
			return
		case <-c.kick:
		case <-later:
		}
	}
}

// detach drops ch, and returns false if there must not be another. A daemon that broke the protocol
// would do so again. A refused connection without leases ends with the refusal.
func (c *connection) detach(ch *channel) bool {
	why := ch.why()
	var refusal *Error

	c.mu.Lock()
	c.channel = nil
	c.absence = why
	final := errors.Is(why, ErrProtocol) || (errors.As(why, &refusal) && len(c.leases) == 0)
	c.announce()
	c.mu.Unlock()

	if final {
		c.fail(why)
	}
	return c.closing.Err() == nil
}

func (c *connection) sleep(pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-c.closing.Done():
		return false
	}
}

// waitUntilWanted waits until a lease or a caller needs a connection: connecting may start, by socket
// activation, a daemon that was stopped on purpose.
func (c *connection) waitUntilWanted() bool {
	for {
		c.mu.Lock()
		wanted := len(c.leases) > 0 || c.waiting > 0
		c.mu.Unlock()
		if wanted {
			return c.closing.Err() == nil
		}
		select {
		case <-c.kick:
		case <-c.closing.Done():
			return false
		}
	}
}

// reconnect tries to connect once; it returns nil on failure.
func (c *connection) reconnect() *channel {
	socket, err := dial(c.closing, c.path)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.absence = fmt.Errorf("cannot reconnect to %s: %w", Escape(c.path), err)
		return nil
	}
	ch := newChannel(socket, c.away)
	go ch.read()
	if c.err != nil {
		ch.fail(c.err)
	}
	c.channel = ch
	c.announce()
	return ch
}

// lookForMounts drops the leases whose mounts are gone: a daemon that is stopped for good unmounts.
func (c *connection) lookForMounts() {
	for _, l := range c.unsettled(nil) {
		fds, err := l.openMounts()
		closeAll(fds)
		if errors.Is(err, errBare) {
			c.lose(l, err)
		}
	}
}

// offerAll offers the leases that ch doesn't have. It returns true if some must be offered again.
func (c *connection) offerAll(ch *channel) (again bool) {
	for _, l := range c.unsettled(ch) {
		if ch.why() != nil {
			return false
		}
		again = c.offer(ch, l) || again
	}
	return again
}

// offer has the daemon adopt a lease. It returns true if the lease must be offered again.
func (c *connection) offer(ch *channel, l *Lease) (again bool) {
	fds, err := l.openMounts()
	if err != nil {
		if isPassing(err) {
			return true
		}
		c.lose(l, err)
		return false
	}
	q := inquiry{request: *l.adoption(), fds: fds}
	err = q.askOf(c.closing, ch)
	closeAll(fds)
	if err == nil && q.reply.status != StatusOK {
		err = newReplyError(operationAdopt, q.reply, len(l.targets))
	}
	if err == nil {
		c.settle(l, ch)
		return false
	}
	if refusal, ok := err.(*Error); !ok || refusal.Status.isPassing() {
		return true
	}
	c.lose(l, err)
	return false
}

// isPassing reports whether the same may succeed later: this process is short of a resource, or a
// concurrent rename interfered (openat2(2)).
func isPassing(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) ||
		errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}
