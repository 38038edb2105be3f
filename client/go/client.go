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

// SocketVariable is the environment variable that overrides DefaultSocket.
const SocketVariable = "MOUNTATD_SOCKET"

// Client is one connection to the daemon, from [Dial] to [Client.Close]. When the daemon is restarted
// it reconnects and keeps its leases.
type Client struct {
	connection *connection
	dialer     *Dialer
}

// Dial connects to the daemon's socket: path; or, if that is empty, the value of [SocketVariable]
// (ignored in a privileged program); or [DefaultSocket]. A relative path must stay valid for
// reconnecting. If the daemon isn't there, Dial fails at once. A daemon with too many connections
// accepts and then refuses: the next call returns [StatusLimitExceeded].
func Dial(ctx context.Context, path string) (*Client, error) {
	return (&Dialer{Socket: path}).Dial(ctx)
}

// Dialer connects any number of Clients to one daemon. They share the knowledge that this process is in
// another mount namespace than the daemon, so a program that opens a Client per mount should use one
// Dialer for all. The zero Dialer is ready to use. It must not be copied.
type Dialer struct {
	Socket string // as [Dial] takes it

	// MaxIdle is how many connections of closed Clients are kept, each for 10 seconds, to be reused by
	// the next Dial, which then needn't wait for the daemon to accept. None of them has a lease. Call
	// [Dialer.CloseIdle] when the process changes its user or its namespaces.
	MaxIdle int

	away atomic.Bool // in another mount namespace: connections enter before they mount
	idle idleChannels
}

// Dial is the function [Dial] with the Dialer's socket. It may be called concurrently.
func (d *Dialer) Dial(ctx context.Context) (*Client, error) {
	path := d.Socket
	if path == "" {
		path = socketPath()
	}
	ch := d.idle.take(path)
	if ch == nil {
		socket, err := dial(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("cannot connect to mountatd at %s: %w%s", Escape(path), err, advice(err))
		}
		ch = newChannel(socket, &d.away)
		go ch.read()
	}
	return &Client{newConnection(path, ch), d}, nil
}

// CloseIdle closes the connections that are kept for later Clients.
func (d *Dialer) CloseIdle() {
	d.idle.endAll()
}

func socketPath() string {
	if path := os.Getenv(SocketVariable); path != "" && !hasPrivileges() {
		return path
	}
	return DefaultSocket
}

// hasPrivileges reports whether execve(2) gave this program more privileges than its caller had
// (AT_SECURE, getauxval(3)), or can't tell.
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
	case errors.Is(err, unix.EINVAL):
		return ": a Unix socket's path has at most 107 bytes"
	case errors.Is(err, fs.ErrPermission):
		return ": is this user in the group mountat, and has it logged in since it was added?"
	}
	return ""
}

// Close ends the connection, which releases its leases except kept ones ([Keep]). It doesn't wait for
// the release; [Lease.Release] does, also after Close. A Client that isn't closed stays connected. The
// connection of a Client without leases and pending requests may be reused: see [Dialer.MaxIdle].
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

// Done returns a channel that is closed when the Client ends: by Close; because the daemon broke the
// protocol ([ErrProtocol]); or because it refused the connection while there was no lease to keep. Then
// no lease is held any more. A daemon that goes away doesn't end a Client: see [Lease.Done].
func (c *Client) Done() <-chan struct{} {
	return c.connection.over
}

// Err returns why the Client has ended, nil before.
func (c *Client) Err() error {
	return c.connection.why()
}

// Hello is the daemon's version and features.
type Hello struct {
	Version  string // such as "mountatd 1.2.3"
	Features Feature
}

// Hello asks for the daemon's version and features.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	q := inquiry{request: request{operation: operationHello}}
	if err := c.connection.ask(ctx, &q); err != nil {
		return Hello{}, failed(operationHello, err)
	}
	if q.reply.status != StatusOK {
		return Hello{}, newReplyError(operationHello, q.reply, 0)
	}
	return Hello{Version: Escape(q.reply.text), Features: Feature(q.reply.flags)}, nil
}

// failed adds the operation to an error that doesn't name it.
func failed(op operation, err error) error {
	if refusal, ok := err.(*Error); ok {
		return refusal
	}
	return fmt.Errorf("mountatd: %s: %w", op, err)
}
