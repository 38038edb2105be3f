// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// errLost is the cause of cancelling an action that has lost its mounts.
var errLost = errors.New("mountatd went away")

// checkReadiness returns an error while actions can't get their mounts, so that bb_worker takes no work;
// else bb_runner's answer.
func (p *Proxy) checkReadiness(ctx context.Context, request *emptypb.Empty) (*emptypb.Empty, error) {
	if err := p.Check(ctx); err != nil {
		p.count(stepReadiness, err)
		return nil, err
	}
	return p.forward(ctx, methodCheckReadiness, request)
}

// run mounts, forwards the action, and unmounts before it replies, since bb_worker then uploads from the
// input root and deletes it.
func (p *Proxy) run(ctx context.Context, request *emptypb.Empty) (response *emptypb.Empty, err error) {
	p.metrics.actions.Inc()
	a := p.begin()
	defer func() { p.end(a, err) }()
	a.path, err = inputRootPath(request)
	if err != nil {
		return nil, p.fail(stepRequest, a.path, status.Error(codes.InvalidArgument, ofWorker+err.Error()))
	}
	held, err := p.mount(ctx, a.path)
	a.mounted = time.Now()
	if err != nil {
		return nil, err
	}

	a.lease = held.lease.ID()
	response, runErr := p.runHolding(ctx, held, request)
	a.ran = time.Now()
	releaseErr := p.release(held, a.path)

	switch {
	case errors.Is(runErr, errLost):
		return nil, p.fail(stepLost, a.path, status.Errorf(codes.Unavailable,
			ofMountatd+"went away during the action, which lost its %s", p.mounter.mountpoints()))
	case releaseErr != nil && ctx.Err() == nil:
		return nil, releaseErr
	}
	return response, runErr
}

func (p *Proxy) mount(ctx context.Context, path string) (*hold, error) {
	start := time.Now()
	directory, err := openBuildDirectory(p.buildDirectory)
	if err != nil {
		return nil, p.fail(stepInputRoot, path, err)
	}
	defer directory.Close()
	root, err := openInputRoot(directory, path)
	if err != nil {
		// An invalid path is bb_worker's fault, and says nothing about other actions.
		if status.Code(err) != codes.InvalidArgument && ctx.Err() == nil {
			p.readiness.refused(&obstacle{reasonInputRoot, err})
		}
		return nil, p.fail(stepInputRoot, path, err)
	}
	defer root.Close()
	held, err := p.mounter.mount(ctx, root)
	if err != nil {
		if !isOfTheAction(err) && ctx.Err() == nil {
			p.readiness.refused(p.mounter.obstacle(err, directory))
		}
		return nil, p.fail(stepMount, path, p.mounter.failed(ctx, err))
	}
	p.readiness.granted()
	p.metrics.leases.Inc()
	observe(p.metrics.mount, start)
	return held, nil
}

// runHolding forwards the action. It returns early if the caller goes away, or, with errLost, if the mounts
// do.
func (p *Proxy) runHolding(ctx context.Context, held *hold, request *emptypb.Empty) (*emptypb.Empty, error) {
	holding, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-held.lost():
			cancel(errLost)
		case <-holding.Done():
		}
	}()

	response, err := p.forward(holding, methodRun, request)
	// Even if the action succeeded at the same time: it may have seen an empty /proc.
	if errors.Is(context.Cause(holding), errLost) {
		return nil, errLost
	}
	return response, err
}

// release has its own timeout, since the caller's context has often ended.
func (p *Proxy) release(held *hold, path string) error {
	start := time.Now()
	err := held.release()
	p.metrics.leases.Dec()
	observe(p.metrics.release, start)
	if err == nil {
		return nil
	}
	return p.fail(stepRelease, path, status.Error(codes.Unavailable, p.mounter.explainRelease(err)))
}

// fail counts and logs a failure, unless the caller's context ended.
func (p *Proxy) fail(step, path string, err error) error {
	if p.count(step, err) {
		p.limited.warn(status.Convert(err).Message(), slog.String("step", step),
			slog.String("input_root", path), slog.String("code", status.Code(err).String()))
	}
	return err
}

// count counts a failure, and reports whether err is one.
func (p *Proxy) count(step string, err error) bool {
	code := status.Code(err)
	if code == codes.Canceled || code == codes.DeadlineExceeded {
		return false
	}
	p.metrics.failures.WithLabelValues(step).Inc()
	return true
}
