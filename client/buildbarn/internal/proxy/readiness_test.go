// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	mountat "github.com/mountatd/mountatd/client/go"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// expectUnready asks twice: the answer contains all of wanted, and the log has it once.
func (b *bench) expectUnready(reason string, wanted ...string) {
	b.t.Helper()
	for range 2 {
		err := b.checkReadiness()
		if status.Code(err) != codes.Unavailable {
			b.t.Errorf("readiness: got %v, want %s", err, reason)
		}
		for _, text := range wanted {
			if !strings.Contains(fmt.Sprint(err), text) {
				b.t.Errorf("readiness: got %v, want %q in it", err, text)
			}
		}
	}
	if n := b.log.Count("reason=" + reason + "\n"); n != 1 {
		b.t.Errorf("the log has %s %d times", reason, n)
	}
	b.expectMetrics(0, reason)
}

// expectReady asks twice, and expects n lines about it in the log.
func (b *bench) expectReady(n int) {
	b.t.Helper()
	for range 2 {
		if err := b.checkReadiness(); err != nil {
			b.t.Errorf("readiness: %v", err)
		}
	}
	if got := b.log.Count(`msg="ready:`); got != n {
		b.t.Errorf("the log has it ready %d times, want %d", got, n)
	}
	b.expectMetrics(1, "")
}

func (b *bench) expectMetrics(ready float64, reason string) {
	b.t.Helper()
	if got := testutil.ToFloat64(b.proxy.metrics.ready); got != ready {
		b.t.Errorf("ready is %v, want %v", got, ready)
	}
	for _, name := range []string{
		reasonBuildDirectory, reasonInputRoot, reasonNoAnswer, "not-authorised", "foreign-namespace",
		"unsupported-file-system", "limit-exceeded", "host-failed",
	} {
		got := testutil.ToFloat64(b.proxy.metrics.unready.WithLabelValues(name))
		if (got == 1) != (name == reason) {
			b.t.Errorf("unready for %s is %v, while the reason is %q", name, got, reason)
		}
	}
}

// giveBuildDirectory changes its owner to another user, like bb_worker.
func (b *bench) giveBuildDirectory() {
	b.t.Helper()
	if err := os.Chown(b.buildDirectory, 12345, 12345); err != nil {
		b.t.Fatal(err)
	}
}

// mountFUSE mounts a FUSE without allowOther on the build directory, which denies access to this user.
func (b *bench) mountFUSE() {
	b.t.Helper()
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		b.t.Skip(err)
	}
	b.t.Cleanup(func() { device.Close() })
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=12345,group_id=12345", device.Fd())
	if err := unix.Mount("bench", b.buildDirectory, "fuse.bench", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { unix.Unmount(b.buildDirectory, unix.MNT_DETACH) })
}

func TestCheckReadinessAsksBoth(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	b.expectReady(1)
	b.backend.onReady = func(context.Context) error { return status.Error(codes.Internal, "the runner's") }
	if err := b.checkReadiness(); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "the runner's") {
		t.Errorf("got %v", err)
	}
	b.expectMetrics(1, "")
}

func TestUnreadyWhileTheBuildDirectoryIsNotNamedToMountatd(t *testing.T) {
	daemon := testdaemon.Start(t, "--build-directory=/another")
	b := newBench(t, daemon.Socket)
	b.giveBuildDirectory()
	cure := fmt.Sprintf("--build-directory=%s:%d ", b.buildDirectory, os.Geteuid())
	b.expectUnready("not-authorised", cure)

	// The same if another user is named.
	daemon.Stop()
	daemon.SetOptions("--build-directory=" + b.buildDirectory + ":12345")
	daemon.Restart()
	b.expectUnready("not-authorised", cure)
	if got := testutil.ToFloat64(b.proxy.metrics.failures.WithLabelValues(stepReadiness)); got != 4 {
		t.Errorf("%v failures are counted", got)
	}

	daemon.Stop()
	daemon.SetOptions("--build-directory=" + b.buildDirectory)
	daemon.Restart()
	b.expectReady(1)
	path := b.newRoot("a", "proc")
	if err := os.Chown(b.in(path, "proc"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := b.run(runRequest(path)); err != nil {
		t.Error(err)
	}
}

// mountatd compares the option with the kernel's path.
func TestCureNamesTheBuildDirectoryBehindALink(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	b.giveBuildDirectory()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(b.buildDirectory, link); err != nil {
		t.Fatal(err)
	}
	b.proxy.buildDirectory = link
	b.expectUnready("not-authorised", "--build-directory="+b.buildDirectory+":")
}

// The option as systemd splits MOUNTATD_OPTIONS: systemd.service(5).
func TestCureIsAnOptionThatMountatdTakes(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	uid := os.Geteuid()
	for name, wanted := range map[string]string{
		"co:lon": fmt.Sprintf("add --build-directory=%s/co:lon:%d to mountatd's", b.buildDirectory, uid),
		"sp ace": fmt.Sprintf("add '--build-directory=%s/sp ace:%d' to mountatd's", b.buildDirectory, uid),
		"t\tab":  fmt.Sprintf("add '--build-directory=%s/t\tab:%d' to mountatd's", b.buildDirectory, uid),
		"it's":   "rename the build directory",
		`"`:      "rename the build directory",
		`\`:      "rename the build directory",
	} {
		path := b.in(name)
		if err := errors.Join(os.Mkdir(path, 0o755), os.Chown(path, 12345, 12345)); err != nil {
			t.Fatal(err)
		}
		b.proxy.buildDirectory = path
		if err := b.checkReadiness(); !strings.Contains(fmt.Sprint(err), wanted) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if got := cureOfBuildDirectory("/"); strings.Contains(got, "add") || !strings.Contains(got, "except /") {
		t.Errorf("/: %s", got)
	}
}

// Once it is configured, mountatd's check and open(2) with O_PATH succeed, but this user has no access.
func TestUnreadyWhileFUSEIsNotNamedToMountatdOrClosed(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	b.mountFUSE()
	b.expectUnready("not-authorised", "--build-directory="+b.buildDirectory+":")
	daemon.Stop()
	daemon.SetOptions("--build-directory=" + b.buildDirectory)
	daemon.Restart()
	b.expectUnready("build-directory", "allowOther")
	if err := unix.Unmount(b.buildDirectory, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	b.expectReady(1)
}

func TestUnreadyInAnotherMountNamespace(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	daemon.Stop()
	daemon.SetApart(true)
	for _, options := range [][]string{{"--build-directory=" + b.buildDirectory}, nil} {
		daemon.SetOptions(options...)
		daemon.Restart()
		b.expectUnready("foreign-namespace", "one mount namespace", "PrivateTmp=",
			fmt.Sprintf("--join=%d", os.Geteuid()))
		daemon.Stop()
	}
	daemon.SetApart(false)
	daemon.Restart()
	b.expectReady(1)
}

// As in a container, with --join. The first check finds out that enter is needed: mountatd's debug log has one
// refusal for it, and none for later checks and actions.
func TestReadyInAnotherMountNamespaceThatMountatdJoins(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	b.backend.onRun = func(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
		if n := daemon.Mounts(); n != 2 { // in this namespace, which isn't the daemon's
			t.Errorf("%d mounts during the action", n)
		}
		return new(emptypb.Empty), nil
	}
	daemon.Stop()
	daemon.SetApart(true)
	daemon.SetOptions(fmt.Sprintf("--join=%d", os.Geteuid()), "--log-level=debug")
	for _, refusals := range []int{1, 0} {
		daemon.Restart()
		for range 3 {
			b.expectReady(1)
			path := b.newRoot("a")
			if _, err := b.run(runRequest(path)); err != nil {
				t.Fatal(err)
			}
			b.checkNothingLeft(path)
		}
		daemon.Stop()
		if n := daemon.Logged("foreign-namespace"); n != refusals {
			t.Errorf("%d refusals, want %d", n, refusals)
		}
	}
}

func TestUnreadyWhileMountatdIsAway(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	b.expectReady(1)
	daemon.Stop()
	b.expectUnready(reasonNoAnswer, "mountatd.socket")
	daemon.Restart()
	b.expectReady(2)
}

func TestUnreadyWhileTheBuildDirectoryIsAway(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	b.proxy.buildDirectory = b.in("later")
	b.expectUnready(reasonBuildDirectory, "is --build-directory the one that bb_worker uses?")
	if err := os.Mkdir(b.in("later"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.expectReady(1)
}

// The check covers all file systems, with the options of actions.
func TestChecksWhatActionsGet(t *testing.T) {
	for _, flags := range []mountat.Flags{
		mountat.Proc, mountat.Sysfs, mountat.Proc | mountat.PIDsOnly | mountat.ReadOnly,
		mountat.Proc | mountat.Sysfs | mountat.PIDsOnly | mountat.ReadOnly,
		mountat.Dev, mountat.Proc | mountat.Sysfs | mountat.Dev | mountat.ReadOnly,
	} {
		b := newBench(t, testdaemon.Start(t).Socket)
		b.proxy.mounter.flags = flags | mountat.Create
		b.expectReady(1)
		b.giveBuildDirectory()
		b.expectUnready("not-authorised")
	}
}

// A daemon that offers no /dev, and one that is too old: the advice isn't to add a build directory.
func TestUnreadyWithoutADev(t *testing.T) {
	for _, c := range []struct {
		name   string
		socket func(t *testing.T) string
		wanted string
	}{
		{"not offered", func(t *testing.T) string { return testdaemon.Start(t, "--no-dev").Socket }, "--no-dev"},
		{"too old", func(t *testing.T) string { return startOld(t, mountat.StatusUnsupportedFileSystem) },
			"mountatd 0.1.0 can't mount a /dev: mountatd 0.2 or later is needed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.socket(t))
			b.proxy.mounter.flags |= mountat.Dev
			b.expectUnready("unsupported-file-system", c.wanted, "remove dev from mountat-runner's --mount")
			_, err := b.run(runRequest(b.newRoot("a")))
			if status.Code(err) != codes.Unavailable || !strings.Contains(fmt.Sprint(err), c.wanted) {
				t.Errorf("Run: %v", err)
			}
			b.expectMetrics(0, "unsupported-file-system")
			if err := b.checkReadiness(); strings.Contains(fmt.Sprint(err), "--build-directory=") {
				t.Errorf("a wrong cure: %v", err)
			}
		})
	}
}

// On a FUSE that isn't configured every file system is refused, and the advice is to configure it first.
func TestUnreadyOnFUSEThatIsNotNamedForADevToo(t *testing.T) {
	for _, flags := range []mountat.Flags{mountat.Dev, mountat.Proc | mountat.Dev} {
		b := newBench(t, testdaemon.Start(t).Socket)
		b.proxy.mounter.flags = flags | mountat.Create
		b.mountFUSE()
		b.expectUnready("not-authorised", "add --build-directory="+b.buildDirectory)
	}
}

// A refusal that shows only when mounting: after the first action no more are taken, until one may retry.
func TestUnreadyAfterARefusalThatNoCheckSees(t *testing.T) {
	daemon := testdaemon.Start(t, "--max-mounts-per-user=1")
	b := newBench(t, daemon.Socket)
	path := b.newRoot("a")
	b.expectReady(1)
	for range 3 {
		if _, err := b.run(runRequest(path)); status.Code(err) != codes.Unavailable {
			t.Errorf("Run: %v", err)
		}
	}
	b.expectUnready("limit-exceeded", "--max-mounts-per-user")

	b.proxy.readiness.pauseIsOver()
	if err := b.checkReadiness(); err != nil {
		t.Errorf("an action may try again: %v", err)
	}
	if _, err := b.run(runRequest(path)); status.Code(err) != codes.Unavailable {
		t.Errorf("Run: %v", err)
	}
	b.expectUnready("limit-exceeded")
	if got := b.proxy.readiness.pause; got != 2*time.Hour {
		t.Errorf("the second pause is %v, want it doubled", got)
	}
	for range 3 {
		b.proxy.readiness.pauseIsOver()
		b.run(runRequest(path))
	}
	if got := b.proxy.readiness.pause; got != 4*time.Hour {
		t.Errorf("the pause is %v in the end", got)
	}

	daemon.Stop()
	daemon.SetOptions()
	daemon.Restart()
	b.proxy.readiness.pauseIsOver()
	if _, err := b.run(runRequest(path)); err != nil {
		t.Error(err)
	}
	b.expectReady(2)
}

// Actions beyond the limit: one that gets its mounts when another has ended proves no room for all.
func TestASuccessDoesNotEndThePauseAfterALimit(t *testing.T) {
	b := newBench(t, testdaemon.Start(t, "--max-mounts-per-user=2").Socket)
	path, other := b.newRoot("a"), b.newRoot("b")
	b.expectReady(1)
	b.backend.onRun = func(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
		if _, err := b.run(runRequest(other)); status.Code(err) != codes.Unavailable {
			t.Errorf("a second action: %v", err)
		}
		return new(emptypb.Empty), nil
	}
	succeed := func() {
		t.Helper()
		if _, err := b.run(runRequest(path)); err != nil {
			t.Error(err)
		}
	}
	succeed()
	b.backend.onRun = nil
	succeed()
	b.expectUnready("limit-exceeded")

	b.proxy.readiness.pauseIsOver()
	succeed()
	b.expectReady(2)
}

// Every second action fails.
func TestLinesAboutReadinessAreLimited(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	b.proxy.readiness.log.window = time.Hour
	path := b.newRoot("a")
	for range logLines/2 + 5 {
		b.run(runRequest("none"))
		if _, err := b.run(runRequest(path)); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.log.Count(`msg="ready`) + b.log.Count(`msg="not ready`); got != logLines {
		t.Errorf("%d lines", got)
	}
	b.proxy.Flush()
	if b.log.Count("10 lines about readiness suppressed") != 1 {
		t.Errorf("the log is %s", b.log.String())
	}
}

func (r *readiness) pauseIsOver() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retry = time.Time{}
}

// If a check fails for its own reason and later passes, an earlier refusal is over too.
func TestReadyAtOnceWhenTheCheckWasRefusedMeanwhile(t *testing.T) {
	daemon := testdaemon.Start(t)
	b := newBench(t, daemon.Socket)
	b.giveBuildDirectory()
	path := b.newRoot("a", "proc")
	if err := os.Chown(b.in(path, "proc"), 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := b.run(runRequest(path)); status.Code(err) != codes.Unavailable {
		t.Errorf("Run: %v", err)
	}
	b.expectUnready("not-authorised")
	daemon.Stop()
	daemon.SetOptions("--build-directory=" + b.buildDirectory)
	daemon.Restart()
	b.expectReady(1)
}

// If this program can't use input roots, it isn't ready.
func TestUnreadyAfterAnInputRootThatIsNotThere(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	if _, err := b.run(runRequest("a/root")); status.Code(err) != codes.Unavailable {
		t.Errorf("Run: %v", err)
	}
	b.expectUnready(reasonInputRoot, "a/root")
	if _, err := b.run(runRequest(b.newRoot("a"))); err != nil {
		t.Error(err)
	}
	b.expectReady(1)
}

// A failure caused by one action's files or timing doesn't make the runner not ready.
func TestStaysReadyAfterWhatIsTheActions(t *testing.T) {
	b := newBench(t, testdaemon.Start(t).Socket)
	file, link, mounted := b.newRoot("file"), b.newRoot("link"), b.newRoot("mounted", "proc")
	if err := os.WriteFile(b.in(file, "proc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc", b.in(link, "proc")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", b.in(mounted, "proc"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(b.in(mounted, "proc"), unix.MNT_DETACH)
	for _, path := range []string{file, link, mounted, "../a", file + "/proc"} {
		if _, err := b.run(runRequest(path)); err == nil {
			t.Errorf("%s was run", path)
		}
	}
	b.expectReady(1)
}

// mountatd 0.1 has no check: only whether it answers is known. After a refusal it is as above.
func TestADaemonWithoutCheckIsAskedWhetherItIsThere(t *testing.T) {
	b := newBench(t, startOld(t, mountat.StatusForeignNamespace))
	b.expectReady(1)
	path := b.newRoot("a")
	if _, err := b.run(runRequest(path)); status.Code(err) != codes.Unavailable {
		t.Errorf("Run: %v", err)
	}
	b.expectUnready("foreign-namespace")
}

// startOld starts a fake mountatd 0.1 that refuses to mount, and returns its socket.
func startOld(t *testing.T, refusal mountat.Status) (socket string) {
	t.Helper()
	directory, err := os.MkdirTemp("", "old")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	socket = filepath.Join(directory, "socket")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go serveOld(t, listener, refusal)
	return socket
}

// serveOld answers hello with 0.1's features, and refuses all else, with the last target at fault.
func serveOld(t *testing.T, listener *net.UnixListener, refusal mountat.Status) {
	for {
		connection, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			request := make([]byte, 512)
			for {
				n, err := connection.Read(request)
				if n < 32 || err != nil {
					return
				}
				if flags := request[28:32]; !bytes.Equal(flags, make([]byte, 4)) {
					t.Errorf("flags %v", flags)
				}
				hello := request[6] == 1
				reply := slices.Concat(request[:16], make([]byte, 24), []byte("mountatd 0.1.0"))
				reply[7] |= 0x80
				if hello {
					binary.LittleEndian.PutUint32(reply[36:], 0x1f)
				} else {
					binary.LittleEndian.PutUint32(reply[24:], uint32(refusal))
					targets := binary.LittleEndian.Uint32(request[24:])
					binary.LittleEndian.PutUint32(reply[32:], targets-1)
				}
				connection.Write(reply)
			}
		}()
	}
}
