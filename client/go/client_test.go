// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHelloTellsVersionAndFeatures(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		r := peer.mustReceive(operationHello)
		peer.reply(reply{operation: operationHello, cookie: r.cookie, target: protocolNoTarget,
			flags: uint32(FeatureClones | 1<<31), text: "mountatd 9\n"})
	}()
	hello, err := client.Hello(testContext(t))
	if want := (Hello{`mountatd 9\x0a`, FeatureClones | 1<<31}); err != nil || hello != want {
		t.Errorf("got %+v, %v, want %+v", hello, err, want)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		peer.mustReceive(operationHello)
		client.Close()
	}()
	if _, err := client.Hello(testContext(t)); !errors.Is(err, net.ErrClosed) || !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	if err := client.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if _, ok := peer.receive(); ok {
		t.Error("the daemon got something else than the end")
	}
}

func TestDialSaysWhatToDo(t *testing.T) {
	directory := t.TempDir()
	_, err := Dial(testContext(t), directory+"/absent")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mountatd.socket") {
		t.Errorf("an absent socket: %v", err)
	}
	if _, err := Dial(testContext(t), "/"+strings.Repeat("x", 107)); !strings.Contains(fmt.Sprint(err), "at most 107 bytes") {
		t.Error("a path that is too long: no error")
	}
	if _, err := Dial(testContext(t), "@abstract"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path with @ in front: %v", err)
	}
	t.Setenv(SocketVariable, directory+"/from-environment")
	if _, err := Dial(testContext(t), ""); !strings.Contains(err.Error(), "from-environment") {
		t.Errorf("the environment's path isn't used: %v", err)
	}
}

func TestDialWaitsInLine(t *testing.T) {
	path := t.TempDir() + "/s"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	first, err := Dial(testContext(t), path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a full queue: %v", err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		if accepted, _, err := unix.Accept(fd); err == nil {
			unix.Close(accepted)
		}
	}()
	second, err := Dial(testContext(t), path)
	if err != nil {
		t.Fatalf("a queue that moves: %v", err)
	}
	second.Close()
}
