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

// channel is a connected socket that carries any number of calls. One goroutine reads, and gives
// each reply to the call with its cookie; so a caller that doesn't wait to the end does no harm. It
// lives until the connection ends.
type channel struct {
	socket  *net.UnixConn
	sending chan struct{} // holds one token while somebody sends
	over    chan struct{} // closed when the connection has ended, after err is set
	away    *atomic.Bool  // the Dialer's

	mu       sync.Mutex // guards all below
	cookie   uint64
	pending  map[uint64]*call
	greeted  bool
	features Feature // of the daemon that was greeted; none before
	home     bool    // something was mounted without entering: so there is no need for it
	entered  bool
	entrance *entrance           // under way, or final; nil: none was tried
	leases   map[uint64]struct{} // that the daemon has of it, and will release with it
	err      error
}

// call is a request that was sent. When done is closed, either reply or err is set.
type call struct {
	operation operation
	flags     uint32
	lease     uint64 // that it is about, if any
	done      chan struct{}
	reply     *reply
	err       error
}

// newChannel takes the socket. Somebody must read() from it.
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

// fail ends the connection; the first reason stands.
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

// why is the reason for the end, nil before it.
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
		// A peer that closes with a request of ours unread leaves ECONNRESET before what it had
		// said. That is reported once; then the queue can be read.
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

// deliver hands one datagram to the call that it answers. No room is made for descriptors: should
// any come, the kernel drops them and says MSG_CTRUNC.
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

// learn is for what outlasts the call, also one that nobody waits for any more. To be called with the
// lock held.
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
		// A check doesn't count: before Linux 6.8 it can't tell whose namespace a directory is in.
		c.home = c.home || !c.entered && r.lease != 0
		if r.lease != 0 && call.flags&protocolKeep == 0 {
			c.leases[r.lease] = struct{}{}
		}
	case operationUnmount:
		delete(c.leases, call.lease)
	}
}

// isSpare tells whether the daemon has, and will do, nothing for it.
func (c *channel) isSpare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && len(c.pending) == 0 && len(c.leases) == 0 &&
		(c.entrance == nil || c.entrance.isOver())
}

// start sends a request with its descriptors, which stay the caller's. After an error nothing was
// sent. ctx bounds the sending alone.
func (c *channel) start(ctx context.Context, r *request, fds []int) (*call, error) {
	// Two tries, since select picks any of several: a context that is over asks for nothing.
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
		return call, nil // of a connection that has ended, the reader knows why
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

// send writes one datagram: wholly, or not at all.
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

// wait is for the end of a call. After ctx's error the call goes on.
func (c *call) wait(ctx context.Context) (*reply, error) {
	select {
	case <-c.done:
		return c.reply, c.err
	case <-ctx.Done():
	}
	select {
	case <-c.done: // both at once: what the daemon said counts
		return c.reply, c.err
	default:
		return nil, ctx.Err()
	}
}

// require gives an error if the daemon lacks one of those features, which it is asked for once. To
// ask it for more would be malformed.
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

// greet asks the daemon what it can do.
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

// lacks gives those of the features that the daemon is too old for, as far as is known. One that can
// check knows of a dev, and where it offers none it says why when it is asked to mount one.
func (c *channel) lacks(features Feature) Feature {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.features
	if known&FeatureCheck != 0 {
		known |= FeatureDev
	}
	return features &^ known
}

// dial connects. Where the queue of the socket is full, connect(2) without blocking fails at once:
// so it is tried again until ctx ends.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	const pauseMax = 50 * time.Millisecond
	var dialer net.Dialer

	if path[0] == '@' { // package net's abstract sockets, which mountatd has none of
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
