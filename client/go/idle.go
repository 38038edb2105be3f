// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"net"
	"slices"
	"sync"
	"time"
)

// How long a [Dialer] keeps an unused connection.
const idleTimeout = 10 * time.Second

// idleChannels are the connections of a Dialer's closed Clients, the latest last.
type idleChannels struct {
	mu   sync.Mutex // guards all
	kept []idleChannel
}

type idleChannel struct {
	path    string
	channel *channel
	timer   *time.Timer // ends it
}

// take removes and returns one that is connected, or nil.
func (i *idleChannels) take(path string) *channel {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := len(i.kept) - 1; n >= 0; n-- {
		kept := i.kept[n]
		if kept.path != path {
			continue
		}
		i.kept = slices.Delete(i.kept, n, n+1)
		if kept.timer.Stop() && kept.channel.why() == nil {
			return kept.channel
		}
	}
	return nil
}

// keep takes ownership of the channel, and closes it if that many are kept already.
func (i *idleChannels) keep(path string, ch *channel, most int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.kept) >= most {
		ch.fail(lost(net.ErrClosed))
		return
	}
	i.kept = append(i.kept, idleChannel{path, ch, time.AfterFunc(idleTimeout, func() { i.end(ch) })})
}

// end closes a channel after idleTimeout, unless take stopped the timer in time.
func (i *idleChannels) end(ch *channel) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kept = slices.DeleteFunc(i.kept, func(kept idleChannel) bool { return kept.channel == ch })
	ch.fail(lost(net.ErrClosed))
}

func (i *idleChannels) endAll() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, kept := range i.kept {
		kept.timer.Stop()
		kept.channel.fail(lost(net.ErrClosed))
	}
	i.kept = nil
}
