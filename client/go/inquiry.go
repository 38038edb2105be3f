// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How often one call may lose its connection: the request itself might crash the daemon.
const lossesMax = 8

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
