// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/status"
)

// action is what the debug log says about a Run.
type action struct {
	path    string
	lease   uint64 // 0: none
	start   time.Time
	mounted time.Time // or refused
	ran     time.Time
}

func (p *Proxy) begin() *action {
	p.running.Add(1)
	return &action{start: time.Now()}
}

// end takes the error that bb_worker gets.
func (p *Proxy) end(a *action, err error) {
	p.running.Add(-1)
	if !p.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	attributes := []any{slog.String("input_root", a.path), slog.String("code", status.Code(err).String())}
	if a.lease != 0 {
		attributes = append(attributes, slog.String("lease", fmt.Sprintf("%016x", a.lease)),
			slog.Duration("mount", a.mounted.Sub(a.start)), slog.Duration("run", a.ran.Sub(a.mounted)),
			slog.Duration("release", time.Since(a.ran)))
	}
	if err != nil {
		attributes = append(attributes, slog.String("error", status.Convert(err).Message()))
	}
	p.log.Debug("action", attributes...)
}

// actions formats the number of running actions.
func actions(n int64) string {
	if n == 1 {
		return "1 action running"
	}
	return fmt.Sprintf("%d actions running", n)
}
