// SPDX-License-Identifier: Apache-2.0

// Package testdaemon runs the real mountatd for tests: the program that MOUNTATD names, or one built in
// build/. This needs root. Main moves the whole test program to its own mount namespace.
package testdaemon

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const inNamespaceVariable = "MOUNTAT_TEST_IN_NAMESPACE"

// Main is to be called by TestMain, which exits with its result. Without a namespace, tests that need the
// daemon are skipped.
func Main(m *testing.M) (code int) {
	if os.Geteuid() == 0 && os.Getenv(inNamespaceVariable) == "" && program() != "" {
		if code, ran := runInNamespace(); ran {
			return code
		}
	}
	return m.Run()
}

func runInNamespace() (code int, ran bool) {
	test := exec.Command("/proc/self/exe", os.Args[1:]...)
	test.Env = append(os.Environ(), inNamespaceVariable+"=1")
	test.Stdin, test.Stdout, test.Stderr = os.Stdin, os.Stdout, os.Stderr
	test.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // and private
	err := test.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), true
	}
	return 0, err == nil
}

// program is the daemon's path, empty if there is none.
func program() string {
	if path := os.Getenv("MOUNTATD"); path != "" {
		return path
	}
	directory, err := os.Getwd()
	if err != nil {
		return ""
	}
	for ; directory != "/"; directory = filepath.Dir(directory) {
		if paths, _ := filepath.Glob(directory + "/build/*/daemon/mountatd"); len(paths) > 0 {
			return paths[0]
		}
	}
	return ""
}

// Daemon is a running mountatd.
type Daemon struct {
	Socket string

	t         *testing.T
	directory string
	instance  string
	options   []string
	apart     bool
	process   *exec.Cmd
	log       *bytes.Buffer
}

// Start runs a daemon until the end of the test, and then checks that no mount is left.
func Start(t *testing.T, options ...string) *Daemon {
	t.Helper()
	if program() == "" {
		t.Skip("there is no mountatd: set MOUNTATD to its path")
	}
	if os.Getenv(inNamespaceVariable) == "" {
		t.Skip("needs root with CAP_SYS_ADMIN")
	}
	directory, err := os.MkdirTemp("", "mountatd") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	d := &Daemon{
		Socket:    filepath.Join(directory, "socket"),
		t:         t,
		directory: directory,
		instance:  fmt.Sprintf("test-go-%d", os.Getpid()),
		options:   options,
	}
	t.Cleanup(d.end)
	d.Restart()
	return d
}

// SetOptions sets the options of the next Restart.
func (d *Daemon) SetOptions(options ...string) {
	d.options = options
}

// SetApart sets whether the next Restart uses a separate mount namespace.
func (d *Daemon) SetApart(apart bool) {
	d.apart = apart
}

// Restart starts it again, after Stop or Kill.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.log = new(bytes.Buffer)
	d.process = exec.Command(program(), append([]string{
		"--listen=" + d.Socket,
		"--instance=" + d.instance,
		"--runtime-directory=" + d.directory,
	}, d.options...)...)
	d.process.Stderr = d.log
	if d.apart {
		d.process.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
	Eventually(d.t, "the daemon listens", func() bool {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			d.t.Fatal(err)
		}
		defer unix.Close(fd)
		return unix.Connect(fd, &unix.SockaddrUnix{Name: d.Socket}) == nil
	})
}

// Stop ends it gracefully.
func (d *Daemon) Stop() {
	d.t.Helper()
	if d.process.ProcessState != nil {
		return
	}
	d.process.Process.Signal(unix.SIGTERM)
	if err := d.process.Wait(); err != nil {
		d.t.Errorf("the daemon: %v\n%s", err, d.log)
	}
}

// Kill ends it by a signal that leaves its mounts to the next instance: SIGKILL, SIGUSR1.
func (d *Daemon) Kill(signal unix.Signal) {
	d.t.Helper()
	if err := d.process.Process.Signal(signal); err != nil {
		d.t.Fatal(err)
	}
	d.process.Wait()
}

func (d *Daemon) end() {
	if d.process == nil {
		return
	}
	d.Continue()
	d.Stop()
	if left := d.Mounts(); left != 0 {
		d.t.Errorf("%d mounts are left", left)
	}
}

// Logged counts the lines of its log with that text, after Stop or Kill.
func (d *Daemon) Logged(text string) int {
	return strings.Count(d.log.String(), text)
}

// Freeze stops every thread of it, until Continue.
func (d *Daemon) Freeze() {
	d.t.Helper()
	if err := d.process.Process.Signal(unix.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	Eventually(d.t, "all of the daemon's threads stand still", func() bool {
		paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.process.Process.Pid))
		for _, path := range paths {
			stat, readErr := os.ReadFile(path)
			if readErr != nil || !bytes.Contains(stat, []byte(") T ")) {
				return false
			}
		}
		return err == nil && len(paths) > 0
	})
}

// Continue ends Freeze.
func (d *Daemon) Continue() {
	if d.process.ProcessState == nil {
		d.process.Process.Signal(unix.SIGCONT)
	}
}

// Mounts counts what this daemon has in the mount table.
func (d *Daemon) Mounts() int {
	d.t.Helper()
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		d.t.Fatal(err)
	}
	defer file.Close()
	count := 0
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if strings.Contains(scanner.Text(), " mountatd:"+d.instance+" ") {
			count++
		}
	}
	return count
}

// Eventually waits until what is true.
func Eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

// Log is a buffer for concurrent writers.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// Count returns how often it contains the text.
func (l *Log) Count(text string) int {
	return strings.Count(l.String(), text)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
