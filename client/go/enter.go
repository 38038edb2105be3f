// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// A daemon that may (--join) mounts also in the mount namespace of a client that lives in another, as
// in a container. It goes there when it is handed this process' namespaces, once for a connection and
// before the first mount. It isn't asked to without need: to refuse that would cost it a line in its log.

// Where the namespaces of this process are. Not in /proc/self, which has those of the main thread: any
// goroutine can have moved that one elsewhere, by runtime.LockOSThread and unshare(2) or setns(2). Whoever
// opens them here runs in a goroutine of its own, which is never put on a thread that is locked for
// another; so its thread is where this program's other goroutines are.
var namespacesDirectory = "/proc/thread-self/ns/"

var namespaces = [...]struct {
	kind FileSystem
	name string
}{
	{namespaceMount, "mnt"}, // without it the others are of no use
	{namespacePID, "pid"},
	{namespaceNetwork, "net"},
}

// openNamespaces gives the targets of an enter, as many of them as can be opened; none, without an
// error, if the mount namespace can't. An error: this process is short of something.
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

// entrance is an attempt to enter. It is nobody's in particular, so that it goes on when the context of
// one of those who wait for it ends. When done is closed, err is set.
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

// enter has the daemon's end of the connection enter the namespaces of this process, if it hasn't yet
// and the daemon can: then hasEntered. An error is the daemon's refusal, or how the attempt failed.
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

// attemptEntrance starts one, or gives the one that is under way, or final. nil: there is no need.
func (c *channel) attemptEntrance() *entrance {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entrance == nil && !c.home {
		c.entrance = &entrance{done: make(chan struct{})}
		go c.runEntrance(c.entrance)
	}
	return c.entrance
}

// runEntrance ends with the channel at the latest. What can be otherwise a moment later is not final:
// who needs it next tries again, since a lease that isn't adopted in time would be lost.
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

// sendNamespaces does nothing, without an error, if the daemon lets this user enter nothing.
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
