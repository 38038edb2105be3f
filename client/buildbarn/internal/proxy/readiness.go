// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"

	mountat "github.com/mountatd/mountatd/client/go"
	"google.golang.org/grpc/status"
)

// Values of the label reason, why no action can get its mounts, besides the names of mountatd's statuses.
const (
	reasonBuildDirectory = "build-directory" // can't be opened or read by this user
	reasonInputRoot      = "input-root"      // can't be opened or prepared
	reasonNoAnswer       = "no-answer"       // mountatd is away or hangs
)

// Some refusals, such as a limit, show only when an action's mount fails, and not in a check. Then
// bb_worker is refused for a pause, which doubles until a mount succeeds. A success within the pause says
// nothing about a limit, as the end of another action has made room: work would come at once for more than
// there is room for.
const (
	pauseMin = 5 * time.Second
	pauseMax = time.Minute
)

// obstacle is a reason why no action can get its mounts.
type obstacle struct {
	reason string
	err    error // a gRPC status; its text says what to do
}

// readiness tracks whether actions can get their mounts, by the last check and the actions since. It logs
// changes.
type readiness struct {
	log      *LimitedLog
	metrics  *metrics
	what     string // the mountpoints, for the log
	pauseMin time.Duration
	pauseMax time.Duration

	mu      sync.Mutex
	asked   bool
	reason  string    // empty if ready
	text    string    // explains the reason
	refusal *obstacle // of an action's mount, until granted or a check's failure ends it
	retry   time.Time // when an action may try again
	pause   time.Duration
}

// settle takes the result of a check, nil for ready, and returns the answer to CheckReadiness.
func (r *readiness) settle(found *obstacle) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case found != nil: // it explains an earlier refusal too
		r.refusal, r.pause = nil, 0
	case r.refusal == nil:
		r.change("", "")
		return nil
	case time.Now().Before(r.retry):
		found = r.refusal
	default:
		return nil // let an action try; still logged as not ready
	}
	r.change(found.reason, status.Convert(found.err).Message())
	return found.err
}

// refused records that an action's mount was refused for a reason that isn't the action's.
func (r *readiness) refused(o *obstacle) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.refusal != nil && now.Before(r.retry) {
		return // an action that began before the last refusal
	}
	r.pause = min(max(2*r.pause, r.pauseMin), r.pauseMax)
	r.retry = now.Add(r.pause)
	r.refusal = o
	r.change(o.reason, status.Convert(o.err).Message())
}

// granted records that an action got its mounts.
func (r *readiness) granted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusal == nil ||
		r.refusal.reason == mountat.StatusLimitExceeded.String() && time.Now().Before(r.retry) {
		return
	}
	r.refusal, r.pause = nil, 0
	r.change("", "")
}

const (
	stateReady    = "ready"
	stateNotReady = "not ready: "
)

// state returns the state for systemctl.
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

// change records the reason and logs it if it is new. The lock must be held.
func (r *readiness) change(reason, text string) {
	r.text = text
	if r.asked && r.reason == reason {
		return
	}
	r.metrics.setReady(r.reason, reason)
	r.asked, r.reason = true, reason
	if reason == "" {
		r.log.info("ready: actions get " + r.what)
	} else {
		r.log.warn("not ready, so bb_worker takes no work: "+text, slog.String("reason", reason))
	}
}

// Check checks whether actions can get their mounts, as CheckReadiness does, and logs changes. Errors are
// gRPC statuses that say why not.
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
