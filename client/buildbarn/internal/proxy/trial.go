// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	mountat "github.com/mountatd/mountatd/client/go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Verdict is the result of a step of a trial.
type Verdict string

const (
	OK   Verdict = "ok"
	Fail Verdict = "FAIL"
	Note Verdict = "note" // not an error, as far as known
	Skip Verdict = "skip" // because of an earlier failure
)

// trial does what the first action would do, in a directory of its own instead of an input root.
type trial struct {
	*Proxy
	TrialOptions
}

// TrialOptions are the options of Try.
type TrialOptions struct {
	Report func(verdict Verdict, step, text string)
	AsRoot func(do func() error) error // calls do with root's rights and no umask; nil without them
}

// Try reports step by step whether an action would get its mounts. The text of a failure is as in the log,
// with what to do. Try removes all that it makes, even if ctx ends early, but abandons a call that hangs in
// a file system. It needs a Proxy of its own.
func (p *Proxy) Try(ctx context.Context, options TrialOptions) {
	t := &trial{p, options}
	t.tryRunner(ctx)
	reachable := t.tryMountatd(ctx)
	directory := t.tryBuildDirectory()
	defer directory.Close() // fine for nil
	if directory != nil && reachable && t.tryCheck(ctx, directory) && ctx.Err() == nil {
		t.tryMount(directory)
	} else {
		t.Report(Skip, tryMount, "not tried because of the failure above")
	}
}

const (
	tryRunner         = "bb_runner"
	tryMountatd       = "mountatd"
	tryBuildDirectory = "build directory"
	tryCheck          = "rights"
	tryMount          = "mount"
	tryRelease        = "unmount"
)

// settle reports a step, and returns whether it succeeded.
func (t *trial) settle(step string, err error, well string) bool {
	if err != nil {
		t.Report(Fail, step, status.Convert(err).Message())
		return false
	}
	t.Report(OK, step, well)
	return true
}

func (t *trial) tryRunner(ctx context.Context) {
	timed, cancel := context.WithTimeout(ctx, t.mounter.mountTimeout)
	defer cancel()
	_, err := t.forward(timed, methodCheckReadiness, new(emptypb.Empty))
	switch {
	case err == nil:
	case timed.Err() != nil:
		err = errors.New(t.outage.explain(fmt.Sprintf("timed out after %v", t.mounter.mountTimeout)))
	case !strings.HasPrefix(status.Convert(err).Message(), ofRunner): // bb_runner's own answer
		err = fmt.Errorf("%snot ready: %s", ofRunner, status.Convert(err).Message())
	}
	t.settle(tryRunner, err, "ready at "+t.outage.socket)
}

func (t *trial) tryMountatd(ctx context.Context) bool {
	timed, cancel := context.WithTimeout(ctx, t.mounter.mountTimeout)
	defer cancel()
	hello, err := t.greet(timed)
	if err != nil {
		err = errors.New(t.mounter.explain(err))
	}
	return t.settle(tryMountatd, err, hello)
}

func (t *trial) greet(ctx context.Context) (string, error) {
	client, err := t.mounter.dial(ctx)
	if err != nil {
		return "", err
	}
	defer client.Close()
	hello, err := client.Hello(ctx)
	if err != nil {
		return "", err
	}
	var features []string
	for _, feature := range []struct {
		bit  mountat.Feature
		name string
	}{
		{mountat.FeatureDev, "mounts /dev"}, {mountat.FeatureEnter, "enters this user's containers"},
	} {
		if hello.Features&feature.bit != 0 {
			features = append(features, feature.name)
		}
	}
	if len(features) == 0 {
		return hello.Version, nil
	}
	return hello.Version + ", which " + strings.Join(features, " and "), nil
}

// tryBuildDirectory returns nil if it can't be opened.
func (t *trial) tryBuildDirectory() *os.File {
	type found struct {
		file *os.File
		text string
	}
	f, err := within(t.mounter.mountTimeout, func() (found, error) {
		file, err := openBuildDirectory(t.buildDirectory)
		if err != nil {
			return found{}, err
		}
		text, err := describe(file)
		return found{file, text}, err
	})
	t.settle(tryBuildDirectory, err, f.text)
	return f.file
}

// describe describes the directory, for the operator to see whether it is bb_worker's.
func describe(directory *os.File) (string, error) {
	stat, fs, err := lookAtBuildDirectory(directory)
	if err != nil {
		return "", err
	}
	kind := "not a FUSE mount, so native"
	if fs.Type == unix.FUSE_SUPER_MAGIC {
		kind = "a FUSE mount, so virtual"
	}
	return fmt.Sprintf("%s, %s, owner uid %d, mode %04o", nameOf(directory), kind, stat.Uid, stat.Mode&0o7777), nil
}

func (t *trial) tryCheck(ctx context.Context, directory *os.File) bool {
	err := t.mounter.check(ctx, directory)
	if err != nil {
		err = t.mounter.obstacle(err, directory).err
	}
	return t.settle(tryCheck, err, "mountatd lets this user mount "+t.mounter.mountpoints()+" there")
}

// tryMount mounts in a directory that stands in for an input root. An interrupt waits until it is unmounted
// again, rather than leave that to mountatd.
func (t *trial) tryMount(directory *os.File) {
	name := fmt.Sprintf("mountat-runner-check-%016x", rand.Uint64()) // in containers, pids aren't unique
	root, err := within(t.mounter.mountTimeout, func() (*os.File, error) { return t.makeRoot(directory, name) })
	if errors.Is(err, unix.EACCES) {
		t.Report(Note, tryMount, fmt.Sprintf("not tried: uid %d can't create a directory there, which is fine, but "+
			"it must be able to in the input roots that bb_worker creates: see umask in README.md", os.Geteuid()))
		return
	}
	if err != nil {
		t.settle(tryMount, err, "")
		return
	}
	defer t.removeRoot(directory, name)
	defer root.Close()

	start := time.Now()
	held, err := t.mounter.mount(context.Background(), root)
	if err != nil {
		t.settle(tryMount, t.mounter.obstacle(err, directory).err, "")
		return
	}
	took := time.Since(start)
	t.settle(tryMount, t.lookAt(root), fmt.Sprintf("%s, in %v", t.mounter.mountpoints(), took.Round(time.Microsecond)))

	start = time.Now()
	if err = held.release(); err != nil {
		err = errors.New(t.mounter.explainRelease(err))
	}
	t.settle(tryRelease, err, fmt.Sprintf("in %v", time.Since(start).Round(time.Microsecond)))
}

// makeRoot creates and opens a directory as bb_worker would. The service's user need not be able to, so
// makeRoot uses root's rights if it has them.
func (t *trial) makeRoot(directory *os.File, name string) (*os.File, error) {
	mkdir := func() error { return unix.Mkdirat(int(directory.Fd()), name, 0o777) }
	err := mkdir()
	if err == unix.EACCES && t.AsRoot != nil {
		err = t.AsRoot(mkdir)
	}
	if err != nil {
		return nil, fmt.Errorf("%scannot create the directory %s in the build directory: %w%s", ofHost, name, err,
			cureOfHost(err))
	}
	root, err := openInputRoot(directory, name)
	if err != nil {
		t.removeRoot(directory, name)
	}
	return root, err
}

// removeRoot removes the directory of makeRoot, which is empty.
func (t *trial) removeRoot(directory *os.File, name string) {
	rmdir := func() error { return unix.Unlinkat(int(directory.Fd()), name, unix.AT_REMOVEDIR) }
	err := rmdir()
	if err == unix.EACCES && t.AsRoot != nil {
		err = t.AsRoot(rmdir)
	}
	if err != nil && err != unix.ENOENT {
		path := filepath.Join(nameOf(directory), name)
		t.Report(Fail, tryRelease, fmt.Sprintf("%scannot remove %s: %v: remove it yourself", ofHost, path, err))
	}
}

// The file system type of each mountpoint: statfs(2).
var magic = map[mountat.FileSystem]int64{
	mountat.FileSystemProc:  unix.PROC_SUPER_MAGIC,
	mountat.FileSystemSysfs: unix.SYSFS_MAGIC,
	mountat.FileSystemDev:   unix.TMPFS_MAGIC,
}

// lookAt checks that the mounts are visible from here.
func (t *trial) lookAt(root *os.File) error {
	for _, target := range t.mounter.flags.Targets(nil) {
		name := target.FileSystem.Directory()
		var fs unix.Statfs_t
		fd, err := unix.Openat(int(root.Fd()), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Fstatfs(fd, &fs)
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("%scannot stat the mounted /%s: %w", ofHost, name, err)
		}
		if fs.Type != magic[target.FileSystem] {
			return fmt.Errorf("%sreports /%s as mounted, but another file system is visible there (statfs "+
				"type %#x): do mountat-runner and bb_runner run in different mount namespaces?", ofMountatd, name, fs.Type)
		}
	}
	return nil
}

// within calls do, and gives up after limit if the file system doesn't answer: do goes on, and its result
// is dropped. An interrupt doesn't end it: there may be something to undo.
func within[T any](limit time.Duration, do func() (T, error)) (T, error) {
	type outcome struct {
		result T
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := do()
		done <- outcome{result, err}
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-time.After(limit):
		return *new(T), fmt.Errorf("%sthe build directory's file system didn't answer within %v: is bb_worker, which "+
			"serves it, running?", ofHost, limit)
	}
}

// CheckReadiness asks a runner whether it is ready, as bb_worker does.
func CheckReadiness(ctx context.Context, runner grpc.ClientConnInterface) error {
	err := runner.Invoke(ctx, fullMethod(methodCheckReadiness), new(emptypb.Empty), new(emptypb.Empty))
	if err != nil {
		return errors.New(status.Convert(err).Message())
	}
	return nil
}
