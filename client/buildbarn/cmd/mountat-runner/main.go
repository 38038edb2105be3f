// SPDX-License-Identifier: Apache-2.0

// Mountat-runner stands between Buildbarn's bb_worker and bb_runner, and gives the input root of
// each action /proc, /sys and /dev by asking mountatd. It needs no privilege. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// exitUsage is EX_USAGE of sysexits(3): Go's runtime has 2 for a panic, after which the unit starts
// the program again.
const exitUsage = 64

func main() {
	os.Exit(program(os.Args[1:]))
}

func program(arguments []string) int {
	o, err := parseOptions(arguments, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage
	case o.version:
		fmt.Println("mountat-runner", version())
		return 0
	}

	if o.check {
		return check(o, os.Stdout)
	}

	onOneProcessor()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.logLevel}))
	if err := hide(); err != nil {
		log.Error("cannot become non-dumpable", slog.Any("error", err))
		return 1
	}
	s, err := newServer(o, log)
	if err != nil {
		log.Error(err.Error())
		return 1
	}
	if o.command != nil {
		return runWith(s, notifyForwarded())
	}
	ctx, kill := onSignals()
	if err := s.run(ctx, kill); err != nil {
		log.Error(err.Error())
		return 1
	}
	return 0
}

// runWith serves for as long as the command runs. That gets the signals, and running actions are
// served until it is done with them. The exit status is the command's.
func runWith(s *server, signals <-chan os.Signal) int {
	if err := s.listen(); err != nil {
		s.log.Error(err.Error())
		return 1
	}
	c, failure := startCommand(s.options.command, s.log)
	if failure != nil {
		s.close()
		s.log.Error(failure.Error())
		return failure.exit
	}
	go c.forward(signals)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-c.ended
		s.log.Info("the command has ended", slog.Int("status", c.exitStatus()))
		cancel()
	}()
	if err := s.serve(ctx, nil); err != nil {
		s.log.Error(err.Error())
		c.end(s.options.stopTimeout)
		return 1
	}
	return c.exitStatus()
}

// onOneProcessor is enough for what mostly waits. On several, each message that goes from goroutine to
// goroutine wakes another thread, a dozen times for an action, and its latency is that of the kernel's
// scheduler. A system call that a file system holds up doesn't count: the runtime gives its place to others.
func onOneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// hide makes /proc/PID of this process root's. An action of the same user, which sees it through
// the very procfs that it got from here, can then neither trace it nor walk out of its root through
// /proc/PID/root: ptrace(2), PR_SET_DUMPABLE in prctl(2).
func hide() error {
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// onSignals gives a context that the first SIGTERM or SIGINT ends, and a channel that the second
// one closes.
func onSignals() (context.Context, <-chan struct{}) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	ctx, cancel := context.WithCancel(context.Background())
	kill := make(chan struct{})
	go func() {
		<-signals
		cancel()
		<-signals
		close(kill)
	}()
	return ctx, kill
}

// release is set by the linker, where a release is built.
var release string

// version is the release, or what the Go tool knows: a module's version, or the commit that was built.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
