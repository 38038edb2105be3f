// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// As many lines as mountatd logs about its clients.
const (
	logLines  = 50
	logWindow = 10 * time.Second
)

// limitedLog logs what actions can cause at will. Lines beyond logLines in a window are counted, and the
// count is logged at the end of the window.
type limitedLog struct {
	log    *slog.Logger
	window time.Duration

	mu      sync.Mutex
	lines   int // in the current window, which begins with the first
	omitted int
}

func newLimitedLog(log *slog.Logger) *limitedLog {
	return &limitedLog{log: log, window: logWindow}
}

func (l *limitedLog) info(text string, attributes ...any) {
	if l.admit() {
		l.log.Info(text, attributes...)
	}
}

func (l *limitedLog) warn(text string, attributes ...any) {
	if l.admit() {
		l.log.Warn(text, attributes...)
	}
}

func (l *limitedLog) admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == logLines {
		l.omitted++
		return false
	}
	if l.lines == 0 {
		time.AfterFunc(l.window, l.end)
	}
	l.lines++
	return true
}

// end ends the window, or, before the program ends, logs the count so far.
func (l *limitedLog) end() {
	l.mu.Lock()
	omitted := l.omitted
	l.lines, l.omitted = 0, 0
	l.mu.Unlock()
	if omitted > 0 {
		l.log.Warn(fmt.Sprintf("%d lines about actions suppressed: at most %d are logged in %v", omitted, logLines,
			l.window))
	}
}

// Flush logs the number of lines suppressed so far, before the program ends.
func (p *Proxy) Flush() {
	p.limited.end()
	p.outage.log.end()
}
