// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"testing"
	"time"

	"github.com/mountatd/mountatd/client/buildbarn/internal/testdaemon"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// With this variable in its environment, the test program is a command: see actAs.
const roleVariable = "MOUNTAT_TEST_ROLE"

// actAs is a command that prints its events as lines. It exits with status 0 at the end of its input.
func actAs(role string) {
	signals := make(chan os.Signal, len(forwarded))
	signal.Notify(signals, forwarded...)
	switch role {
	case "become":
		asRoot, err := become(&user.User{Username: "12345", Uid: "12345", Gid: "12346"})
		fmt.Println(describeUser(), err)
		fmt.Println(os.Mkdir("/etc/of-root", 0), asRoot(func() error {
			file, err := os.OpenFile("/etc/passwd", os.O_WRONLY, 0)
			file.Close()
			return err
		}))
		fmt.Println(describeUser())
	case "signals": // prints those that it gets
		fmt.Println("ready")
		go func() {
			for s := range signals {
				fmt.Println(s)
			}
		}()
		io.Copy(io.Discard, os.Stdin)
	default: // a runner with that socket: it stops gracefully on SIGTERM, and its actions end on SIGUSR1
		serveAsRunner(role, signals)
	}
}

func serveAsRunner(path string, signals <-chan os.Signal) {
	end := make(chan struct{})
	server := grpc.NewServer(grpc.WaitForHandlers(true), grpc.UnknownServiceHandler(
		func(_ any, stream grpc.ServerStream) error {
			if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
				return err
			}
			fmt.Println("running")
			select {
			case <-end:
			case <-stream.Context().Done():
			}
			return stream.SendMsg(new(emptypb.Empty))
		}))
	listener, err := net.Listen("unix", path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		for s := range signals {
			switch s {
			case unix.SIGTERM:
				fmt.Println("stopping")
				go server.GracefulStop()
			case unix.SIGUSR1:
				close(end)
			}
		}
	}()
	fmt.Println("ready")
	server.Serve(listener)
	server.GracefulStop() // returns when it has stopped
}

// started is the program with a command.
type started struct {
	*running
	process *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	stderr  *testdaemon.Log
}

// describe returns a command for a test to change before begin.
func describe(t *testing.T, role string, arguments ...string) *started {
	t.Helper()
	directory, err := os.MkdirTemp("", "runner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	s := &started{running: &running{t: t, directory: directory}, stderr: new(testdaemon.Log)}
	s.process = exec.Command(programPath(t), append([]string{
		"--listen=" + directory + "/front", "--runner=" + directory + "/behind",
		"--build-directory=" + directory, "--mountatd=" + directory + "/absent",
	}, arguments...)...)
	s.process.Env = append(os.Environ(), roleVariable+"="+role)
	s.process.Stderr = s.stderr
	s.process.WaitDelay = time.Second // other processes may have its standard error
	return s
}

// wrap has another program run it.
func (s *started) wrap(command ...string) {
	s.t.Helper()
	path, err := exec.LookPath(command[0])
	if err != nil {
		s.t.Fatal(err)
	}
	s.process.Args = append(command, s.process.Args...)
	s.process.Path = path
}

func (s *started) begin() {
	s.t.Helper()
	if s.process.Stdin == nil {
		stdin, err := s.process.StdinPipe()
		if err != nil {
			s.t.Fatal(err)
		}
		s.stdin = stdin
	}
	stdout, err := s.process.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.stdout = bufio.NewReader(stdout)
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		s.process.Process.Kill()
		s.process.Wait()
		if s.t.Failed() {
			s.t.Log(s.stderr.String())
		}
	})
}

// startScript runs a command of sh(1).
func startScript(t *testing.T, script string) *started {
	t.Helper()
	s := describe(t, "", "--", "sh", "-c", script)
	s.begin()
	return s
}

// startRole runs one of actAs's commands.
func startRole(t *testing.T, role string) *started {
	t.Helper()
	s := describe(t, role, "--", testProgram(t))
	s.begin()
	s.expectLine("ready")
	return s
}

func testProgram(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// inTime fails the test, and ends the program and the reader of its input, if the event doesn't come in time.
func (s *started) inTime(what string, wait func()) {
	s.t.Helper()
	timer := time.AfterFunc(20*time.Second, func() {
		s.t.Errorf("not in time: %s", what)
		s.process.Process.Kill()
		if s.stdin != nil {
			s.stdin.Close()
		}
	})
	defer timer.Stop()
	wait()
}

func (s *started) expectLine(want string) {
	s.t.Helper()
	s.inTime(want, func() {
		if line, err := s.stdout.ReadString('\n'); line != want+"\n" {
			s.t.Fatalf("%q, %v instead of %s\n%s", line, err, want, s.stderr)
		}
	})
}

func (s *started) signal(signal os.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Error(err)
	}
}

// rest returns the output until the program and the command have closed it.
func (s *started) rest() string {
	s.t.Helper()
	var text []byte
	s.inTime("the end of the output", func() { text, _ = io.ReadAll(s.stdout) })
	return string(text)
}

func (s *started) expectExit(want int) {
	s.t.Helper()
	s.inTime("the end", func() {
		s.process.Wait()
		if got := s.process.ProcessState.ExitCode(); got != want {
			s.t.Errorf("exit status %d instead of %d", got, want)
		}
	})
	if _, err := os.Lstat(s.directory + "/front"); want != -1 && !os.IsNotExist(err) {
		s.t.Errorf("the socket is left: %v", err)
	}
}
