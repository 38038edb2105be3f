// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// whileSleeping starts an action, and calls do once it has its mounts. The channel delivers the outcome.
func (c *cases) whileSleeping(kind, script string, do func() error) (<-chan outcome, error) {
	result := make(chan outcome, 1)
	go func() { result <- c.client.run(c.shell(kind, script)) }()
	if err := c.expectMounts(mountsOfAll); err != nil {
		return result, err
	}
	return result, do()
}

func await(result <-chan outcome) outcome {
	select {
	case o := <-result:
		return o
	case <-time.After(time.Minute):
		return outcome{err: errors.New("the action isn't told as ended")}
	}
}

// expectFailure checks an action during which something was killed: it may fail with a retryable error, but
// must not succeed.
func expectFailure(result <-chan outcome) error {
	o := await(result)
	switch status.Code(o.err) {
	case codes.Unavailable, codes.Internal, codes.Canceled:
		return nil
	}
	return fmt.Errorf("wanted a failure, got: %v", o)
}

// killed checks that the mounts are gone after p's end, and that actions run when it is back.
func (c *cases) killed(kind string, p *process) error {
	result, err := c.whileSleeping(kind, "exec sleep 300", func() error {
		p.killGroup()
		if err := c.expectMounts(0); err != nil {
			return err
		}
		return p.start()
	})
	if err != nil {
		return err
	}
	return errors.Join(expectFailure(result), c.nextActionRuns(kind))
}

func (c *cases) killProxy(kind string) error {
	return c.killed(kind, c.process(kind, proxy))
}

func (c *cases) killRunner(kind string) error {
	return c.killed(kind, c.actionRunner(kind))
}

// actionRunner returns the bb_runner of the actions.
func (c *cases) actionRunner(kind string) *process {
	if c.variant == inside {
		return c.process(kind, inside)
	}
	return c.process(kind, plain)
}

// The next instance adopts mountat-runner's leases: the action goes on.
func (c *cases) killDaemon(kind string) error {
	return c.daemonRestarted(kind, syscall.SIGKILL)
}

func (c *cases) restartDaemon(kind string) error {
	return c.daemonRestarted(kind, syscall.SIGUSR1)
}

func (c *cases) daemonRestarted(kind string, signal syscall.Signal) error {
	result, err := c.whileSleeping(kind, "sleep 3; "+readExe, func() error {
		c.mountatd.signal(signal)
		return c.mountatd.start()
	})
	if err != nil {
		return err
	}
	return errors.Join(expectExit(await(result), 0, "/bin/readlink"), c.nextActionRuns(kind))
}

// When the worker is back, the scheduler retries the action, which must find no trace of the first attempt.
func (c *cases) killWorker(kind string) error {
	worker := c.workers[kind]
	result, err := c.whileSleeping(kind, "sleep 3; "+readExe, func() error {
		worker.kill()
		if err := c.expectMounts(0); err != nil {
			return err
		}
		return worker.start()
	})
	if err != nil {
		return err
	}
	return errors.Join(expectExit(await(result), 0, "/bin/readlink"), c.nextActionRuns(kind))
}

// daemonStopped: without mountatd the worker takes no work, or the action fails with a retryable error.
func (c *cases) daemonStopped(kind string) error {
	c.mountatd.stop()
	result := make(chan outcome, 1)
	go func() { result <- c.client.run(c.shell(kind, readExe)) }()
	time.Sleep(time.Second)
	if err := c.mountatd.start(); err != nil {
		return err
	}
	o := await(result)
	if status.Code(o.err) != codes.Unavailable && expectExit(o, 0, "/bin/readlink") != nil {
		return fmt.Errorf("wanted UNAVAILABLE or success, got: %v", o)
	}
	return c.nextActionRuns(kind)
}
