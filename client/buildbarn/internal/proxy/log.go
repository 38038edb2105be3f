// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// As many lines as mountatd logs about its clients.
const (
	logLines  = 50
	logWindow = 10 * time.Second
)

// LimitedLog logs what actions and clients can cause at will. Lines beyond logLines in a window are counted,
// and the count is logged at the end of the window.
type LimitedLog struct {
	log    *slog.Logger
	about  string // what the lines are about, in the plural
	window time.Duration

	mu      sync.Mutex
	lines   int // in the current window, which begins with the first
	omitted int
}

// NewLimitedLog returns a log with a window of its own, so that one kind of line doesn't suppress another.
func NewLimitedLog(log *slog.Logger, about string) *LimitedLog {
	return &LimitedLog{log: log, about: about, window: logWindow}
}

// Write logs a line of a [log.Logger].
func (l *LimitedLog) Write(line []byte) (int, error) {
	l.warn(strings.TrimSpace(string(line)))
	return len(line), nil
}

func (l *LimitedLog) info(text string, attributes ...any) {
	if l.admit() {
		l.log.Info(text, attributes...)
	}
}

func (l *LimitedLog) warn(text string, attributes ...any) {
	if l.admit() {
		l.log.Warn(text, attributes...)
	}
}

func (l *LimitedLog) admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == logLines {
		l.omitted++
		return false
	}
	if l.lines == 0 {
		time.AfterFunc(l.window, l.Flush)
	}
	l.lines++
	return true
}

// Flush ends the window, or, before the program ends, logs the count so far.
func (l *LimitedLog) Flush() {
	l.mu.Lock()
	omitted := l.omitted
	l.lines, l.omitted = 0, 0
	l.mu.Unlock()
	if omitted > 0 {
		l.log.Warn(fmt.Sprintf("%d lines about %s suppressed: at most %d are logged in %v", omitted, l.about,
			logLines, l.window))
	}
}

// Flush logs the number of lines suppressed so far, before the program ends.
func (p *Proxy) Flush() {
	for _, log := range []*LimitedLog{p.limited, p.outage.log, p.readiness.log} {
		log.Flush()
	}
}
