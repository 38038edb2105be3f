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

// As in env(1) and shells.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // plus the signal's number
)

// forwarded are the signals forwarded to the command.
var forwarded = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
}

// command is a child process: bb_runner.
type command struct {
	log     *slog.Logger
	process *os.Process
	status  unix.WaitStatus // valid once ended is closed
	ended   chan struct{}
}

// startFailure is why a command can't be started.
type startFailure struct {
	error
	exit int // status of mountat-runner
}

// startCommand starts a command, found by exec.LookPath.
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

// notExecutable is for a program that exists.
func notExecutable(name string, err error) *startFailure {
	err = innermost(err)
	if err == unix.ENOENT {
		err = errors.New("its interpreter or dynamic loader is missing")
	}
	return &startFailure{fmt.Errorf("cannot execute %s: %w", name, err), exitNotExecutable}
}

// innermost unwraps err down to the errno: the names of calls in front of it don't help a user.
func innermost(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// live starts the command and waits for its end. PR_SET_PDEATHSIG (prctl(2)) sends SIGTERM to the command
// when the thread that created it ends, even if the process goes on. So this goroutine locks its thread
// until the command has ended. A set-user-ID command, or one that changes its user, loses the setting;
// after a SIGKILL of mountat-runner nothing else would end it.
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

// commandEnvironment removes the variables that a service manager sets for the process that it started:
// sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
func commandEnvironment(environment []string) []string {
	return slices.DeleteFunc(environment, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "LISTEN_") || strings.HasPrefix(name, "WATCHDOG_") ||
			name == "NOTIFY_SOCKET"
	})
}

// wait waits for the command. As PID 1 of a container it reaps orphans of actions too. The program has no
// other children whose status it could take. A late signal can't hit another process that reuses the
// command's pid, as os.Process uses a pidfd.
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
			panic(os.NewSyscallError("wait4", err)) // impossible: it is our child, SIGCHLD isn't ignored
		}
	}
}

// exitStatus returns the program's exit status for the command's, which must have ended.
func (c *command) exitStatus() int {
	if c.status.Signaled() {
		return exitSignal + int(c.status.Signal())
	}
	return c.status.ExitStatus()
}

// notifyForwarded subscribes to the signals to forward. Those that were ignored at the start stay
// ignored, for the command too: SIGHUP under nohup(1), SIGINT in background jobs of scripts.
func notifyForwarded() <-chan os.Signal {
	signals := make(chan os.Signal, len(forwarded))
	for _, s := range forwarded {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	return signals
}

// forward forwards signals until the command has ended.
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

// isOfTerminal reports whether the command has got the signal already: the terminal sends SIGINT and
// SIGQUIT to its whole foreground process group. Go doesn't say who sent a signal, so if this process is
// in the foreground, one sent by kill(1) isn't forwarded either; SIGTERM always is.
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

// end ends the command when this program can't go on: SIGTERM, and SIGKILL if it takes too long.
func (c *command) end(patience time.Duration) {
	c.signal(unix.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.signal(unix.SIGKILL)
		<-c.ended
	}
}
