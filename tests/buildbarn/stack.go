// SPDX-License-Identifier: Apache-2.0

package main

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The users of the test: ids that nobody else has.
const (
	workerUser  = 60601 // bb_worker with a native build directory
	mountatUser = 60602 // mountat-runner
	runnerUser  = 0     // bb_runner
	mountGroup  = 60603 // may connect to mountatd, like the group mountat
	actionUser  = 65534 // config/runner.libsonnet
)

const (
	kindFUSE   = "fuse"
	kindNative = "native"
	everywhere = "both"
)

const exitInterrupted = 130

// The number of mounts of an action with /proc, /sys and /dev.
const mountsOfAll = 11

var kinds = []string{kindFUSE, kindNative}

//go:embed config
var config embed.FS

// stack is a whole Buildbarn with both kinds of build directory, mountatd and mountat-runner.
type stack struct {
	area     string // the directory for everything
	bin      string // the directory of the programs
	instance string // mountatd's
	client   *client

	storage, scheduler, mountatd *process
	workers                      map[string]*process // by the kind of build directory
	all                          []*process
}

func newStack(bin, mountatd string) (*stack, error) {
	area, err := os.MkdirTemp("", "bb") // short: a socket's path has 107 bytes
	if err != nil {
		return nil, err
	}
	s := &stack{
		area:     area,
		bin:      bin,
		instance: "test-bb-" + filepath.Base(area),
		workers:  make(map[string]*process),
	}
	if err := s.makeDirectories(); err != nil {
		return s, err
	}
	s.client, err = newClient("unix:"+s.socket("storage"), "unix:"+s.socket("client"))
	if err != nil {
		return s, err
	}
	s.describe(mountatd)
	for _, p := range s.all {
		if err := p.start(); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *stack) makeDirectories() error {
	files, err := fs.Sub(config, "config")
	if err != nil {
		return err
	}
	if err := os.CopyFS(s.in("config"), files); err != nil {
		return err
	}
	// All users may enter it and create a socket.
	if err := os.Chmod(s.area, 0o777); err != nil {
		return err
	}
	for _, directory := range []string{
		"mountatd", "fuse", "fuse/build", "native", "native/build", "native/cache",
	} {
		if err := os.Mkdir(s.in(directory), 0o755); err != nil {
			return err
		}
	}
	for _, directory := range []string{"native", "native/build", "native/cache"} {
		if err := os.Chown(s.in(directory), workerUser, workerUser); err != nil {
			return err
		}
	}
	for _, v := range variants {
		if v.isProxy() {
			if err := s.copyProgram(v.program); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyProgram copies a program for a user who may have no access to the checkout.
func (s *stack) copyProgram(name string) error {
	program := filepath.Join(s.bin, name)
	if err := isStatic(program); err != nil {
		return err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	return os.WriteFile(s.in(name), content, 0o755)
}

func (s *stack) in(path string) string {
	return filepath.Join(s.area, path)
}

func (s *stack) socket(name string) string {
	return s.in(name + ".sock")
}

func (s *stack) buildDirectory(kind string) string {
	return s.in(kind + "/build")
}

// describe defines the processes and their users, in the order in which they start.
func (s *stack) describe(mountatd string) {
	s.storage = s.add(s.buildbarn("bb_storage", "storage", "storage"))
	s.scheduler = s.add(s.buildbarn("bb_scheduler", "scheduler", "scheduler"))

	s.mountatd = s.add(&process{
		name:    "mountatd",
		socket:  s.in("mountatd/socket"),
		network: "unixpacket",
		command: append(as(0, mountGroup), mountatd,
			"--listen="+s.in("mountatd/socket"),
			"--instance="+s.instance,
			"--runtime-directory="+s.in("mountatd"),
			fmt.Sprintf("--build-directory=%s:%d", s.buildDirectory(kindFUSE), mountatUser),
			fmt.Sprintf("--build-directory=%s:%d", s.buildDirectory(kindFUSE), runnerUser),
			fmt.Sprintf("--build-directory=%s:%d", s.buildDirectory(kindNative), mountatUser),
			fmt.Sprintf("--build-directory=%s:%d", s.buildDirectory(kindNative), runnerUser)),
	})
	for _, kind := range kinds {
		for _, v := range variants {
			s.add(s.runner(kind, v))
		}
	}

	// root mounts FUSE, as in Buildbarn's deployments; the native worker needs no privilege except to
	// create device nodes.
	s.workers[kindFUSE] = s.add(s.buildbarn("bb_worker", "fuse-worker", ""))
	native := s.add(s.buildbarn("bb_worker", "native-worker", ""))
	native.command = slices.Concat(as(workerUser, workerUser),
		[]string{"--inh-caps=+mknod", "--ambient-caps=+mknod"}, native.command)
	s.workers[kindNative] = native
	// A killed worker leaves a FUSE mount that is busy until its actions have been killed. The next instance
	// can't mount, exits, and is restarted.
	s.workers[kindFUSE].service = true
}

func (s *stack) add(p *process) *process {
	p.log = s.in(fmt.Sprintf("%d-%s.log", len(s.all), p.name))
	s.all = append(s.all, p)
	return p
}

// process returns a variant's process.
func (s *stack) process(kind string, v *variant) *process {
	return s.all[slices.IndexFunc(s.all, func(p *process) bool { return p.name == kind+"-"+v.name })]
}

// buildbarn is one of Buildbarn's programs with a configuration of the test, which reads variable parts from
// the environment.
func (s *stack) buildbarn(program, configuration, socket string) *process {
	p := &process{
		name:    configuration,
		env:     []string{"AREA=" + s.area, "RUNNERS=" + variantNames()},
		network: "unix",
		command: []string{filepath.Join(s.bin, program), s.in("config/" + configuration + ".jsonnet")},
	}
	if socket != "" {
		p.socket = s.socket(socket)
	}
	return p
}

// runner returns the process to which bb_worker connects for a variant.
func (s *stack) runner(kind string, v *variant) *process {
	if v.isProxy() {
		return s.mountatRunner(kind, v)
	}
	return s.bbRunner(kind, v)
}

// bbRunner has the capabilities to chroot and switch users, and no CAP_SYS_ADMIN. Only the one with the
// decorator uses the variables about mountatd.
func (s *stack) bbRunner(kind string, v *variant) *process {
	p := s.buildbarn(v.program, kind+"-runner", kind+"-"+v.name)
	p.name = kind + "-" + v.name
	p.env = append(p.env, "RUNNER="+v.name, "MOUNTATD_MOUNT="+v.mounts,
		"MOUNTATD_SOCKET="+s.in("mountatd/socket"))
	p.command = append([]string{"setpriv", "--inh-caps=-all", "--ambient-caps=-all",
		"--bounding-set=-all,+sys_chroot,+setuid,+setgid,+kill,+dac_override"}, p.command...)
	return p
}

// mountatRunner has no capability, and is in the group that may use mountatd.
func (s *stack) mountatRunner(kind string, v *variant) *process {
	name := kind + "-" + v.name
	return &process{
		name:    name,
		socket:  s.socket(name),
		network: "unix",
		command: []string{"setpriv", fmt.Sprint("--reuid=", mountatUser), fmt.Sprint("--regid=", mountatUser),
			fmt.Sprint("--groups=", mountGroup), "--inh-caps=-all", "--ambient-caps=-all",
			"--bounding-set=-all", "--no-new-privs",
			s.in(v.program),
			"--listen=" + s.socket(name),
			"--mount=" + v.mounts,
			"--listen-mode=0666",
			"--runner=" + s.socket(kind+"-"+plain.name),
			"--build-directory=" + s.buildDirectory(kind),
			"--mountatd=" + s.in("mountatd/socket"),
			"--metrics=" + s.socket(name+"-metrics"),
		},
	}
}

// as runs a command as that user with these capabilities.
func as(user, group int) []string {
	return []string{"setpriv", fmt.Sprint("--reuid=", user), fmt.Sprint("--regid=", group), "--clear-groups"}
}

// mountpoints returns all mountpoints below the build directories: not all mounts of a /dev have mountatd as
// their source.
func (s *stack) mountpoints() ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	var paths []string
	for line := range strings.Lines(string(table)) {
		path := strings.Fields(line)[4] // proc_pid_mountinfo(5)
		for _, kind := range kinds {
			if strings.HasPrefix(path, s.buildDirectory(kind)+"/") {
				paths = append(paths, path)
			}
		}
	}
	return paths, err
}

// tidyUp removes what a failed case has left, so that later cases are meaningful.
func (s *stack) tidyUp() {
	paths, err := s.mountpoints()
	if err != nil {
		return
	}
	for _, path := range paths {
		comment("left behind: " + path)
		syscall.Unmount(path, syscall.MNT_DETACH)
	}
}

func (s *stack) expectMounts(want int) error {
	return eventually(strconv.Itoa(want)+" mounts", func() error {
		got, err := s.mountpoints()
		if err == nil && len(got) != want {
			err = fmt.Errorf("there are %d: %q", len(got), got)
		}
		return err
	})
}

// expectNothingLeft checks the mounts and the build directory, which a worker empties between actions.
func (s *stack) expectNothingLeft(kind string) error {
	if err := s.expectMounts(0); err != nil {
		return err
	}
	return eventually("an empty build directory", func() error {
		entries, err := os.ReadDir(s.buildDirectory(kind))
		if err == nil && len(entries) > 0 {
			err = fmt.Errorf("there is %v", entries)
		}
		return err
	})
}

// close ends everything, and removes the area unless it is needed to debug a failure.
func (s *stack) close(keep bool) {
	for i := len(s.all) - 1; i >= 0; i-- {
		if s.all[i].isRunning() {
			s.all[i].kill()
		}
	}
	syscall.Unmount(s.buildDirectory(kindFUSE), syscall.MNT_DETACH)
	if keep {
		comment("logs are in " + s.area)
		return
	}
	os.RemoveAll(s.area)
}

// closeOnSignal closes if the test is interrupted.
func (s *stack) closeOnSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
	s.close(false)
	os.Exit(exitInterrupted)
}
