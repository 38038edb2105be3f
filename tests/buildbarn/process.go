// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program of the test that can be ended and restarted.
type process struct {
	name    string
	command []string
	env     []string
	socket  string // on which it listens once it is ready, if any
	network string // of the socket
	log     string // path
	service bool   // restarted when it exits, as by a service manager

	mu      sync.Mutex // guards running
	running *running   // the latest
}

// running is one instance of a process.
type running struct {
	cmd   *exec.Cmd
	ended chan struct{}
	told  bool // was told to end; guarded by the process's mutex
}

func (p *process) start() error {
	if p.socket != "" {
		os.Remove(p.socket) // or a killed instance's socket would look ready
	}
	if err := p.spawn(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return p.awaitSocket()
}

func (p *process) spawn() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = &running{cmd: cmd, ended: make(chan struct{})}
	go p.reap(p.running)
	return nil
}

func (p *process) reap(r *running) {
	r.cmd.Wait()
	close(r.ended)
	time.Sleep(100 * time.Millisecond)
	p.mu.Lock()
	again := p.service && !r.told
	p.mu.Unlock()
	if again {
		p.spawn()
	}
}

// now returns the latest instance.
func (p *process) now() *running {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

func (p *process) pid() int {
	return p.now().cmd.Process.Pid
}

func (p *process) awaitSocket() error {
	if p.socket == "" {
		return nil
	}
	return eventually(p.name+" listens", func() error {
		if !p.isRunning() {
			return fmt.Errorf("%s has ended\n%s", p.name, p.tail())
		}
		connection, err := net.Dial(p.network, p.socket)
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	r := p.running
	r.told = true
	p.mu.Unlock()
	r.cmd.Process.Signal(signal)
	<-r.ended
}

// kill kills it without a chance to clean up.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
}

// killGroup also kills its children, as a service manager does.
func (p *process) killGroup() {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.pid()))
	var children []int
	for _, path := range paths {
		content, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(word); err == nil {
				children = append(children, pid)
			}
		}
	}
	p.kill()
	for _, pid := range children {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// stop ends it gracefully.
func (p *process) stop() {
	p.signal(syscall.SIGTERM)
}

func (p *process) isRunning() bool {
	r := p.now()
	if r == nil {
		return false
	}
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// tail returns the end of its log.
func (p *process) tail() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const count, length = 10, 300
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	lines = lines[max(0, len(lines)-count):]
	for i, line := range lines {
		lines[i] = line[:min(length, len(line))]
	}
	return p.name + " says:\n" + strings.Join(lines, "\n")
}

// threads returns the lines of /proc/PID/task/*/status with that prefix, one per thread.
func (p *process) threads(key string) ([]string, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.pid()))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("%s has no threads: %v", p.name, err)
	}
	var values []string
	for _, path := range paths {
		status, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has just ended
		} else if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(status) {
			if value, found := strings.CutPrefix(string(line), key+":"); found {
				values = append(values, strings.TrimSpace(value))
			}
		}
	}
	return values, nil
}

// eventually waits until the condition holds.
func eventually(what string, try func() error) error {
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s: %w", patience, what, err)
		}
	}
}
