// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	remoteexecution "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type rootDigest = *remoteexecution.Digest

const (
	manyAtOnce     = 8
	manyEach       = 100
	manyEachInside = 25 // fewer: the same daemon, and no mountat-runner
)

// runKind runs all cases with one kind of build directory, the most realistic first. Cases that depend only
// on the mounts run with mountat-runner: the decorator makes the same mounts.
func (c *cases) runKind(kind string) {
	c.tryEach(kind, []tried{
		{"without mounts, a program can't read /proc/self/exe", c.failsWithout},
		{"with them, a static program reads /proc/self/exe", c.worksWith},
		{"an action has sysfs, sees no process of others, can't write to /proc/sys", c.isConfined},
		{"an action has a /dev of its own, of which it can change nothing", c.isConfinedInDev},
		{"the privileges of all programs", c.privileges},
	})
	switch c.variant {
	case proxy:
		c.tryEach(kind, []tried{{"mountat-runner --check finds nothing wrong, and leaves nothing", c.checks}})
		for i := range toolchains {
			c.runToolchain(kind, &toolchains[i])
		}
		c.tryEach(kind, []tried{
			{"inputRootCharacterDeviceNodes alone: go fails on FUSE, works on native", c.nodesOf},
			{"Buildbarn's own: an action goes on when its client is gone", c.clientGone},
			{"Buildbarn's own: a result is found again, but for another platform", c.resultFoundAgain},
			{"Buildbarn's own: cleanProcessTable kills actions of another bb_runner's same user", c.cleansProcessTable},
			{"kill -9 of mountat-runner during an action", c.killProxy},
			{"a planned restart of mountatd during an action", c.restartDaemon},
		})
	case inside:
		c.tryEach(kind, []tried{{"what can't be mounted is refused at the start", c.refusesToStart}})
	}
	c.tryEach(kind, []tried{
		{"root without proc, sys, dev, output path /: nothing of ours in it", c.outputsOfBare},
		{"root with proc, sys, dev, output path /: all are there, and empty", c.outputsOfReady},
		{"command not found", c.commandNotFound},
		{"a root without /usr/bin/env: the action can't be started", c.cannotStart},
		{"non-zero exit", c.nonZeroExit},
		{"timeout of a sleeping action", c.timeout},
		{"a daemonised child with its cwd in /proc", c.daemonisedChild},
		{fmt.Sprintf("%d at once, %d each (inside: %d)", manyAtOnce, manyEach, manyEachInside), c.many},
		{"mountatd is stopped: no action runs without /proc; then it does", c.daemonStopped},
		{"kill -9 of bb_runner during an action", c.killRunner},
		{"kill -9 of bb_worker during an action", c.killWorker},
		{"kill -9 of mountatd during an action", c.killDaemon},
	})
}

type tried struct {
	name string
	run  func(kind string) error
}

func (c *cases) tryEach(kind string, all []tried) {
	for _, each := range all {
		c.test(kind, each.name, func() error { return each.run(kind) })
	}
}

func (c *cases) test(kind, name string, run func() error) {
	if !strings.Contains(name, c.only) {
		return
	}
	if !c.results.test(c.column(kind), name, run) {
		c.tidyUp()
	}
}

// column is a column of the results table.
func (c *cases) column(kind string) string {
	if c.variant == inside {
		return kind + ", inside"
	}
	return kind
}

// shell is an action in the root with empty mountpoints.
func (c *cases) shell(kind, script string) action {
	return action{kind: kind, variant: c.variant, root: c.roots[rootReady], command: []string{"/bin/sh", "-c", script}}
}

// An action's /dev, as listed by the shell.
const devices = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"

func (c *cases) isConfinedInDev(kind string) error {
	o := c.client.run(c.shell(kind, `
		cd /dev && echo *
		echo gone >null && busybox head -c 2 zero | busybox wc -c
		(echo x >full) 2>&- && echo full takes it
		for change in "chmod 0 null" "rm null" "mv null none" "mknod own c 1 3" "mkdir own" "touch own"; do
			busybox $change 2>&- && echo did $change
		done
		echo pts/* shm/*`))
	return errors.Join(expectExit(o, 0, devices+"\n2\npts/ptmx shm/*"), c.expectNothingLeft(kind))
}

func expectExit(o outcome, code int32, stdout string) error {
	if o.err != nil || o.code != code || strings.TrimSpace(o.stdout) != stdout {
		return fmt.Errorf("wanted exit code %d and %q, got: %v", code, stdout, o)
	}
	return nil
}

// By its path: busybox's shell may run its own tools without exec.
const readExe = "/bin/readlink /proc/self/exe"

// nextActionRuns checks that a failure doesn't prevent later actions. The worker may still be restarting.
func (c *cases) nextActionRuns(kind string) error {
	err := eventually("the next action runs", func() error {
		return expectExit(c.client.runWhenReady(c.shell(kind, readExe)), 0, "/bin/readlink")
	})
	return errors.Join(err, c.expectNothingLeft(kind))
}

func (c *cases) failsWithout(kind string) error {
	a := c.shell(kind, readExe)
	a.variant = plain
	return expectExit(c.client.runWhenReady(a), 1, "")
}

func (c *cases) worksWith(kind string) error {
	if err := expectExit(c.client.runWhenReady(c.shell(kind, readExe)), 0, "/bin/readlink"); err != nil {
		return err
	}
	return c.expectNothingLeft(kind)
}

// checks runs --check while all is running, as the service's user. Each step is one of an action's.
func (c *cases) checks(kind string) error {
	command := slices.Concat(c.process(kind, proxy).command, []string{"--check"})
	output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	steps := []string{"ok    bb_runner", "ok    mountatd", "ok    build directory", "ok    rights", "ok    service"}
	if kind == kindFUSE {
		steps = append(steps, "ok    mount ", "ok    unmount ")
	} else {
		steps = append(steps, "note  mount ") // only bb_worker can create directories there
	}
	for _, step := range steps {
		if !strings.Contains(string(output), step) {
			return fmt.Errorf("there is no %q: %s", step, output)
		}
	}
	return c.expectNothingLeft(kind)
}

func (c *cases) isConfined(kind string) error {
	o := c.client.run(c.shell(kind, `
		test -d /sys/kernel && echo sysfs
		test -e /proc/1 && echo sees others
		test -e /proc/$$ || echo does not see itself
		(echo >/writable) 2>&- || echo cannot write at all
		for file in /proc/sys/kernel/core_pattern /proc/self/oom_score_adj; do
			(echo 500 >$file) 2>&- && echo wrote to $file
		done
		echo /proc/[0-9]* | busybox wc -w`))
	if o.err != nil || o.code != 0 {
		return errors.New(o.String())
	}
	// The shell, and the programs that it starts to count.
	if words := strings.Fields(o.stdout); len(words) != 2 || words[0] != "sysfs" || len(words[1]) != 1 {
		return fmt.Errorf("the action tells: %v", o)
	}
	return nil
}

// outputsOf runs an action whose output is the whole root.
func (c *cases) outputsOf(kind, root string) (*remoteexecution.Directory, error) {
	a := c.shell(kind, readExe+" && touch /made")
	a.root, a.outputs = c.roots[root], []string{""}
	o := c.client.run(a)
	if err := expectExit(o, 0, "/bin/readlink"); err != nil {
		return nil, err
	}
	return c.client.outputTree(o)
}

func (c *cases) outputsOfBare(kind string) error {
	directory, err := c.outputsOf(kind, rootBare)
	if err != nil {
		return err
	}
	return errors.Join(expectNames("directories", directory.Directories, "bin", "usr"),
		expectNames("files", directory.Files, "made"), c.expectNothingLeft(kind))
}

func (c *cases) outputsOfReady(kind string) error {
	directory, err := c.outputsOf(kind, rootReady)
	if err != nil {
		return err
	}
	empty := newBlob(nil).digest
	for _, each := range directory.Directories {
		isMountpoint := each.Name == "proc" || each.Name == "sys" || each.Name == "dev"
		if isMountpoint && each.Digest.Hash != empty.Hash {
			return fmt.Errorf("%s isn't empty", each.Name)
		}
	}
	return errors.Join(expectNames("directories", directory.Directories, "bin", "dev", "proc", "sys", "usr"),
		expectNames("files", directory.Files, "made"), c.expectNothingLeft(kind))
}

func expectNames[T interface{ GetName() string }](what string, nodes []T, want ...string) error {
	var got []string
	for _, node := range nodes {
		got = append(got, node.GetName())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		return fmt.Errorf("the output has the %s %q, wanted %q", what, got, want)
	}
	return nil
}

func (c *cases) commandNotFound(kind string) error {
	a := c.shell(kind, "")
	a.command = []string{"no-such-program"}
	if o := c.client.run(a); o.err != nil || o.code != 127 {
		return fmt.Errorf("wanted exit code 127, got: %v", o)
	}
	return c.nextActionRuns(kind)
}

func (c *cases) refusesToStart(kind string) error {
	p := c.runner(kind, &variant{"refused", inside.program, "proc,shm"})
	p.log = c.in(kind + "-refused.log")
	if err := p.spawn(); err != nil {
		return err
	}
	defer p.kill()
	err := eventually("it ends", func() error {
		if p.isRunning() {
			return errors.New("it runs")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !strings.Contains(p.tail(), `contains "shm", while it must be`) {
		return errors.New(p.tail())
	}
	return nil
}

func (c *cases) cannotStart(kind string) error {
	a := c.shell(kind, "")
	a.root = c.roots[rootNoEnv]
	o := c.client.run(a)
	if status.Code(o.err) != codes.InvalidArgument || !strings.Contains(o.err.Error(), "Failed to start process") {
		return fmt.Errorf("wanted bb_runner's own words, got: %v", o)
	}
	return c.nextActionRuns(kind)
}

func (c *cases) nonZeroExit(kind string) error {
	if err := expectExit(c.client.run(c.shell(kind, readExe+"; exit 7")), 7, "/bin/readlink"); err != nil {
		return err
	}
	return c.expectNothingLeft(kind)
}

func (c *cases) timeout(kind string) error {
	a := c.shell(kind, "exec sleep 100")
	a.timeout = time.Second
	o := c.client.run(a)
	if status.Code(o.err) != codes.DeadlineExceeded {
		return fmt.Errorf("wanted DEADLINE_EXCEEDED, got: %v", o)
	}
	return c.nextActionRuns(kind)
}

func (c *cases) daemonisedChild(kind string) error {
	// Buildbarn waits until the action's output is closed, and an action has more descriptors of it.
	o := c.client.run(c.shell(kind, `(for fd in $(busybox seq 0 30); do eval "exec $fd>&-"; done
		cd /proc; exec setsid sleep 600) & sleep 0.2; `+readExe))
	if err := expectExit(o, 0, "/bin/readlink"); err != nil {
		return err
	}
	if err := c.expectNothingLeft(kind); err != nil {
		return err
	}
	children, err := processesOf(actionUser)
	if err != nil || len(children) == 0 {
		return fmt.Errorf("the child has gone already, so this shows nothing: %v", err)
	}
	for _, child := range children {
		defer syscall.Kill(child, syscall.SIGKILL)
	}
	return c.nextActionRuns(kind)
}

// processesOf returns a user's processes without zombies.
func processesOf(user int) ([]int, error) {
	var pids []int
	paths, err := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range paths {
		status, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		if strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t", user)) &&
			!strings.Contains(string(status), "\nState:\tZ") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids, err
}

func (c *cases) many(kind string) error {
	each := manyEach
	if c.variant == inside {
		each = manyEachInside
	}
	var group sync.WaitGroup
	failed := make(chan error, manyAtOnce)
	for i := range manyAtOnce {
		group.Add(1)
		go func() {
			defer group.Done()
			// Mounts of concurrent actions aren't visible.
			a := c.shell(kind, "test ! -e /dev/shm/mine && touch /dev/shm/mine && "+readExe)
			if i%2 == 1 {
				a.root = c.roots[rootBare]
			}
			for range each {
				if err := expectExit(c.client.run(a), 0, "/bin/readlink"); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	group.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, c.expectNothingLeft(kind))...)
}

// countMounts counts the lines of the mount table.
func countMounts() int {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return -1
	}
	return bytes.Count(table, []byte("\n"))
}
