// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// As env(1) and shells have it.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // and the signal's number
)

// forwarded are the signals that are the command's.
var forwarded = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
}

// command is a program that runs as a child of this one: bb_runner.
type command struct {
	log     *slog.Logger
	process *os.Process
	status  unix.WaitStatus // once ended is closed
	ended   chan struct{}
}

// startFailure is why a command doesn't run.
type startFailure struct {
	error
	exit int // what the program ends with
}

// startCommand looks for the program as exec.LookPath does.
func startCommand(arguments []string, log *slog.Logger) (*command, *startFailure) {
	name := arguments[0]
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, notFound(name, err)
	}
	c := &command{log: log, ended: make(chan struct{})}
	started := make(chan error)
	go c.live(path, arguments, started)
	if err := <-started; err != nil {
		return nil, notExecutable(name, err)
	}
	log.Info("started", slog.String("command", name), slog.Int("pid", c.process.Pid))
	return c, nil
}

func notFound(name string, err error) *startFailure {
	for _, missing := range []error{exec.ErrNotFound, fs.ErrNotExist, unix.ENOTDIR} {
		if errors.Is(err, missing) {
			return &startFailure{fmt.Errorf("cannot find %s: %w", name, innermost(err)), exitNotFound}
		}
	}
	return notExecutable(name, err)
}

// notExecutable is about a program that has been found.
func notExecutable(name string, err error) *startFailure {
	err = innermost(err)
	if err == unix.ENOENT {
		err = errors.New("its interpreter or dynamic loader is missing")
	}
	return &startFailure{fmt.Errorf("cannot execute %s: %w", name, err), exitNotExecutable}
}

// innermost is without the calls that failed, which tell a person nothing.
func innermost(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// live starts the command and waits for its end. The kernel sends SIGTERM to the command when the
// thread that made it ends, whether or not the process does: PR_SET_PDEATHSIG in prctl(2). So that
// thread is this goroutine's own, until the command has ended. A command that is set-user-ID, or
// changes its user before it executes another, loses that: there is nothing else for a SIGKILL.
func (c *command) live(path string, arguments []string, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	process, err := os.StartProcess(path, arguments, &os.ProcAttr{
		Env:   commandEnvironment(os.Environ()),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM},
	})
	c.process = process
	started <- err
	if err != nil {
		return
	}
	c.status = c.wait()
	close(c.ended)
}

// commandEnvironment leaves out what a service manager addresses to the process that it started, and
// would not take from another: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
func commandEnvironment(environment []string) []string {
	return slices.DeleteFunc(environment, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "LISTEN_") || strings.HasPrefix(name, "WATCHDOG_") ||
			name == "NOTIFY_SOCKET"
	})
}

// wait is where all waiting is done, since PID 1 of a container inherits whatever actions leave
// behind, and must wait for it too. Nothing else in this program has children, so it takes nobody's
// status; and a signal can't reach another process under the pid of the command that was waited for,
// as os.Process has a pidfd.
func (c *command) wait() unix.WaitStatus {
	whom := c.process.Pid
	if os.Getpid() == 1 {
		whom = -1
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(whom, &status, 0, nil)
		switch {
		case pid == c.process.Pid:
			return status
		case err != nil && err != unix.EINTR:
			panic(os.NewSyscallError("wait4", err)) // it is our child, and SIGCHLD isn't ignored
		}
	}
}

// exitStatus is the program's own for the command's, which has ended.
func (c *command) exitStatus() int {
	if c.status.Signaled() {
		return exitSignal + int(c.status.Signal())
	}
	return c.status.ExitStatus()
}

// notifyForwarded collects what there is to forward. SIGHUP and SIGINT stay ignored, for the command
// too, if they were from the start: nohup(1), and background jobs of scripts.
func notifyForwarded() <-chan os.Signal {
	signals := make(chan os.Signal, len(forwarded))
	for _, s := range forwarded {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	return signals
}

// forward passes signals on until the command has ended.
func (c *command) forward(signals <-chan os.Signal) {
	for {
		select {
		case s := <-signals:
			if !isOfTerminal(s) {
				c.signal(s)
			}
		case <-c.ended:
			return
		}
	}
}

func (c *command) signal(s os.Signal) {
	if err := c.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.log.Warn("cannot forward a signal", slog.String("signal", s.String()), slog.Any("error", err))
	}
}

// isOfTerminal tells whether the command has the signal already, since the terminal's keys send it to
// the whole foreground process group. Who sent it Go doesn't tell, so what kill(1) sends to this
// process in the foreground of a terminal counts as well: SIGTERM does the same, and never does.
func isOfTerminal(s os.Signal) bool {
	if s != unix.SIGINT && s != unix.SIGQUIT {
		return false
	}
	terminal, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer terminal.Close()
	foreground, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}

// end is for when this program can't go on: SIGTERM, and SIGKILL to a command that takes too long.
func (c *command) end(patience time.Duration) {
	c.signal(unix.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.signal(unix.SIGKILL)
		<-c.ended
	}
}
