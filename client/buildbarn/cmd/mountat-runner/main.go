// SPDX-License-Identifier: Apache-2.0

// Mountat-runner is a proxy between Buildbarn's bb_worker and bb_runner. It has mountatd mount /proc, /sys
// and /dev in the input root of each action, and needs no privilege. See README.md.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// exitUsage is EX_USAGE of sysexits.h. It isn't 2, the status of a Go panic, after which the unit restarts
// the program.
const exitUsage = 64

func main() {
	os.Exit(program(os.Args[1:]))
}

func program(arguments []string) int {
	o, err := parseOptions(arguments, os.Stderr)
	switch {
	case err != nil:
		return exitUsage
	case o.help != "":
		return say(o.help)
	case o.version:
		return say("mountat-runner " + version() + "\n")
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

// say prints text, and returns the exit status.
func say(text string) int {
	if _, err := os.Stdout.WriteString(text); err != nil {
		return cannotWrite(err)
	}
	return 0
}

func cannotWrite(err error) (exit int) {
	fmt.Fprintln(os.Stderr, "mountat-runner:", err)
	return 1
}

// runWith serves until the command exits, and returns its exit status. Signals are forwarded to the
// command, and its running actions are served until it has completed them.
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

// onOneProcessor sets GOMAXPROCS to 1, enough for a program that mostly waits. With more, each message
// between goroutines wakes another thread, a dozen times per action, and the kernel's scheduling adds
// latency. A system call that a file system blocks doesn't stop the other goroutines.
func onOneProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// hide makes this process non-dumpable, so that root owns its /proc/PID. An action of the same user can
// then neither trace it nor leave its own root through /proc/PID/root: ptrace(2), PR_SET_DUMPABLE in
// prctl(2).
func hide() error {
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// onSignals returns a context that ends at the first SIGTERM or SIGINT, and a channel that is closed at
// the second.
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

// release is set by the linker in a release build.
var release string

// version returns the release, or else the module's version or commit, as recorded by the Go tool.
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
