// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// outage is whether bb_runner fails requests through no fault of theirs. It logs when that begins, and
// when it is over: not each request between.
type outage struct {
	log     *slog.Logger
	metrics *metrics
	socket  string

	mu     sync.Mutex
	text   string // of the first failure; empty if there is none
	ofRun  bool   // it said so to Run: that it says to be ready ends nothing
	failed int    // requests
}

// judge takes what came of a request, and whether it was bb_runner that answered. It gives the error
// that bb_worker gets: bb_runner's own as it is.
func (o *outage) judge(method string, answered bool, err error) error {
	code := status.Code(err)
	switch {
	case code == codes.OK, answered && code == codes.InvalidArgument: // an action that can't be started
		o.succeeded(method)
		return err
	case code == codes.Canceled || code == codes.DeadlineExceeded:
		return err
	}
	text := ofRunner + status.Convert(err).Message()
	if !answered {
		text = o.explain(status.Convert(err).Message())
		err = status.Error(code, text)
	}
	o.began(method, answered, code, text)
	return err
}

// explain is about gRPC's text. Of connecting, it has what connectRunner says to do.
func (o *outage) explain(text string) string {
	text = fmt.Sprintf("%sno answer at %s: %s", ofRunner, o.socket, text)
	if !strings.Contains(text, "while dialing") {
		text += ": is that bb_runner's socket? See its log"
	}
	return text
}

func (o *outage) began(method string, answered bool, code codes.Code, text string) {
	o.metrics.failures.WithLabelValues(stepRunner).Inc()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed++
	o.ofRun = o.ofRun || answered && method == methodRun
	if o.text == "" {
		o.text = text
		o.log.Warn(text, slog.String("step", stepRunner), slog.String("method", method),
			slog.String("code", code.String()))
	}
}

func (o *outage) succeeded(method string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text == "" || o.ofRun && method != methodRun {
		return
	}
	o.log.Info(ofRunner+"answers again", slog.String("method", method), slog.Int("failed", o.failed))
	o.text, o.ofRun, o.failed = "", false, 0
}

// why is the text of the failure with which it began; empty if there is none.
func (o *outage) why() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text
}

// Status is one line about what goes on, for a person.
func (p *Proxy) Status() string {
	state := p.readiness.state()
	if why := p.outage.why(); state == stateReady && why != "" {
		state = stateNotReady + why
	}
	return strings.ReplaceAll(actions(p.running.Load())+"; "+state, "\n", " ")
}
