// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// Why no action can have its mounts here, beside the names of mountatd's statuses: values of the
// label reason.
const (
	reasonBuildDirectory = "build-directory" // can't be opened, or is closed to this user
	reasonInputRoot      = "input-root"      // can't be opened, or prepared
	reasonNoAnswer       = "no-answer"       // mountatd isn't there, or stalls
)

// What mountatd doesn't refuse when it is asked, and refuses when it shall mount, is only known by an
// action that fails. Then no work is taken for a pause, which is doubled until one has succeeded.
const (
	pauseMin = 5 * time.Second
	pauseMax = time.Minute
)

// obstacle is why no action can have its mounts here, whatever is wrong or right with the action.
type obstacle struct {
	reason string
	err    error // a gRPC status; its text says what to do
}

// readiness is whether actions can have their mounts here: what was found when it was last asked
// for, and what came of actions since. It logs changes.
type readiness struct {
	log      *slog.Logger
	metrics  *metrics
	what     string // actions can have
	pauseMin time.Duration
	pauseMax time.Duration

	mu      sync.Mutex
	asked   bool
	reason  string    // empty if it is ready
	text    string    // of the reason
	refusal *obstacle // of an action's mount, until one succeeds or mountatd refuses when asked
	retry   time.Time // when an action may try whether it is still there
	pause   time.Duration
}

// settle takes what was found when it was asked for, nil for nothing, and gives the answer.
func (r *readiness) settle(found *obstacle) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case found != nil: // and when that is gone, so is what it had caused
		r.refusal, r.pause = nil, 0
	case r.refusal == nil:
		r.change("", "")
		return nil
	case time.Now().Before(r.retry):
		found = r.refusal
	default:
		return nil // try; nothing is known to have changed yet
	}
	r.change(found.reason, status.Convert(found.err).Message())
	return found.err
}

// refused is for a mount that was refused through no fault of the action's.
func (r *readiness) refused(o *obstacle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.refusal != nil && now.Before(r.retry) {
		return // one that had begun before
	}
	r.pause = min(max(2*r.pause, r.pauseMin), r.pauseMax)
	r.retry = now.Add(r.pause)
	r.refusal = o
	r.change(o.reason, status.Convert(o.err).Message())
}

// granted is for a mount that was not.
func (r *readiness) granted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusal != nil {
		r.refusal, r.pause = nil, 0
		r.change("", "")
	}
}

const (
	stateReady    = "ready"
	stateNotReady = "not ready: "
)

// state is for a person.
func (r *readiness) state() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.asked:
		return "starting"
	case r.reason == "":
		return stateReady
	}
	return stateNotReady + r.text
}

// change is to be called with the lock held. Another text for the same reason is not logged.
func (r *readiness) change(reason, text string) {
	r.text = text
	if r.asked && r.reason == reason {
		return
	}
	r.metrics.setReady(r.reason, reason)
	r.asked, r.reason = true, reason
	if reason == "" {
		r.log.Info("ready: actions get " + r.what)
	} else {
		r.log.Warn("not ready, so bb_worker takes no work: "+text, slog.String("reason", reason))
	}
}

// Check asks what CheckReadiness asks about this machine, logs it if it is news, and says why not.
// Errors are gRPC statuses.
func (p *Proxy) Check(ctx context.Context) error {
	found := p.findObstacle(ctx)
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return p.readiness.settle(found)
}

// findObstacle opens the build directory, and asks mountatd whether it would mount below.
func (p *Proxy) findObstacle(ctx context.Context) *obstacle {
	directory, err := openBuildDirectory(p.buildDirectory)
	if err != nil {
		return &obstacle{reasonBuildDirectory, err}
	}
	defer directory.Close()
	if err := p.mounter.check(ctx, directory); err != nil {
		return p.mounter.obstacle(err, directory)
	}
	if _, _, err := lookAtBuildDirectory(directory); err != nil {
		return &obstacle{reasonBuildDirectory, err}
	}
	return nil
}
