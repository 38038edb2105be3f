// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func TestTheCommandsStatusIsTheProgramsOwn(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 3": 3, "exit 255": 255,
		"kill -KILL $$": 137, "kill -TERM $$": 143, "kill -SEGV $$": 139,
	} {
		startScript(t, script).expectExit(want)
	}
}

func TestACommandThatCannotBeStarted(t *testing.T) {
	directory := t.TempDir()
	for name, content := range map[string]string{"text": "text", "script": "#!/no/interpreter\n"} {
		if err := os.WriteFile(directory+"/"+name, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(directory+"/data", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command string
		exit    int
		text    string
	}{
		{"no-such-program", 127, "cannot find no-such-program: executable file not found"},
		{"", 127, "cannot find"},
		{directory + "/no", 127, "/no: no such file or directory"},
		{directory + "/data/no", 127, "/data/no: not a directory"},
		{directory + "/data", 126, "cannot execute " + directory + "/data: permission denied"},
		{directory, 126, directory + ": is a directory"},
		{directory + "/text", 126, "/text: exec format error"},
		{directory + "/script", 126, "/script: its interpreter or dynamic loader is missing"},
	} {
		s := describe(t, "", "--", c.command)
		s.begin()
		s.expectExit(c.exit)
		if n := s.stderr.Count(c.text); n != 1 {
			t.Errorf("%q: the log is %q", c.command, s.stderr)
		}
	}
}

// Everything that can fail at the start is done before the command is started.
func TestNoCommandIsStartedWithoutASocket(t *testing.T) {
	s := describe(t, "", "--listen=/dev/null", "--", "sh", "-c", "echo started")
	s.begin()
	if text := s.rest(); text != "" {
		t.Errorf("the command says %q", text)
	}
	s.process.Wait()
	if code := s.process.ProcessState.ExitCode(); code != 1 || s.stderr.Count("/dev/null is not a socket") != 1 {
		t.Errorf("status %d, the log is %q", code, s.stderr)
	}
}

func TestTheCommandHasInputOutputAndEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/notify")
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("LISTENER", "kept")
	s := startScript(t, `cat; echo error >&2; env | grep -E "^(NOTIFY|LISTEN|WATCHDOG)"
		cut -d " " -f 5 /proc/$$/stat /proc/$PPID/stat | uniq -c`)
	fmt.Fprintln(s.stdin, "a line")
	s.stdin.Close()
	s.expectLine("a line")
	s.expectLine("LISTENER=kept")
	if groups := s.rest(); !strings.HasPrefix(strings.TrimSpace(groups), "2 ") {
		t.Errorf("process groups: %q", groups)
	}
	s.expectExit(0)
	if s.stderr.Count("error\n") != 1 {
		t.Errorf("standard error has %q", s.stderr)
	}
}

func TestSignalsAreTheCommands(t *testing.T) {
	s := startRole(t, "signals")
	for _, signal := range forwarded {
		s.signal(signal)
		s.expectLine(signal.String())
	}
	s.stdin.Close()
	if rest := s.rest(); rest != "" {
		t.Errorf("and %q", rest)
	}
	s.expectExit(0)
}

func TestTheEndByASignalIsTheProgramsOwn(t *testing.T) {
	s := startScript(t, "echo ready; exec cat")
	s.expectLine("ready")
	s.signal(unix.SIGTERM)
	s.expectExit(143)
}

// The same exit statuses as without mountat-runner.
func TestWhatIsIgnoredStaysIgnored(t *testing.T) {
	s := describe(t, "", "--", "sh", "-c", "echo ready; kill -HUP $$; cat")
	s.wrap("sh", "-c", `trap "" HUP; exec "$@"`, "sh")
	s.begin()
	s.expectLine("ready")
	s.signal(unix.SIGHUP)
	s.stdin.Close()
	s.expectExit(0)
}

// The terminal signals the whole group, so nothing is forwarded; a forwarded signal would come before the next.
func TestTheTerminalsKeysComeOnce(t *testing.T) {
	master, slave := openTerminal(t)
	s := describe(t, "signals", "--", testProgram(t))
	s.process.Stdin = slave
	s.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.begin()
	slave.Close()
	s.expectLine("ready")
	fmt.Fprint(master, "\x03")
	s.expectLine("interrupt")
	s.signal(unix.SIGTERM)
	s.expectLine("terminated")
	fmt.Fprint(master, "\x1c")
	s.expectLine("quit")
	s.signal(unix.SIGTERM)
	s.expectLine("terminated")
	fmt.Fprint(master, "\x04")
	s.expectExit(0)
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there is no pty: ", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// startRunner starts a runner with a daemon, and an action.
func startRunner(t *testing.T) (*started, *testdaemon.Daemon, <-chan error) {
	t.Helper()
	daemon := testdaemon.Start(t)
	s := describe(t, "", "--mountatd="+daemon.Socket, "--", testProgram(t))
	s.process.Env = append(s.process.Env, roleVariable+"="+s.directory+"/behind")
	s.begin()
	s.expectLine("ready")
	var err error
	s.connection, err = grpc.NewClient("unix:"+s.directory+"/front",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.connection.Close() })
	result := s.runAction()
	s.expectLine("running")
	return s, daemon, result
}

func TestWhatRunsGoesOnUntilTheCommandEnds(t *testing.T) {
	s, daemon, result := startRunner(t)
	s.signal(unix.SIGTERM)
	s.expectLine("stopping")
	select {
	case err := <-result:
		t.Errorf("the action ended: %v", err)
	default:
	}
	if n := daemon.Mounts(); n != 2 {
		t.Errorf("%d mounts while it runs", n)
	}
	s.signal(unix.SIGUSR1)
	s.inTime("the action's end", func() {
		if err := <-result; err != nil {
			t.Errorf("the action: %v", err)
		}
	})
	s.expectExit(0)
	s.checkNothingLeft()
}

func TestWhenTheCommandDiesMountsGo(t *testing.T) {
	s, daemon, result := startRunner(t)
	for _, pid := range childrenOf(s.process.Process.Pid) {
		syscall.Kill(pid, unix.SIGKILL)
	}
	s.inTime("the action's end", func() {
		if err := <-result; status.Code(err) != codes.Unavailable {
			t.Errorf("the action: %v", err)
		}
	})
	s.expectExit(137)
	if n := daemon.Mounts(); n != 0 {
		t.Errorf("%d mounts", n)
	}
	s.checkNothingLeft()
}

func TestTheCommandDoesNotOutliveAKilledProgram(t *testing.T) {
	s := startScript(t, "echo ready; exec cat")
	s.expectLine("ready")
	s.signal(unix.SIGKILL)
	if rest := s.rest(); rest != "" { // ends when the command closes its output
		t.Errorf("and %q", rest)
	}
	s.expectExit(-1)
}

// Also if the command ignores SIGTERM.
func TestTheCommandDoesNotOutliveAFailure(t *testing.T) {
	for _, script := range []string{"exec sleep 1000", "trap '' TERM; exec sleep 1000"} {
		directory := t.TempDir()
		o, err := parseOptions([]string{
			"--listen=" + directory + "/front", "--runner=" + directory + "/behind",
			"--build-directory=" + directory, "--mountatd=" + directory + "/absent",
			"--stop-timeout=50ms", "--", "sh", "-c", script,
		}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newServer(o, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		s.grpc.Stop() // so that serving fails
		if code := runWith(s, nil); code != 1 {
			t.Errorf("exit status %d", code)
		}
		if pids := childrenOf(os.Getpid()); len(pids) > 0 {
			t.Errorf("%v are left", pids)
		}
	}
}

// childrenOf returns a process's children, including zombies.
func childrenOf(parent int) []int {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	var pids []int
	for _, path := range paths {
		content, _ := os.ReadFile(path)
		_, fields, _ := strings.Cut(string(content), ") ")
		var state string
		var pid, of int
		fmt.Sscan(fields, &state, &of)
		fmt.Sscan(filepath.Base(filepath.Dir(path)), &pid)
		if of == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// startAsPID1 runs the script in a new pid namespace.
func startAsPID1(t *testing.T, script string) *started {
	t.Helper()
	s := describe(t, "", "--", "sh", "-c", script)
	s.wrap("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
	if output, err := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("impossible here: no pid namespace: %v: %s", err, output)
	}
	s.begin()
	return s
}

// The orphan lives until its input ends. /proc shows that no zombie is left.
func TestPID1ReapsOrphans(t *testing.T) {
	s := startAsPID1(t, `exec 3<&0; (cat <&3 &); echo ready; exec sleep 1000`)
	s.expectLine("ready")
	program := 0
	testdaemon.Eventually(t, "the program has an orphan", func() bool {
		if pids := childrenOf(s.process.Process.Pid); len(pids) == 1 {
			program = pids[0]
		}
		return len(childrenOf(program)) == 2
	})
	s.stdin.Close()
	testdaemon.Eventually(t, "it is reaped", func() bool { return len(childrenOf(program)) == 1 })
	syscall.Kill(program, unix.SIGTERM)
	s.expectExit(143)
}

func TestPID1HasTheStatusOfTheCommandAmongOrphans(t *testing.T) {
	s := startAsPID1(t, `for i in $(seq 50); do (exit 1 & sh -c "exit 2" &); done; (sleep 1000 &); exit 7`)
	s.expectExit(7)
}
