// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	remoteexecution "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Behaviour of Buildbarn itself that looks like a bug of mountat-runner: the last rows of the table in
// client/buildbarn/README.md.

// bb_runner's exit code for a command killed by a signal.
const exitSignalled = -1

// clientGone: an action that nobody waits for any more runs to its end, and the action cache gets its result.
func (c *cases) clientGone(kind string) error {
	a := c.shell(kind, "sleep 3; "+readExe)
	a.cached = rand.Text()
	digest, blobs, err := a.messages()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := c.client.upload(ctx, blobs); err != nil {
		return err
	}
	go c.client.execute(ctx, digest)
	if err := c.expectMounts(mountsOfAll); err != nil {
		return err
	}
	cancel()
	err = eventually("its result", func() error {
		result, err := c.client.cachedResult(digest)
		if err == nil && result.ExitCode != 0 {
			err = fmt.Errorf("it is %v", result)
		}
		return err
	})
	return errors.Join(err, c.expectNothingLeft(kind))
}

// resultFoundAgain: the cache returns the result of an action without /proc, unless the platform has another
// property.
func (c *cases) resultFoundAgain(kind string) error {
	a := c.shell(kind, "test -e /proc/self || echo none")
	a.variant, a.cached = plain, rand.Text()
	if err := expectExit(c.client.run(a), 0, "none"); err != nil {
		return err
	}
	for _, each := range []struct {
		variant *variant
		code    codes.Code
	}{{plain, codes.OK}, {proxy, codes.NotFound}} {
		a.variant = each.variant
		digest, _, err := a.messages()
		if err != nil {
			return err
		}
		if _, err := c.client.cachedResult(digest); status.Code(err) != each.code {
			return fmt.Errorf("%s: wanted %v, got: %v", each.variant.name, each.code, err)
		}
	}
	return nil
}

// cleansProcessTable runs a second bb_runner that cleans the process table, first with its own user.
func (c *cases) cleansProcessTable(kind string) error {
	for _, each := range []struct {
		user, code int
	}{{actionUser - 1, 0}, {actionUser, exitSignalled}} {
		other := c.runner(kind, &variant{fmt.Sprint("cleaning-", each.user), plain.program, mountsNone})
		other.log = c.in(other.name + ".log")
		if err := other.start(); err != nil {
			return err
		}
		defer other.kill()
		result, err := c.whileSleeping(kind, "sleep 3; exit 0", func() error {
			// It has its mounts a moment before bb_runner starts its command.
			return errors.Join(eventually("the action's process", func() error {
				pids, err := processesOf(actionUser)
				if len(pids) == 0 {
					err = errors.Join(err, errors.New("there is none"))
				}
				return err
			}), askReadiness(other.socket))
		})
		if err != nil {
			return err
		}
		if o := await(result); o.err != nil || int(o.code) != each.code {
			return fmt.Errorf("beside %s: wanted exit code %d, got: %v", other.name, each.code, o)
		}
	}
	return c.expectNothingLeft(kind)
}

// askReadiness asks a runner as bb_worker does.
func askReadiness(socket string) error {
	connection, err := dial("unix:" + socket)
	if err != nil {
		return err
	}
	defer connection.Close()
	return connection.Invoke(context.Background(), "/buildbarn.runner.Runner/CheckReadiness",
		new(emptypb.Empty), new(emptypb.Empty))
}

func (c *client) cachedResult(digest *remoteexecution.Digest) (*remoteexecution.ActionResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), everyAction)
	defer cancel()
	return c.cache.GetActionResult(ctx, &remoteexecution.GetActionResultRequest{ActionDigest: digest})
}
