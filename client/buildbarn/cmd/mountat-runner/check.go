// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/mountatd/mountatd/client/buildbarn/internal/proxy"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// The user of the service's unit, and where its options are.
const (
	serviceUser     = "mountat-runner"
	optionsFile     = "/etc/default/mountat-runner"
	optionsVariable = "MOUNTAT_RUNNER_OPTIONS"
)

// check runs --check and returns the exit status: 0 if all is well, else 1.
func check(o *options, out io.Writer) int {
	// Clean up on a signal too, and if the reader of the output is gone.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer stop()
	signal.Ignore(unix.SIGPIPE)

	r := &report{out: out}
	who, asRoot, err := becomeServiceUser()
	if err != nil {
		r.line(proxy.Fail, "user", err.Error())
		return r.end()
	}
	r.line(proxy.OK, "user", who)
	if err := hide(); err != nil {
		r.line(proxy.Fail, "user", "this host: cannot become non-dumpable: "+err.Error())
	}
	if err := proxy.Probe(); err != nil {
		r.line(proxy.Fail, "kernel", "this host: "+err.Error())
	}
	runner, err := proxy.DialRunner(o.runner, o.maxMessageSize)
	if err != nil {
		r.line(proxy.Fail, "bb_runner", err.Error())
		return r.end()
	}
	defer runner.Close()
	trial := newProxy(o, runner, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	trial.Try(ctx, proxy.TrialOptions{Report: r.line, AsRoot: asRoot})
	checkService(ctx, o, r)
	if ctx.Err() != nil {
		r.line(proxy.Fail, "check", "interrupted; what it made is removed")
	}
	return r.end()
}

// report writes a line per step.
type report struct {
	out    io.Writer
	failed int
	err    error // of out
}

func (r *report) line(verdict proxy.Verdict, step, text string) {
	if verdict == proxy.Fail {
		r.failed++
	}
	r.printf("%-4s  %-15s  %s\n", verdict, step, proxy.OneLine(text))
}

func (r *report) printf(format string, arguments ...any) {
	_, err := fmt.Fprintf(r.out, format, arguments...)
	r.err = cmp.Or(r.err, err)
}

func (r *report) end() int {
	switch r.failed {
	case 0:
		r.printf("All is well.\n")
	case 1:
		r.printf("1 check failed: see FAIL.\n")
	default:
		r.printf("%d checks failed: see FAIL. Fix the first, then check again.\n", r.failed)
	}
	if r.err != nil {
		return cannotWrite(r.err)
	}
	return min(r.failed, 1)
}

// becomeServiceUser switches from root to the service's user, since root's rights say nothing about the
// service's. It keeps the current user if there is no such user, as in containers. asRoot runs a function
// with root's rights afterwards; it is nil if the program wasn't started by root.
func becomeServiceUser() (who string, asRoot func(func() error) error, err error) {
	if os.Geteuid() != 0 {
		return describeUser(), nil, nil
	}
	service, err := user.Lookup(serviceUser)
	if errors.As(err, new(user.UnknownUserError)) {
		return describeUser() + ": correct if the service runs as this user", nil, nil
	}
	if err == nil {
		asRoot, err = become(service)
	}
	if err != nil {
		return "", nil, fmt.Errorf("this host: cannot switch to the user %s: %w: run --check as that user", serviceUser, err)
	}
	return describeUser(), asRoot, nil
}

// become switches to u but keeps root as the saved set-user-ID, so that asRoot can switch back. No
// capability is effective meanwhile: capabilities(7).
func become(u *user.User) (asRoot func(func() error) error, err error) {
	names, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	var groups []int
	for _, name := range append(names, u.Uid, u.Gid) {
		id, err := strconv.Atoi(name)
		if err != nil {
			return nil, err
		}
		groups = append(groups, id)
	}
	uid, gid := groups[len(groups)-2], groups[len(groups)-1]
	groups = groups[:len(groups)-2]
	// Package syscall's functions, unlike package unix's, change all threads.
	err = errors.Join(syscall.Setgroups(groups), syscall.Setresgid(gid, gid, gid), syscall.Setresuid(uid, uid, 0))
	return func(do func() error) error {
		if err := syscall.Setresuid(-1, 0, -1); err != nil {
			return err
		}
		mask := unix.Umask(0)
		err := do()
		unix.Umask(mask)
		return errors.Join(err, syscall.Setresuid(-1, uid, -1))
	}, err
}

func describeUser() string {
	ids, err := os.Getgroups()
	if err != nil {
		return err.Error()
	}
	groups := []string{nameOfGroup(os.Getegid())}
	for _, id := range ids {
		if id != os.Getegid() {
			groups = append(groups, nameOfGroup(id))
		}
	}
	name := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return fmt.Sprintf("%s (uid %d), groups: %s", name, os.Geteuid(), strings.Join(groups, ", "))
}

func nameOfGroup(id int) string {
	name := strconv.Itoa(id)
	if group, err := user.LookupGroupId(name); err == nil {
		return group.Name
	}
	return name
}

// checkService asks the service, if it is running, as bb_worker does.
func checkService(ctx context.Context, o *options, r *report) {
	const step = "service"
	info, err := os.Stat(o.listen)
	if err == nil && info.Mode()&fs.ModeSocket == 0 {
		r.line(proxy.Fail, step, "this host: "+o.listen+" is not a socket: remove it")
		return
	}
	if err == nil {
		err = connect(o.listen)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		r.line(proxy.Note, step, "not running yet at "+o.listen+": systemctl enable --now mountat-runner")
		return
	case err != nil:
		r.line(proxy.Fail, step, fmt.Sprintf("this host: cannot connect to %s: %v: %s", o.listen, err,
			connectCure(err, info)))
		return
	}
	service, err := proxy.DialRunner(o.listen, o.maxMessageSize)
	if err == nil {
		defer service.Close()
		timed, cancel := context.WithTimeout(ctx, 2*o.mountTimeout)
		defer cancel()
		err = proxy.CheckReadiness(timed, service)
	}
	if err != nil {
		r.line(proxy.Fail, step, fmt.Sprintf("the service at %s answers: %v", o.listen, err))
		return
	}
	r.line(proxy.OK, step, fmt.Sprintf("ready at %s; bb_worker may connect as %s", o.listen, mayConnect(info)))
}

// connectCure takes the socket's information, or nil if even that is denied.
func connectCure(err error, socket fs.FileInfo) string {
	switch {
	case !errors.Is(err, fs.ErrPermission):
		return "is it another program's socket?"
	case socket == nil:
		return "this user may not enter its directory: run --check as root"
	}
	return fmt.Sprintf("it is open to %s: run --check as such a user", mayConnect(socket))
}

// mayConnect returns who may connect: those with write permission.
func mayConnect(socket fs.FileInfo) string {
	mode := socket.Mode().Perm()
	if mode&0o002 != 0 {
		return "any user"
	}
	stat := socket.Sys().(*syscall.Stat_t)
	who := []string{"root"}
	if mode&0o200 != 0 && stat.Uid != 0 {
		who = append(who, fmt.Sprintf("uid %d", stat.Uid))
	}
	if mode&0o020 != 0 {
		who = append(who, "a member of the group "+nameOfGroup(int(stat.Gid)))
	}
	return strings.Join(who, ", or ")
}
