// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
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

func TestEachStatusIsAnErrorOfItsOwn(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	root := openDirectory(t, newRoot(t, "proc", "sys"))
	unknown := Status(len(statuses))

	for status := StatusMalformed; status <= unknown; status++ {
		go func() {
			r := peer.mustReceive(operationMount)
			peer.reply(reply{operation: operationMount, cookie: r.cookie, status: status,
				errno: uint32(unix.ENOSPC), target: 1, text: "because"})
			if status == StatusForeignNamespace {
				peer.answerHello() // without FeatureEnter
			}
		}()
		_, err := client.Mount(testContext(t), root, Proc|Sysfs)

		var refusal *Error
		var asStatus Status
		if !errors.As(err, &refusal) || !errors.As(err, &asStatus) || asStatus != status ||
			!errors.Is(err, status) || errors.Is(err, status+1) {
			t.Errorf("%v: errors.Is and errors.As don't find it in %v", status, err)
			continue
		}
		if refusal.Target != 1 || refusal.Text != "because" || refusal.Operation != "mount" {
			t.Errorf("%v: %+v", status, refusal)
		}
		if (refusal.Errno == unix.ENOSPC) != (status == StatusHostFailed) || !errors.Is(err, refusal.Errno) {
			t.Errorf("%v: errno %v", status, refusal.Errno)
		}
		if !strings.Contains(err.Error(), status.String()) {
			t.Errorf("%v: its name isn't in %q", status, err)
		}
	}
	if unknown.String() != "unknown-status" || unknown.errno(0) != unix.EPROTO {
		t.Errorf("an unknown status is %v, %v", unknown, unknown.errno(0))
	}
	if !errors.Is(&Error{Status: StatusNotAuthorised, Errno: unix.EPERM}, fs.ErrPermission) {
		t.Error("not-authorised isn't fs.ErrPermission")
	}
}

func TestRefusesWrongArguments(t *testing.T) {
	before := countFDs(t)
	client, peer := newFakeDaemon(t).connect()
	root := openDirectory(t, newRoot(t, "proc"))
	closed := openDirectory(t, "/")
	closed.Close()

	for _, flags := range []Flags{0, Create, Sysfs | PIDsOnly, Proc | 1<<7} {
		if _, err := client.Mount(testContext(t), root, flags); !errors.Is(err, unix.EINVAL) {
			t.Errorf("flags %#x: %v", uint32(flags), err)
		}
	}
	if _, err := client.Mount(testContext(t), closed, Proc); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed root: %v", err)
	}
	for _, n := range []int{0, 17} {
		_, err := client.MountTargets(testContext(t), make([]Target, n)...)
		if !errors.Is(err, unix.EINVAL) {
			t.Errorf("%d targets: %v", n, err)
		}
	}
	_, err := client.MountTargets(testContext(t), Target{root, FileSystemProc, 0}, Target{closed, 1, 0})
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed target: %v", err)
	}
	client.Close()
	peer.conn.Close()
	root.Close()
	newCount := countFDs(t)
	if newCount > before+1 { // the listener
		t.Errorf("%d descriptors, %d before", newCount, before)
	}
}

// Every invalid message of the daemon ends the connection with ErrProtocol.
func TestGivesUpAConnectionThatBreaksTheProtocol(t *testing.T) {
	before := countFDs(t)
	good := func(cookie uint64) reply {
		return reply{operation: operationMount, cookie: cookie, lease: 7, target: protocolNoTarget}
	}
	cases := map[string]func(p *fakePeer, cookie uint64){
		"garbage":       func(p *fakePeer, _ uint64) { p.send([]byte("garbage")) },
		"wrong cookie":  func(p *fakePeer, cookie uint64) { p.reply(good(cookie + 1)) },
		"lease 0":       func(p *fakePeer, cookie uint64) { r := good(cookie); r.lease = 0; p.reply(r) },
		"too long":      func(p *fakePeer, cookie uint64) { p.send(append(encodeReply(good(cookie)), make([]byte, 999)...)) },
		"a descriptor":  func(p *fakePeer, cookie uint64) { p.send(encodeReply(good(cookie)), 0) },
		"unasked, ok":   func(p *fakePeer, _ uint64) { p.reply(reply{}) },
		"an empty one":  func(p *fakePeer, _ uint64) { p.send([]byte{0}) },
		"another's":     func(p *fakePeer, cookie uint64) { r := good(cookie); r.operation = operationHello; p.reply(r) },
		"twice the one": func(p *fakePeer, cookie uint64) { r := good(cookie + 9); p.reply(r); p.reply(r) },
	}
	for name, answer := range cases {
		t.Run(name, func(t *testing.T) {
			client, peer := newFakeDaemon(t).connect()
			path := newRoot(t)
			go func() { answer(peer, peer.mustReceive(operationMount).cookie) }()
			_, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Sysfs|Create)
			if !errors.Is(err, ErrProtocol) || !errors.Is(err, ErrLost) {
				t.Errorf("got %v", err)
			}
			<-client.Done()
			if _, err := client.Hello(testContext(t)); !errors.Is(err, ErrProtocol) {
				t.Errorf("the next call got %v", err)
			}
			if left := names(t, path); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	checkNoFDsLeak(t, before)
}

func TestTooManyConnectionsIsLimitExceeded(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	peer.reply(reply{status: StatusLimitExceeded, target: protocolNoTarget, text: "too many"})
	peer.conn.Close()
	_, err := client.Hello(testContext(t))
	if !errors.Is(err, StatusLimitExceeded) || !errors.Is(err, ErrLost) || errors.Is(err, ErrProtocol) {
		t.Errorf("got %v", err)
	}
}

// The daemon closes with a request unread: its earlier replies must not be lost because of ECONNRESET.
func TestReadsWhatWasSaidBeforeAReset(t *testing.T) {
	daemon := newFakeDaemon(t)
	socket, err := dial(testContext(t), daemon.path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := daemon.listener.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	c := newChannel(socket, new(atomic.Bool))
	call, err := c.start(testContext(t), &request{operation: operationHello}, nil)
	if err != nil {
		t.Fatal(err)
	}
	peer := fakePeer{t, conn}
	peer.reply(reply{status: StatusLimitExceeded, target: protocolNoTarget})
	conn.Close()

	c.read()
	if _, err := call.wait(testContext(t)); !errors.Is(err, StatusLimitExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestADaemonThatGoesAwayIsAskedAgain(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	go func() {
		peer.mustReceive(operationHello)
		peer.conn.Close()
		peer = daemon.accept()
		peer.reply(reply{operation: operationHello, cookie: peer.mustReceive(operationHello).cookie,
			text: "the next one"})
	}()
	hello, err := client.Hello(testContext(t))
	if err != nil || hello.Version != "the next one" {
		t.Errorf("got %+v, %v", hello, err)
	}
}

func TestADaemonThatStaysAwayIsErrLost(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	client.connection.patience = 100 * time.Millisecond
	daemon.listener.Close()
	peer.conn.Close()
	start := time.Now()
	_, err := client.Hello(testContext(t))
	if !errors.Is(err, ErrLost) || errors.Is(err, ErrProtocol) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if client.Err() != nil {
		t.Errorf("the client has given up: %v", client.Err())
	}
}

// The request itself might crash the daemon.
func TestADaemonThatDiesOfARequestIsNotAskedForEver(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	asked := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for asked = 1; ; asked++ {
			peer.mustReceive(operationHello)
			peer.conn.Close()
			if asked == lossesMax {
				return
			}
			peer = daemon.accept()
		}
	}()
	if _, err := client.Hello(testContext(t)); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	<-done
}

// Without need, the Client doesn't reconnect: that could start a daemon that was stopped on purpose.
func TestAnIdleClientDoesNotConnectAgain(t *testing.T) {
	daemon := newFakeDaemon(t)
	_, peer := daemon.connect()
	peer.conn.Close()
	daemon.listener.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if conn, err := daemon.listener.AcceptUnix(); err == nil {
		t.Error("it did")
		conn.Close()
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

// The context of one call ends while the daemon is busy: later calls aren't confused by its reply.
func TestConnectionSurvivesACancelledHello(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	ctx, cancel := context.WithCancel(testContext(t))
	first := make(chan fakeRequest)
	go func() {
		first <- peer.mustReceive(operationHello)
		cancel()
	}()
	late := make(chan struct{})
	go func() {
		r := <-first
		<-late
		peer.reply(reply{operation: operationHello, cookie: r.cookie, text: "late"})
		r = peer.mustReceive(operationHello)
		peer.reply(reply{operation: operationHello, cookie: r.cookie, text: "in time"})
	}()
	if _, err := client.Hello(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the cancelled one: %v", err)
	}
	close(late)
	if hello, err := client.Hello(testContext(t)); err != nil || hello.Version != "in time" {
		t.Errorf("the next one: %+v, %v", hello, err)
	}
}

func TestAMountThatIsGrantedTooLateIsUnmounted(t *testing.T) {
	before := countFDs(t)
	func() {
		client, peer := newFakeDaemon(t).connect()
		ctx, cancel := context.WithCancel(testContext(t))
		path := newRoot(t)
		granted := make(chan fakeRequest, 1)
		go func() {
			r := peer.mustReceive(operationMount)
			cancel()
			granted <- r
		}()
		if _, err := client.Mount(ctx, openDirectory(t, path), Proc|Create); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if left := names(t, path); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		peer.reply(reply{operation: operationMount, cookie: (<-granted).cookie, lease: 77})
		r := peer.mustReceive(operationUnmount)
		if r.lease != 77 {
			t.Errorf("lease %d is released, not the one that was granted", r.lease)
		}
		peer.reply(reply{operation: operationUnmount, cookie: r.cookie})
		client.Close()
		peer.conn.Close()
	}()
	checkNoFDsLeak(t, before+2) // the listener and the root go with the test
}

func TestAnEndedContextSendsNothing(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := client.Mount(ctx, openDirectory(t, path), Proc|Create); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := names(t, path); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	client.Close()
	if r, ok := peer.receive(); ok {
		t.Errorf("the daemon got %+v", r)
	}
}

// If the daemon doesn't read, the socket fills up: sending ends with its context, and earlier requests are
// still answered.
func TestSendingToAStalledDaemonEndsWithTheContext(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	sent := 0
	for ; ; sent++ {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		_, err := client.connection.channel.start(ctx, &request{operation: operationHello}, nil)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			t.Fatalf("request %d: %v", sent, err)
		}
		if sent > 100000 {
			t.Fatal("the socket never fills")
		}
	}
	go func() {
		for {
			r, ok := peer.receive()
			if !ok {
				return
			}
			peer.reply(reply{operation: r.operation, cookie: r.cookie, text: fmt.Sprint(r.cookie)})
		}
	}()
	hello, err := client.Hello(testContext(t))
	if want := fmt.Sprint(sent + 2); err != nil || hello.Version != want {
		t.Errorf("after %d requests and one that wasn't sent: %+v, %v, want %s", sent, hello, err, want)
	}
}

func TestManyCallersShareAConnection(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		for {
			r, ok := peer.receive()
			if !ok {
				return
			}
			if r.fds != int(r.targets) {
				t.Errorf("%d descriptors for %d targets", r.fds, r.targets)
			}
			peer.reply(reply{operation: r.operation, cookie: r.cookie, lease: r.cookie})
		}
	}()
	before := countFDs(t)
	root := openDirectory(t, newRoot(t, "proc", "sys"))
	seen := sync.Map{}
	var group sync.WaitGroup
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 50 {
				lease, err := client.Mount(testContext(t), root, Proc|Sysfs)
				if err != nil {
					t.Error(err)
					return
				}
				if _, twice := seen.LoadOrStore(lease.ID(), true); twice {
					t.Errorf("lease %d was given twice", lease.ID())
				}
				if err := lease.Release(testContext(t)); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	root.Close()
	checkNoFDsLeak(t, before)
}

func TestDialSaysWhatToDo(t *testing.T) {
	directory := t.TempDir()
	_, err := Dial(testContext(t), directory+"/absent")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mountatd.socket") {
		t.Errorf("an absent socket: %v", err)
	}
	if _, err := Dial(testContext(t), "/"+strings.Repeat("x", 200)); err == nil {
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
