// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	mountat "github.com/mountatd/mountatd/client/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// outage tracks whether bb_runner fails requests that are valid. It logs the beginning and the end of an
// outage, but not each request between.
type outage struct {
	log     *LimitedLog
	metrics *metrics
	socket  string

	mu     sync.Mutex
	text   string // of the first failure; empty without an outage
	ofRun  bool   // Run failed, so a successful CheckReadiness doesn't end the outage
	failed int    // number of failed requests
}

// judge takes the error of a request, and whether it is bb_runner's answer. It returns the error for
// bb_worker: bb_runner's answer unchanged, or an explanation.
func (o *outage) judge(method string, answered bool, err error) error {
	code := status.Code(err)
	switch {
	case code == codes.OK, answered && code == codes.InvalidArgument: // the action can't be started
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

// explain adds what to do to gRPC's text, unless connectRunner has.
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
		o.log.warn(text, slog.String("step", stepRunner), slog.String("method", method),
			slog.String("code", code.String()))
	}
}

func (o *outage) succeeded(method string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text == "" || o.ofRun && method != methodRun {
		return
	}
	o.log.info(ofRunner+"answers again", slog.String("method", method), slog.Int("failed", o.failed))
	o.text, o.ofRun, o.failed = "", false, 0
}

// why returns the text of the outage's first failure; empty without an outage.
func (o *outage) why() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text
}

// Status returns one line about the current state, for systemctl.
func (p *Proxy) Status() string {
	state := p.readiness.state()
	if why := p.outage.why(); state == stateReady && why != "" {
		state = stateNotReady + why
	}
	return OneLine(actions(p.running.Load()) + "; " + state)
}

// OneLine makes text, which may quote another program, safe for a terminal. Backslashes stay: they are those
// of texts that are quoted already.
func OneLine(text string) string {
	return strings.ReplaceAll(mountat.Escape(strings.ReplaceAll(text, "\n", " ")), `\x5c`, `\`)
}
