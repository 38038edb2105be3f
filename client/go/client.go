// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// DefaultSocket is where mountatd listens.
const DefaultSocket = "/run/mountatd/socket"

// SocketVariable names the environment's variable that overrides DefaultSocket.
const SocketVariable = "MOUNTATD_SOCKET"

// Client is one connection to the daemon, from [Dial] until [Client.Close]. When the daemon is
// restarted it connects again, and keeps its leases.
type Client struct {
	connection *connection
	dialer     *Dialer
}

// Dial connects to the daemon's socket: path, or if that is empty the environment's
// [SocketVariable] (ignored in a program with privileges), or [DefaultSocket]. A daemon that has
// too many connections accepts, and then refuses: the next call gives [StatusLimitExceeded]. A
// relative path must stay true, for connecting again. Of a daemon that isn't there Dial says so at
// once.
func Dial(ctx context.Context, path string) (*Client, error) {
	return (&Dialer{Socket: path}).Dial(ctx)
}

// Dialer connects any number of Clients to one daemon. What one of them finds out, that this process is
// in another mount namespace than the daemon, the others need not; so who opens a Client for each mount
// has one Dialer for all of them. The zero Dialer is ready. It must not be copied.
type Dialer struct {
	Socket string // as [Dial] takes it

	// MaxIdle is how many connections are kept when their Clients are closed, each for 10 seconds, for
	// those that are dialled next: they need not wait for the daemon to take them. None has a lease.
	// A process that changes its user or its namespaces calls [Dialer.CloseIdle].
	MaxIdle int

	away atomic.Bool // it is: a connection is to enter before it mounts
	idle idleChannels
}

// Dial is the function [Dial] with the Dialer's socket. May be called by many at once.
func (d *Dialer) Dial(ctx context.Context) (*Client, error) {
	path := d.Socket
	if path == "" {
		path = socketPath()
	}
	ch := d.idle.take(path)
	if ch == nil {
		socket, err := dial(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("cannot connect to mountatd at %s: %w%s", escape(path), err, advice(err))
		}
		ch = newChannel(socket, &d.away)
		go ch.read()
	}
	return &Client{newConnection(path, ch), d}, nil
}

// CloseIdle ends the connections that are kept for Clients to come.
func (d *Dialer) CloseIdle() {
	d.idle.endAll()
}

func socketPath() string {
	if path := os.Getenv(SocketVariable); path != "" && !hasPrivileges() {
		return path
	}
	return DefaultSocket
}

// hasPrivileges tells whether the kernel started this program with more rights than its caller had
// (AT_SECURE, getauxval(3)); if that can't be known, it says yes.
func hasPrivileges() bool {
	const atSecure = 23
	vector, err := unix.Auxv()
	if err != nil {
		return true
	}
	for _, entry := range vector {
		if entry[0] == atSecure {
			return entry[1] != 0
		}
	}
	return true
}

func advice(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return ": is mountatd installed, and is mountatd.socket active?"
	case errors.Is(err, unix.EPROTOTYPE):
		return ": this isn't mountatd's socket"
	case errors.Is(err, fs.ErrPermission):
		return ": is this user in the group mountat, and has it logged in since it was added?"
	}
	return ""
}

// Close ends the connection, which releases its leases but not kept ones ([Keep]); it doesn't wait
// for that ([Lease.Release] does, also afterwards). A Client that isn't closed stays connected. One that
// has no lease any more, and waits for no answer, may leave its connection to the next: see
// [Dialer.MaxIdle].
func (c *Client) Close() error {
	var spare *channel
	if c.dialer.MaxIdle > 0 {
		spare = c.connection.spare()
	}
	c.connection.fail(lost(net.ErrClosed))
	if spare != nil {
		c.dialer.idle.keep(c.connection.path, spare, c.dialer.MaxIdle)
	}
	return nil
}

// Done is closed when the Client has ended: by Close; because the daemon broke the protocol
// ([ErrProtocol]); or because it refused the connection while there was no lease to keep. Then no
// lease is held any more. A daemon that goes away doesn't end a Client: see [Lease.Done].
func (c *Client) Done() <-chan struct{} {
	return c.connection.over
}

// Err says why the Client has ended; nil before.
func (c *Client) Err() error {
	return c.connection.why()
}

// Hello is the daemon's answer to who it is.
type Hello struct {
	Version  string // such as "mountatd 1.2.3"
	Features Feature
}

// Hello asks who answers.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	q := inquiry{request: request{operation: operationHello}}
	if err := c.connection.ask(ctx, &q); err != nil {
		return Hello{}, failed(operationHello, err)
	}
	if q.reply.status != StatusOK {
		return Hello{}, newReplyError(operationHello, q.reply, 0)
	}
	return Hello{Version: escape(q.reply.text), Features: Feature(q.reply.flags)}, nil
}

// failed names the operation in an error that doesn't do so itself.
func failed(op operation, err error) error {
	if refusal, ok := err.(*Error); ok {
		return refusal
	}
	return fmt.Errorf("mountatd: %s: %w", op, err)
}
