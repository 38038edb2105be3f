// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// With --join, the daemon mounts in the mount namespace of a client in a container. To do so it enters
// the namespaces that the client sends, once per connection and before the first mount. It isn't asked
// to without need: a refusal costs it a line in its log.

// Where the namespaces of this process are. /proc/self has those of the main thread, which a goroutine
// may have moved elsewhere by runtime.LockOSThread and unshare(2) or setns(2). The files are opened in
// a goroutine of its own, which never runs on a thread locked by another one, so /proc/thread-self has
// the namespaces of this program's ordinary goroutines.
var namespacesDirectory = "/proc/thread-self/ns/"

var namespaces = [...]struct {
	kind FileSystem
	name string
}{
	{namespaceMount, "mnt"}, // required; the others are useless without it
	{namespacePID, "pid"},
	{namespaceNetwork, "net"},
}

// openNamespaces opens the targets of an enter request, as many as it can; none, without an error, if
// the mount namespace can't be opened. An error means that this process is short of a resource.
func openNamespaces() (targets []wireTarget, fds []int, err error) {
	for i, namespace := range namespaces {
		path := namespacesDirectory + namespace.name
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			targets = append(targets, wireTarget{fileSystem: namespace.kind})
			fds = append(fds, fd)
			continue
		}
		if isPassing(err) {
			closeAll(fds)
			return nil, nil, fmt.Errorf("cannot hand this process's namespaces to mountatd: %w",
				&fs.PathError{Op: "open", Path: path, Err: err})
		}
		if i == 0 {
			break
		}
	}
	return targets, fds, nil
}

// entrance is an attempt to enter. All callers that need it wait for the same one, and it goes on if the
// context of one of them ends. Once done is closed, err is set.
type entrance struct {
	done chan struct{}
	err  error
}

func (e *entrance) isOver() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// enter has the daemon enter the namespaces of this process on this connection, unless it has already
// or can't: see hasEntered afterwards. An error is the daemon's refusal or the attempt's failure.
func (c *channel) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entrance := c.attemptEntrance()
	if entrance == nil {
		return nil
	}
	select {
	case <-entrance.done:
		return entrance.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *channel) hasEntered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entered
}

// attemptEntrance starts an attempt, or returns the running or final one; nil if none is needed.
func (c *channel) attemptEntrance() *entrance {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entrance == nil && !c.home {
		c.entrance = &entrance{done: make(chan struct{})}
		go c.runEntrance(c.entrance)
	}
	return c.entrance
}

// runEntrance ends with the channel at the latest. A failure that may pass isn't final: the next caller
// tries again, since a lease that isn't adopted in time would be lost.
func (c *channel) runEntrance(e *entrance) {
	err := c.sendNamespaces(context.Background())

	c.mu.Lock()
	defer c.mu.Unlock()
	if refusal, ok := err.(*Error); err != nil && (!ok || refusal.Status.isPassing()) {
		c.entrance = nil
	}
	e.err = err
	close(e.done)
}

// sendNamespaces does nothing, and returns nil, if the daemon doesn't enter for this user.
func (c *channel) sendNamespaces(ctx context.Context) error {
	if !c.isGreeted() {
		if _, err := c.greet(ctx); err != nil {
			return err
		}
	}
	if c.lacks(FeatureEnter) != 0 {
		return nil
	}
	targets, fds, err := openNamespaces()
	if err != nil || len(fds) == 0 {
		return err
	}
	call, err := c.start(ctx, &request{operation: operationEnter, targets: targets}, fds)
	closeAll(fds)
	if err != nil {
		return err
	}
	reply, err := call.wait(ctx)
	if err != nil {
		return err
	}
	if reply.status != StatusOK {
		return newReplyError(operationEnter, reply, 0)
	}
	return nil
}

func (c *channel) isGreeted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.greeted
}
