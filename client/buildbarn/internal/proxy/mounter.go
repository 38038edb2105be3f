// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	mountat "github.com/mountatd/mountatd/client/go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How long to wait for a missing daemon: without socket activation, it is away while it restarts.
const absenceTimeout = time.Second

// How many idle connections to keep for the next actions. A larger burst has to connect.
const maxIdle = 8

// mounter gets leases from mountatd. Each has its own connection: if this program is killed, the kernel
// closes it and the daemon unmounts. The first one finds out whether this program is in a container.
type mounter struct {
	dialer         *mountat.Dialer
	flags          mountat.Flags
	mountTimeout   time.Duration
	releaseTimeout time.Duration
	absenceTimeout time.Duration
}

// hold is a lease with its connection.
type hold struct {
	client  *mountat.Client
	lease   *mountat.Lease
	timeout time.Duration
}

// absent is an error from connecting.
type absent struct{ error }

func (a absent) Unwrap() error { return a.error }

// noDev is the refusal of a mountatd that offers no /dev at all.
type noDev struct{ error }

func (n noDev) Unwrap() error { return n.error }

// check asks the daemon whether it would mount below directory, which stays the caller's. With a daemon
// older than 0.2 it only sees that it is there, and that it offers no /dev.
func (m *mounter) check(ctx context.Context, directory *os.File) error {
	timed, cancel := context.WithTimeout(ctx, m.mountTimeout)
	defer cancel()
	client, err := m.dial(timed)
	if err != nil {
		return err
	}
	defer client.Close()
	for _, target := range m.flags.Targets(directory) {
		err := client.Check(timed, target) // one by one: a request with the same directory twice is refused
		if err != nil && !errors.Is(err, mountat.StatusUnknownOperation) {
			return classify(timed, client, err, target.FileSystem)
		}
	}
	return nil
}

// classify distinguishes a daemon without /dev from one that doesn't mount on this directory: both refuse
// with StatusUnsupportedFileSystem.
func classify(ctx context.Context, client *mountat.Client, err error, of mountat.FileSystem) error {
	if of != mountat.FileSystemDev || !errors.Is(err, mountat.StatusUnsupportedFileSystem) {
		return err
	}
	if hello, failed := client.Hello(ctx); failed == nil && hello.Features&mountat.FeatureDev == 0 {
		return noDev{err}
	}
	return err
}

// mount mounts below root, which stays the caller's.
func (m *mounter) mount(ctx context.Context, root *os.File) (*hold, error) {
	timed, cancel := context.WithTimeout(ctx, m.mountTimeout)
	defer cancel()
	client, err := m.dial(timed)
	if err != nil {
		return nil, err
	}
	lease, err := client.Mount(timed, root, m.flags)
	if err != nil {
		defer client.Close()
		return nil, m.classifyMount(timed, client, err)
	}
	return &hold{client, lease, m.releaseTimeout}, nil
}

func (m *mounter) classifyMount(ctx context.Context, client *mountat.Client, err error) error {
	var refusal *mountat.Error
	targets := m.flags.Targets(nil)
	if errors.As(err, &refusal) && refusal.Target >= 0 && refusal.Target < len(targets) {
		return classify(ctx, client, err, targets[refusal.Target].FileSystem)
	}
	return err
}

// mountpoints returns what an action gets, such as "/proc and /sys", for messages.
func (m *mounter) mountpoints() string {
	var names []string
	for _, target := range m.flags.Targets(nil) {
		names = append(names, "/"+target.FileSystem.Directory())
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

func (m *mounter) dial(ctx context.Context) (*mountat.Client, error) {
	giveUp := time.Now().Add(m.absenceTimeout)
	var absence error
	for {
		client, err := m.dialer.Dial(ctx)
		if err == nil {
			return client, nil
		}
		// err only says that the time is over, which package net may notice before ctx ends.
		if absence != nil && (ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)) {
			return nil, absent{absence}
		}
		passes := errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
		if !passes || ctx.Err() != nil || time.Now().After(giveUp) {
			return nil, absent{err}
		}
		absence = err
		time.Sleep(20 * time.Millisecond)
	}
}

// isOfTheAction reports whether the mount failed because of this action's files or timing, so that other
// actions may succeed, or for a reason that check sees too.
func isOfTheAction(err error) bool {
	for _, of := range []error{
		mountat.StatusNotADirectory, mountat.StatusAlreadyMounted, mountat.StatusTargetVanished,
		unix.ELOOP, mountat.StatusShuttingDown,
	} {
		if errors.Is(err, of) {
			return true
		}
	}
	return isNoAnswer(err)
}

func isNoAnswer(err error) bool {
	return errors.As(err, new(absent)) || errors.Is(err, mountat.ErrLost) ||
		errors.Is(err, context.DeadlineExceeded)
}

// obstacle explains an error of check or mount below the build directory, which stays the caller's.
func (m *mounter) obstacle(err error, buildDirectory *os.File) *obstacle {
	var refusal *mountat.Error
	reason, cure := reasonInputRoot, ""
	switch {
	case errors.As(err, new(noDev)):
		reason = mountat.StatusUnsupportedFileSystem.String()
		cure = ": or remove dev from mountat-runner's --mount"
	case errors.As(err, &refusal):
		reason, cure = refusal.Status.String(), cureOf(refusal, buildDirectory)
	case isNoAnswer(err):
		reason = reasonNoAnswer
	}
	return &obstacle{reason, status.Errorf(codes.Unavailable, "%s%s", m.explain(err), cure)}
}

// cureOf returns what to do in terms of mountat-runner, which the daemon's own text doesn't know.
func cureOf(refusal *mountat.Error, buildDirectory *os.File) string {
	if refusal.Operation == "enter" && refusal.Status != mountat.StatusHostFailed {
		return "" // it concerns this process, and the text says all
	}
	switch refusal.Status {
	case mountat.StatusNotAuthorised, mountat.StatusUnsupportedFileSystem:
		return cureOfBuildDirectory(nameOf(buildDirectory))
	case mountat.StatusForeignNamespace:
		return fmt.Sprintf(": in containers, add --join=%d to mountatd's options, or run both in one container; "+
			"as services, remove PrivateTmp=, ProtectSystem= and the like from both units", os.Geteuid())
	case mountat.StatusHostFailed:
		return ": see mountatd's log"
	}
	return ""
}

// cureOfBuildDirectory returns the option that mountatd lacks, or why there is none. systemd splits
// MOUNTATD_OPTIONS at spaces, except within quotes: systemd.service(5).
func cureOfBuildDirectory(path string) string {
	option := fmt.Sprintf("--build-directory=%s:%d", path, os.Geteuid())
	switch {
	case path == "/":
		return ": mountatd takes any --build-directory except /: give bb_worker, bb_runner and mountat-runner a " +
			"directory below it"
	case strings.ContainsAny(path, `'"\`):
		return ": rename the build directory: systemd interprets the quotes and backslashes in its path"
	case strings.ContainsAny(path, " \t\n"):
		option = "'" + option + "'"
	}
	return fmt.Sprintf(": add %s to mountatd's options (MOUNTATD_OPTIONS in /etc/default/mountatd) and restart it",
		option)
}

// nameOf returns the kernel's path of a directory, with which mountatd compares its --build-directory.
func nameOf(directory *os.File) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", directory.Fd()))
	if err != nil {
		return directory.Name()
	}
	return name
}

// failed turns an error of mount into a status: the end of the caller's context, a problem of the action's
// files (InvalidArgument), or else of this machine (Unavailable, so that clients retry).
func (m *mounter) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	if errors.Is(err, mountat.StatusNotADirectory) || errors.Is(err, unix.ELOOP) {
		return status.Errorf(codes.InvalidArgument, ofWorker+"cannot mount %s in the input root: %s",
			m.mountpoints(), bare(err))
	}
	return status.Error(codes.Unavailable, m.explain(err))
}

func (m *mounter) explain(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("%sno answer within %v: %s", ofMountatd, m.mountTimeout, bare(err))
	}
	origin, cure := whose(err), ""
	if origin == ofHost {
		cure = cureOfHost(err)
	}
	return fmt.Sprintf("%scannot mount %s: %s%s", origin, m.mountpoints(), bare(err), cure)
}

func (m *mounter) explainRelease(err error) string {
	return fmt.Sprintf("%scannot unmount %s: %s", whose(err), m.mountpoints(), bare(err))
}

// whose returns the prefix for the text of an error of mount, check or release.
func whose(err error) string {
	switch {
	case isExhausted(err):
		return ofHost
	case errors.As(err, new(*mountat.Error)), isNoAnswer(err):
		return ofMountatd
	}
	return ofHost
}

// bare returns the text of an error of the Go client without its prefix, "mountatd: ".
func bare(err error) string {
	return strings.TrimPrefix(err.Error(), ofMountatd)
}

func isExhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// cureOfHost returns what to do about an errno.
func cureOfHost(err error) string {
	switch {
	case isExhausted(err):
		return ": raise the limit on open files: LimitNOFILE= in mountat-runner.service, or sysctl fs.file-max"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Sprintf(": uid %d must be able to enter the build directory and create directories in input "+
			"roots: if bb_worker runs as another user, set allowOther for FUSE, else umask 0 (setUmask)",
			os.Geteuid())
	case errors.Is(err, unix.ENOTCONN):
		return ": nothing serves this FUSE mount: is bb_worker running, and in this mount namespace?"
	}
	return ""
}

// lost returns a channel that is closed when the mounts are gone, or about to go, before release. A
// restart of the daemon keeps them.
func (h *hold) lost() <-chan struct{} {
	return h.lease.Done()
}

// release unmounts and ends the connection. When it returns nil, the input root is as before mount.
func (h *hold) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	defer h.client.Close()
	return h.lease.Release(ctx)
}
