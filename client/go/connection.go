// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// How long calls wait while the daemon is away: longer than its --adopt-timeout (30 s by default),
// after which mounts that weren't adopted are gone.
const lostPatience = 45 * time.Second

// connection is a connection across restarts of the daemon: a channel that is reconnected when it is
// lost, and the leases that are then offered to the next instance for adoption. One goroutine, the
// keeper, does both, from newConnection to fail.
type connection struct {
	path     string
	away     *atomic.Bool // the Dialer's
	patience time.Duration
	over     chan struct{}      // closed when the connection has ended, after err is set
	closing  context.Context    // ends with it
	cancel   context.CancelFunc // of closing
	kick     chan struct{}      // holds a token if the keeper has to look again

	mu      sync.Mutex    // guards all below and fields of Lease; taken before a channel's
	changed chan struct{} // closed and replaced at every change
	channel *channel      // nil while disconnected
	absence error         // why it is disconnected
	leases  map[*Lease]struct{}
	waiting int // callers that wait for a channel
	asking  int // callers that use the channel
	err     error
}

// newConnection takes ownership of the channel.
func newConnection(path string, ch *channel) *connection {
	c := &connection{
		path:     path,
		away:     ch.away,
		patience: lostPatience,
		over:     make(chan struct{}),
		kick:     make(chan struct{}, 1),
		changed:  make(chan struct{}),
		channel:  ch,
		leases:   make(map[*Lease]struct{}),
	}
	c.closing, c.cancel = context.WithCancel(context.Background())
	go c.keep(ch)
	return c
}

// fail ends the connection for good. The reason of the first call stands.
func (c *connection) fail(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = why
	if c.channel != nil {
		c.channel.fail(why)
	}
	for l := range c.leases {
		c.forget(l)
	}
	c.cancel()
	close(c.over)
	c.announce()
}

// spare removes and returns the channel if another Client can reuse it, else returns nil. To be called
// before fail.
func (c *connection) spare() *channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.channel
	if c.err != nil || ch == nil || c.asking > 0 || len(c.leases) > 0 || !ch.isSpare() {
		return nil
	}
	c.channel = nil
	return ch
}

// why returns the reason for the end, nil before it.
func (c *connection) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// announce wakes all that wait for a change. The lock must be held.
func (c *connection) announce() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *connection) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// ---- leases ----

// add records a lease that was granted on ch.
func (c *connection) add(l *Lease, ch *channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		close(l.done)
		return
	}
	l.channel = ch
	c.leases[l] = struct{}{}
	if ch != c.channel {
		c.wake() // ch was lost meanwhile, after the other leases were offered again
	}
}

// remove drops a lease that was released.
func (c *connection) remove(l *Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(l)
}

// forget is remove with the lock held. It returns false if the lease isn't held any more.
func (c *connection) forget(l *Lease) bool {
	if _, held := c.leases[l]; !held {
		return false
	}
	delete(c.leases, l)
	close(l.done)
	return true
}

// holds reports whether a lease is still held.
func (c *connection) holds(l *Lease) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, held := c.leases[l]
	return held
}

// lose drops a lease that the daemon has released, or will release, on its own.
func (c *connection) lose(l *Lease, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forget(l) {
		l.lost = fmt.Errorf("%w (%016x): %w", ErrLeaseLost, l.id, why)
		c.announce()
	}
}

// unsettled returns the leases that don't belong to ch.
func (c *connection) unsettled(ch *channel) (leases []*Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.leases {
		if l.channel != ch {
			leases = append(leases, l)
		}
	}
	return leases
}

func (c *connection) settle(l *Lease, ch *channel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.channel = ch
	c.announce()
}
