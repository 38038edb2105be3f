// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// channel is a connected socket that carries any number of concurrent calls. One goroutine reads and
// delivers each reply to the call with its cookie, so a caller may stop waiting. It lives until the
// connection ends.
type channel struct {
	socket  *net.UnixConn
	sending chan struct{} // holds one token during a send
	over    chan struct{} // closed when the connection has ended, after err is set
	away    *atomic.Bool  // the Dialer's

	mu       sync.Mutex // guards all below
	cookie   uint64
	pending  map[uint64]*call
	greeted  bool
	features Feature // the daemon's, once greeted
	home     bool    // a mount succeeded without enter, so enter isn't needed
	entered  bool
	entrance *entrance           // running or final; nil if none was attempted
	leases   map[uint64]struct{} // that the daemon releases with the connection
	err      error
}

// call is a request that was sent. Once done is closed, either reply or err is set.
type call struct {
	operation operation
	flags     uint32
	lease     uint64 // to unmount or adopt, else 0
	done      chan struct{}
	reply     *reply
	err       error
}

// newChannel takes ownership of the socket. The caller must start a goroutine for read.
func newChannel(socket *net.UnixConn, away *atomic.Bool) *channel {
	return &channel{
		socket:  socket,
		away:    away,
		sending: make(chan struct{}, 1),
		over:    make(chan struct{}),
		pending: make(map[uint64]*call),
		leases:  make(map[uint64]struct{}),
	}
}

// fail ends the connection. The reason of the first call stands.
func (c *channel) fail(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = why
	c.socket.Close()
	for cookie, call := range c.pending {
		delete(c.pending, cookie)
		call.err = why
		close(call.done)
	}
	close(c.over)
}

// why returns the reason for the end, nil before it.
func (c *channel) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// read delivers replies until the connection ends.
func (c *channel) read() {
	var buffer [replySizeMax + 1]byte
	reset := false
	for {
		n, _, flags, _, err := c.socket.ReadMsgUnix(buffer[:], nil)
		// If the peer closes its end with a request unread, the read fails with ECONNRESET once,
		// before it returns the replies that are queued.
		if errors.Is(err, unix.ECONNRESET) && !reset {
			reset = true
			continue
		}
		if err == nil {
			err = c.deliver(buffer[:n], flags)
		} else {
			err = lost(err)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// deliver passes one datagram to the call that it answers. The read has no buffer for descriptors: if
// any arrive, the kernel drops them and sets MSG_CTRUNC.
func (c *channel) deliver(datagram []byte, flags int) error {
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return lost(fmt.Errorf("%w: a message is too long or carries descriptors", ErrProtocol))
	}
	reply, err := decodeReply(datagram)
	if err != nil {
		return lost(fmt.Errorf("%w: %w", ErrProtocol, err))
	}
	if reply.refuses() {
		return lost(newReplyError(operationUnasked, reply, 0))
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.pending[reply.cookie]
	if call == nil || !reply.fits(call.operation, call.flags) {
		return lost(fmt.Errorf("%w: a reply matches no request", ErrProtocol))
	}
	delete(c.pending, reply.cookie)
	c.learn(call, reply)
	call.reply = reply
	close(call.done)
	return nil
}

// learn records what outlasts the call, even if its caller has stopped waiting. The lock must be held.
func (c *channel) learn(call *call, r *reply) {
	if r.status != StatusOK {
		return
	}
	switch r.operation {
	case operationHello:
		c.greeted, c.features = true, Feature(r.flags)
	case operationEnter:
		c.entered = true
		c.away.Store(true)
	case operationMount, operationAdopt:
		// A check doesn't count: before Linux 6.8 it doesn't see which namespace a directory is in.
		c.home = c.home || !c.entered && r.lease != 0
		if r.lease != 0 && call.flags&protocolKeep == 0 {
			c.leases[r.lease] = struct{}{}
		}
	case operationUnmount:
		delete(c.leases, call.lease)
	}
}

// isSpare reports whether the daemon holds nothing for it and is doing nothing for it.
func (c *channel) isSpare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && len(c.pending) == 0 && len(c.leases) == 0 &&
		(c.entrance == nil || c.entrance.isOver())
}

// start sends a request with its descriptors, which stay the caller's. After an error nothing was
// sent. ctx bounds only the send.
func (c *channel) start(ctx context.Context, r *request, fds []int) (*call, error) {
	// select picks at random among ready cases, so check first: an expired context sends nothing.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case c.sending <- struct{}{}:
		defer func() { <-c.sending }()
	case <-c.over:
		return nil, c.why()
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	call := &call{operation: r.operation, flags: r.flags, lease: r.lease, done: make(chan struct{})}
	if err := c.register(call, r); err != nil {
		return nil, err
	}
	err := c.send(ctx, r.encode(), fds)
	if err == nil || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) ||
		errors.Is(err, net.ErrClosed) {
		return call, nil // the connection has ended: the reader delivers the reason
	}
	c.unregister(r.cookie)
	return nil, err
}

func (c *channel) register(call *call, r *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.cookie++
	r.cookie = c.cookie
	c.pending[r.cookie] = call
	return nil
}

func (c *channel) unregister(cookie uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, cookie)
}

// send writes one datagram, completely or not at all.
func (c *channel) send(ctx context.Context, datagram []byte, fds []int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}

	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.socket.SetWriteDeadline(time.Unix(1, 0))
		close(expired)
	})
	_, _, err := c.socket.WriteMsgUnix(datagram, rights, nil)
	if !stop() {
		<-expired
		c.socket.SetWriteDeadline(time.Time{})
		if err != nil && ctx.Err() != nil && isTimeout(err) {
			return ctx.Err()
		}
	}
	return err
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// wait waits for the call to end. If ctx ends first, the call goes on.
func (c *call) wait(ctx context.Context) (*reply, error) {
	select {
	case <-c.done:
		return c.reply, c.err
	case <-ctx.Done():
	}
	select {
	case <-c.done: // both at once: the daemon's answer wins
		return c.reply, c.err
	default:
		return nil, ctx.Err()
	}
}

// require returns an error if the daemon lacks one of the features, for which it asks once. A daemon
// without a feature would refuse the request as malformed.
func (c *channel) require(ctx context.Context, features Feature) error {
	if c.lacks(features) == 0 {
		return nil
	}
	reply, err := c.greet(ctx)
	if err != nil {
		return err
	}
	if lacks := c.lacks(features); lacks != 0 {
		return newLackError(lacks, reply.text)
	}
	return nil
}

// greet asks the daemon for its version and features.
func (c *channel) greet(ctx context.Context) (*reply, error) {
	call, err := c.start(ctx, &request{operation: operationHello}, nil)
	if err != nil {
		return nil, err
	}
	reply, err := call.wait(ctx)
	if err != nil {
		return nil, err
	}
	if reply.status != StatusOK {
		return nil, newReplyError(operationHello, reply, 0)
	}
	return reply, nil
}

// lacks returns those of the features that the daemon is too old for, as far as known. A daemon that
// supports check knows /dev, and if it doesn't offer it, refuses the mount with the reason.
func (c *channel) lacks(features Feature) Feature {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.features
	if known&FeatureCheck != 0 {
		known |= FeatureDev
	}
	return features &^ known
}

// dial connects. A non-blocking connect(2) fails at once if the socket's backlog is full, so dial
// retries until ctx ends.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	const pauseMax = 50 * time.Millisecond
	var dialer net.Dialer

	if path[0] == '@' { // package net would take it for an abstract socket
		path = "./" + path
	}
	for pause := time.Millisecond; ; pause = min(2*pause, pauseMax) {
		conn, err := dialer.DialContext(ctx, "unixpacket", path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
