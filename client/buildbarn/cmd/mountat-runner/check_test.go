// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// trial is the program with --check, with a real mountatd and a runner that is ready.
type trial struct {
	*running
	daemon    *testdaemon.Daemon
	build     string
	arguments []string
}

func describeTrial(t *testing.T, daemonOptions ...string) *trial {
	t.Helper()
	directory, err := os.MkdirTemp("", "runner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	c := &trial{running: &running{t: t, directory: directory}, build: directory + "/build"}
	if err := os.Mkdir(c.build, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, option := range daemonOptions {
		daemonOptions[i] = strings.ReplaceAll(option, "BUILD", c.build)
	}
	c.daemon = testdaemon.Start(t, daemonOptions...)
	c.serveReady()
	c.arguments = []string{"--check", "--listen=" + directory + "/front", "--runner=" + directory + "/behind",
		"--build-directory=" + c.build, "--mountatd=" + c.daemon.Socket, "--mount-timeout=10s"}
	return c
}

// serveReady starts a runner that answers every request with an empty message, so it is ready.
func (c *trial) serveReady() {
	end := make(chan struct{})
	close(end)
	c.serveRunner(make(chan struct{}, 1000), end)
}

func (c *trial) command(arguments ...string) *exec.Cmd {
	c.t.Helper()
	return exec.Command(programPath(c.t), append(c.arguments, arguments...)...)
}

// expect runs it, and expects these verdicts of the steps, in order, and the text in the report.
func (c *trial) expect(exit int, steps, text string, arguments ...string) {
	c.t.Helper()
	c.expectOf(c.command(arguments...), exit, steps, text)
}

func (c *trial) expectOf(command *exec.Cmd, exit int, steps, text string) {
	c.t.Helper()
	output, _ := command.CombinedOutput()
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^(ok|FAIL|note|skip) +(\S.*?)  +`).FindAllStringSubmatch(string(output), -1) {
		got = append(got, m[1]+" "+m[2])
	}
	if code := command.ProcessState.ExitCode(); code != exit || strings.Join(got, ", ") != steps ||
		!strings.Contains(string(output), text) {
		c.t.Errorf("status %d instead of %d, or not %q with %q:\n%s", code, exit, steps, text, output)
	}
	c.checkNothingLeft()
}

func (c *trial) checkNothingLeft() {
	c.t.Helper()
	entries, err := os.ReadDir(c.build)
	if err != nil || len(entries) > 0 {
		c.t.Errorf("left in the build directory: %v, %v", entries, err)
	}
	if n := c.daemon.Mounts(); n != 0 {
		c.t.Errorf("%d mounts", n)
	}
}

// hasty is an option for what never answers.
const hasty = "--mount-timeout=1s"

const (
	before = "ok user, ok bb_runner, ok mountatd, ok build directory, ok rights, "
	allOK  = before + "ok mount, ok unmount, "
)

func TestCheckSaysThatAllIsWell(t *testing.T) {
	c := describeTrial(t)
	c.expect(0, allOK+"note service", "\nAll is well.\n")
	c.expect(0, allOK+"note service", "/proc, /sys and /dev, in", "--mount=proc,sys,dev")
	c.expect(0, allOK+"note service", "  mountat", "--", "bb_runner")

	// If the service is running, the report says who may connect.
	s := describe(t, "")
	s.process.Args = append(s.process.Args, "--listen="+c.directory+"/front", "--runner="+c.directory+"/behind",
		"--build-directory="+c.build, "--mountatd="+c.daemon.Socket)
	s.begin()
	testdaemon.Eventually(t, "it serves", func() bool { return connect(c.directory+"/front") == nil })
	c.expect(0, allOK+"ok service", "; bb_worker may connect as root, or a member of the group ")
	s.signal(unix.SIGTERM)
	s.expectExit(0)
}

// The service's user is neither bb_worker's nor the owner of the build directory.
func TestCheckAsTheServicesUser(t *testing.T) {
	c := describeTrial(t, "--build-directory=BUILD:12345")
	c.open()
	as := func(exit int, steps, text string) {
		t.Helper()
		command := c.command()
		command.Args = append([]string{"setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", command.Path},
			command.Args[1:]...)
		command.Path, command.Err = exec.LookPath("setpriv")
		c.expectOf(command, exit, steps, text)
	}
	as(0, before+"note mount, note service", "not tried: uid 12345 can't create a directory there")
	if err := os.Chmod(c.build, 0o777); err != nil {
		t.Fatal(err)
	}
	as(0, allOK+"note service", "(uid 12345)")
	if err := os.Chmod(c.directory+"/behind", 0o700); err != nil {
		t.Fatal(err)
	}
	as(1, strings.Replace(allOK, "ok bb_runner", "FAIL bb_runner", 1)+"note service", "UMask=0000")
	if err := os.Chmod(c.build, 0); err != nil {
		t.Fatal(err)
	}
	c.daemon.Stop()
	as(1, "ok user, FAIL bb_runner, FAIL mountatd, ok build directory, skip mount, note service", "is mountatd installed")
}

func TestCheckByAUserWhoMayNotConnectToTheService(t *testing.T) {
	c := describeTrial(t, "--build-directory=BUILD:12345")
	c.open()
	silent(t, c.directory+"/front")
	expect := func(text string) {
		t.Helper()
		command := c.command()
		command.Args = append([]string{"setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", command.Path},
			command.Args[1:]...)
		command.Path, command.Err = exec.LookPath("setpriv")
		c.expectOf(command, 1, before+"note mount, FAIL service", text)
	}
	if err := os.Chmod(c.directory+"/front", 0o660); err != nil {
		t.Fatal(err)
	}
	expect("permission denied: it is open to root, or a member of the group root: run --check as such a user")
	if err := os.Mkdir(c.directory+"/closed", 0o700); err != nil {
		t.Fatal(err)
	}
	c.arguments = append(c.arguments, "--listen="+c.directory+"/closed/front")
	expect("permission denied: this user may not enter its directory: run --check as root")
}

func TestTheRunnersTextIsEscaped(t *testing.T) {
	c := describeTrial(t)
	c.replaceRunner(func(t *testing.T, path string) {
		server := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return status.Error(codes.Internal, "\x1b]0;title\x07\u202e\r")
		}))
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go server.Serve(listener)
		t.Cleanup(server.Stop)
	})
	c.expect(1, strings.Replace(allOK, "ok bb_runner", "FAIL bb_runner", 1)+"note service",
		`bb_runner: not ready: \x1b]0;title\x07\xe2\x80\xae\x0d`+"\n")
}

// What can't be written is a failure.
func TestOutputOnAFullDevice(t *testing.T) {
	c := describeTrial(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, arguments := range [][]string{{"--help"}, {"--version"}, c.arguments} {
		var said strings.Builder
		command := exec.Command(programPath(t), arguments...)
		command.Stdout, command.Stderr = full, &said
		command.Run()
		if code := command.ProcessState.ExitCode(); code != 1 || said.String() !=
			"mountat-runner: write /dev/stdout: no space left on device\n" {
			t.Errorf("%q: status %d, %q", arguments, code, said.String())
		}
	}
	for option, text := range map[string]string{"--help": usage, "--version": "mountat-runner "} {
		output, err := exec.Command(programPath(t), option).Output()
		if err != nil || !strings.HasPrefix(string(output), text) {
			t.Errorf("%s: %v, %q", option, err, output)
		}
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	withFailing := func(step string) string { return strings.Replace(allOK, "ok "+step, "FAIL "+step, 1) + "note service" }
	cut := func(step string) string { // no step after it is tried
		return before[:strings.Index(before, "ok "+step)] + "FAIL " + step + ", skip mount, note service"
	}
	for _, c := range []struct {
		name      string
		daemon    []string
		spoil     func(c *trial)
		arguments []string
		steps     string
		text      string
	}{
		{"no runner", nil, func(c *trial) { c.replaceRunner(nil) }, nil, withFailing("bb_runner"), "is bb_runner running"},
		{"a runner that hangs", nil, func(c *trial) { c.replaceRunner(silent) },
			[]string{hasty}, withFailing("bb_runner"),
			"is that bb_runner's socket? See its log"},
		{"no mountatd", nil, func(c *trial) { c.daemon.Stop() }, nil,
			"ok user, ok bb_runner, FAIL mountatd, ok build directory, skip mount, note service", "mountatd.socket"},
		{"a mountatd that hangs", nil, func(c *trial) { c.daemon.Freeze() }, []string{hasty},
			"ok user, ok bb_runner, FAIL mountatd, ok build directory, skip mount, note service", "no answer within 1s"},
		{"no build directory", nil, nil, []string{"--build-directory=/no/such"}, cut("build directory"),
			"is --build-directory the one that bb_worker uses?"},
		{"another's build directory", nil, func(c *trial) { os.Chown(c.build, 12345, 12345) }, nil, cut("rights"),
			"in /etc/default/mountatd) and restart it"},
		{"no dev", []string{"--no-dev"}, nil, []string{"--mount=dev"}, cut("rights"), "remove dev from"},
		{"a limit", []string{"--max-mounts-per-user=1"}, nil, nil, before + "FAIL mount, note service",
			"--max-mounts-per-user"},
		{"a file as its own socket", nil, func(c *trial) { os.WriteFile(c.directory+"/front", nil, 0o600) }, nil,
			allOK + "FAIL service", "is not a socket"},
		{"another program at its own socket", nil, func(c *trial) { silent(c.t, c.directory+"/front") }, nil,
			allOK + "FAIL service", "the service at "},
	} {
		t.Run(c.name, func(t *testing.T) {
			trial := describeTrial(t, c.daemon...)
			if c.spoil != nil {
				c.spoil(trial)
			}
			trial.expect(1, c.steps, c.text, c.arguments...)
		})
	}
}

func (c *trial) replaceRunner(put func(*testing.T, string)) {
	c.t.Helper()
	if err := os.Remove(c.directory + "/behind"); err != nil {
		c.t.Fatal(err)
	}
	if put != nil {
		put(c.t, c.directory+"/behind")
	}
}

// silent accepts connections and sends nothing.
func silent(t *testing.T, path string) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
}

// A FUSE mount whose server doesn't answer, as of a stopped bb_worker.
func TestCheckOfABuildDirectoryThatHangs(t *testing.T) {
	c := describeTrial(t)
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())
	if err := unix.Mount("bench", c.build, "fuse.bench", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatal(err)
	}
	output, _ := c.command(hasty).CombinedOutput()
	unix.Unmount(c.build, unix.MNT_DETACH)
	device.Close()
	if !strings.Contains(string(output), "FAIL  build directory  this host: the build directory's file system didn't answer") {
		t.Errorf("%s", output)
	}
	c.checkNothingLeft()
}

// A signal may come at any time. The steps done before it are ok.
func TestCheckUndoesAllWhenItIsEnded(t *testing.T) {
	for i, signal := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		c := describeTrial(t)
		at := []string{"user", "rights", "rights", "mount"}[i]
		if at == "user" {
			c.replaceRunner(silent)
		}
		command := c.command()
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			fmt.Fprintln(&text, lines.Text())
			if strings.HasPrefix(lines.Text(), "ok    "+at) {
				command.Process.Signal(signal)
			}
		}
		command.Wait()
		code, noticed := command.ProcessState.ExitCode(), strings.Contains(text.String(), "FAIL  check")
		if (code != 1 || !noticed) && (code != 0 || at == "user") {
			t.Errorf("%v: status %d:\n%s", signal, code, text.String())
		}
		c.checkNothingLeft()
	}

	// Or the reader of its output ends.
	c := describeTrial(t)
	command := exec.Command("sh", append([]string{"-c", `"$@" | head -n 1`, "sh", programPath(t)}, c.arguments...)...)
	if output, err := command.CombinedOutput(); err != nil || !strings.HasPrefix(string(output), "ok    user ") {
		t.Errorf("%v: %s", err, output)
	}
	testdaemon.Eventually(t, "it has ended", func() bool {
		entries, _ := os.ReadDir(c.build)
		return len(entries) == 0 && c.daemon.Mounts() == 0
	})
}

func TestBecomesAUserWithoutTheRightsOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const user = "12345 (uid 12345), groups: 12346"
	command := exec.Command(testProgram(t))
	command.Env = append(os.Environ(), roleVariable+"=become")
	if output, err := command.CombinedOutput(); err != nil ||
		string(output) != user+" <nil>\nmkdir /etc/of-root: permission denied <nil>\n"+user+"\n" {
		t.Errorf("%v: %s", err, output)
	}
}

// The directory that root creates for it, where only bb_worker may, is removed too. The user exists only in the
// test's mount namespace.
func TestCheckAsRootIsTheServicesUser(t *testing.T) {
	c := describeTrial(t, "--build-directory=BUILD:12345")
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	with := filepath.Join(t.TempDir(), "passwd")
	passwd = append(passwd, "mountat-runner:x:12345:12346::/:/bin/false\n"...)
	if err := os.WriteFile(with, passwd, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(with, "/etc/passwd", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount("/etc/passwd", unix.MNT_DETACH)
	c.open()
	if err := os.Chown(c.build, 12347, 12347); err != nil {
		t.Fatal(err)
	}
	c.expect(0, allOK+"note service", "mountat-runner (uid 12345), groups: 12346\n")
}

// open gives another user access to everything.
func (c *trial) open() {
	c.t.Helper()
	for _, path := range []string{
		c.directory + "/behind", c.daemon.Socket, filepath.Dir(c.daemon.Socket), filepath.Dir(programPath(c.t)),
	} {
		if err := os.Chmod(path, 0o777); err != nil {
			c.t.Fatal(err)
		}
	}
}

func TestReadsTheOptionsOfTheService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "default")
	for text, want := range map[string]string{
		"MOUNTAT_RUNNER_OPTIONS=--listen=/l":                           "[--listen=/l]",
		"# MOUNTAT_RUNNER_OPTIONS=x\n MOUNTAT_RUNNER_OPTIONS=\"a  b\"": "[a b]",
		"MOUNTAT_RUNNER_OPTIONS=a\nMOUNTAT_RUNNER_OPTIONS='b'\n":       "[b]",
		"MOUNTAT_RUNNER_OPTIONS=\"--mount=dev -- bb_runner --check\"":  "[--mount=dev]",
		"MOUNTAT_RUNNER_OPTIONS=":                                      "[]",
		"OTHER=x":                                                      "has no line",
		"MOUNTAT_RUNNER_OPTIONS=\"a \\\n b\"":                          "with quotes",
		"MOUNTAT_RUNNER_OPTIONS=\"--listen='/a b'\"":                   "with quotes",
		"MOUNTAT_RUNNER_OPTIONS=$OTHER":                                "with quotes",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		options, err := readOptionsFile(path)
		if got := fmt.Sprint(options); got != want && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if options, err := readOptionsFile("../../mountat-runner.default"); err != nil || len(options) != 4 {
		t.Errorf("the unit's own: %q, %v", options, err)
	}
	if _, err := readOptionsFile(path + "/no"); !strings.Contains(fmt.Sprint(err), "give --listen, --runner") {
		t.Errorf("without one: %v", err)
	}
}
