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
	// How long calls wait while the daemon is away: longer than its --adopt-timeout (30 s by default),
	// after which mounts that weren't adopted are gone.
	lostPatience = 45 * time.Second

	// How often one call may lose its connection: the request itself might crash the daemon.
	lossesMax = 8

	reconnectPauseMin = 5 * time.Millisecond // doubled each time
	reconnectPauseMax = 200 * time.Millisecond

	// After a channel that lived this long, the pauses start over.
	steady = time.Second
)

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

// ---- the keeper ----

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

// ---- callers ----

// inquiry is a request and its result.
type inquiry struct {
	request  request
	fds      []int   // borrowed
	features Feature // that it needs

	channel *channel // the last that it was sent on
	call    *call    // after an error: set if it is still in flight
	reply   *reply
	inDoubt bool // it may have reached an instance that went away before it answered
}

// ask sends q until an instance answers, within ctx.
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

// askOf sends q on ch. If this process is known to be in another namespace, the daemon enters that
// first; if its answer is that q is in another namespace, it enters and q is sent again. An error may
// be that of enter.
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

// isOfNamespace reports whether the answer depends on the daemon's mount namespace.
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

// await waits for a channel, if l isn't nil for one that has adopted l. The caller calls asked when it
// is done with the channel.
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

// ready returns await's channel or error; neither if it has to wait.
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
