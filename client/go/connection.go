// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// How long calls wait for a daemon that isn't there. It is longer than the daemon's
	// --adopt-timeout (30 s by default), after which mounts that nobody adopted are gone.
	lostPatience = 45 * time.Second

	// How often one call may lose its connection: it might be what kills the daemon.
	lossesMax = 8

	reconnectPauseMin = 5 * time.Millisecond // doubled each time
	reconnectPauseMax = 200 * time.Millisecond

	// A channel that lived for so long was a good one: pauses begin anew.
	steady = time.Second
)

// connection outlives the daemon: a channel that is connected again when it is lost, and the leases
// that are then offered to the next instance. One goroutine, the keeper, does both, from
// newConnection to fail.
type connection struct {
	path     string
	away     *atomic.Bool // the Dialer's
	patience time.Duration
	over     chan struct{}      // closed when all has ended, after err is set
	closing  context.Context    // ends then, too
	cancel   context.CancelFunc // of closing
	kick     chan struct{}      // holds a token when the keeper shall look again

	mu      sync.Mutex    // guards all below, and what Lease says; before a channel's own
	changed chan struct{} // closed, and replaced, when something of it changes
	channel *channel      // nil while there is none
	absence error         // why there is none
	leases  map[*Lease]struct{}
	waiting int // callers
	asking  int // callers that have the channel
	err     error
}

// newConnection takes the channel.
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

// fail ends it for good; the first reason stands.
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

// spare takes the channel away if nobody can tell any more that it was this connection's: before fail.
// Else nil.
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

// why is the reason for the end, nil before it.
func (c *connection) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// announce is to be called with the lock held.
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

// add holds a lease that was granted on ch.
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
		c.wake() // ch was lost meanwhile, and the others have been offered already
	}
}

// remove ends the holding of a lease.
func (c *connection) remove(l *Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(l)
}

// forget is remove with the lock held; false if it isn't held any more.
func (c *connection) forget(l *Lease) bool {
	if _, held := c.leases[l]; !held {
		return false
	}
	delete(c.leases, l)
	close(l.done)
	return true
}

// holds tells whether a lease is still the daemon's to give back.
func (c *connection) holds(l *Lease) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, held := c.leases[l]
	return held
}

// lose gives up a lease that the daemon has, or will have, released by itself.
func (c *connection) lose(l *Lease, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forget(l) {
		l.lost = fmt.Errorf("%w (%016x): %w", ErrLeaseLost, l.id, why)
		c.announce()
	}
}

// unsettled lists the leases that don't belong to ch.
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

// ---- the keeper ----

// keep connects again whenever the channel is lost, for as long as somebody needs one.
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
		// A daemon that is being killed loses its connections one by one, and its listening socket
		// takes new ones for as long as it is there.
		for ch = nil; ch == nil; ch = c.reconnect() {
			if !c.sleep(pause) || !c.waitUntilWanted() {
				return
			}
			pause = min(2*pause, reconnectPauseMax)
			c.lookForMounts()
		}
	}
}

// attend has ch adopt all leases, and waits for its end.
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

// detach forgets ch; false if there shall not be another. What breaks the protocol would do it
// again; who is refused, having nothing to lose, is told so.
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

// waitUntilWanted: to connect may start a daemon that somebody has stopped, so not without need.
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

// reconnect tries once; nil if there is nobody.
func (c *connection) reconnect() *channel {
	socket, err := dial(c.closing, c.path)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.absence = fmt.Errorf("cannot reconnect to %s: %w", escape(c.path), err)
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

// lookForMounts finds the leases whose mounts are gone: a daemon that stops for good, rather than
// being restarted, takes them along.
func (c *connection) lookForMounts() {
	for _, l := range c.unsettled(nil) {
		fds, err := l.openMounts()
		closeAll(fds)
		if errors.Is(err, errBare) {
			c.lose(l, err)
		}
	}
}

// offerAll offers what ch doesn't have; true if some of it must be tried again.
func (c *connection) offerAll(ch *channel) (again bool) {
	for _, l := range c.unsettled(ch) {
		if ch.why() != nil {
			return false
		}
		again = c.offer(ch, l) || again
	}
	return again
}

// offer has ch adopt a lease; true if it must be tried again.
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

// isPassing tells whether the same can succeed later: this process is short of something, or
// something was renamed at the wrong moment (openat2(2)).
func isPassing(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) ||
		errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

// ---- callers ----

// inquiry is what is asked, and what came of it.
type inquiry struct {
	request  request
	fds      []int   // borrowed
	features Feature // that it takes

	channel *channel // the last that was asked
	call    *call    // after an error: it is still under way; else nil
	reply   *reply
	inDoubt bool // it may have reached an instance that died before it answered
}

// ask asks until an instance answers, within ctx.
func (c *connection) ask(ctx context.Context, q *inquiry) error {
	for losses := 1; ; losses++ {
		ch, err := c.await(ctx, nil)
		if err != nil {
			return err
		}
		q.channel = ch
		err = q.askOf(ctx, ch)
		c.asked()
		if err == nil || !errors.Is(err, ErrLost) || losses == lossesMax {
			return err
		}
	}
}

// askOf asks one instance: first to enter this process' namespaces, if that is known to be needed,
// and if the answer is that it would be, once more after that. An error is of what was asked last.
func (q *inquiry) askOf(ctx context.Context, ch *channel) error {
	q.call = nil
	if q.isOfNamespace() && ch.away.Load() {
		if err := ch.enter(ctx); err != nil {
			return err
		}
	}
	inside := ch.hasEntered()
	err := q.askOnce(ctx, ch)
	if err != nil || inside || !q.isOfNamespace() || q.reply.status != StatusForeignNamespace {
		return err
	}

	q.call = nil
	if err := ch.enter(ctx); err != nil {
		return err
	}
	if !ch.hasEntered() {
		return nil
	}
	return q.askOnce(ctx, ch)
}

// isOfNamespace tells whether the answer depends on the mount namespace that the daemon is in.
func (q *inquiry) isOfNamespace() bool {
	return q.request.operation == operationMount || q.request.operation == operationAdopt
}

func (q *inquiry) askOnce(ctx context.Context, ch *channel) error {
	err := ch.require(ctx, q.features)
	if err != nil {
		return err
	}
	q.call, err = ch.start(ctx, &q.request, q.fds)
	if err != nil {
		return err
	}
	q.reply, err = q.call.wait(ctx)
	if errors.Is(err, ErrLost) {
		q.call = nil
		q.inDoubt = true
	}
	return err
}

// await gives a channel: with l, one that has it. After asking it, the caller calls asked.
func (c *connection) await(ctx context.Context, l *Lease) (*channel, error) {
	patience := time.NewTimer(c.patience)
	defer patience.Stop()

	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		ch, err := c.ready(l)
		if ch != nil {
			c.asking++
		}
		if ch != nil || err != nil {
			return ch, err
		}
		changed := c.changed
		c.waiting++
		c.mu.Unlock()
		c.wake()
		select {
		case <-changed:
		case <-patience.C:
			err = errors.New("mountatd didn't come back in time")
		case <-ctx.Done():
			err = ctx.Err()
		}
		c.mu.Lock()
		c.waiting--
		if err != nil {
			return nil, c.missed(err)
		}
	}
}

func (c *connection) asked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking--
}

// ready is await's condition. Neither: wait.
func (c *connection) ready(l *Lease) (*channel, error) {
	if l != nil && l.lost != nil {
		return nil, l.lost
	}
	if c.err != nil {
		return nil, c.err
	}
	if c.channel == nil || c.channel.why() != nil {
		return nil, nil
	}
	if _, held := c.leases[l]; held && l.channel != c.channel {
		return nil, nil
	}
	return c.channel, nil
}

func (c *connection) missed(why error) error {
	if c.channel != nil || c.absence == nil {
		return lost(why)
	}
	return fmt.Errorf("%w: %w", lost(why), c.absence)
}
