// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

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

// If the daemon doesn't read, the socket fills up: sending ends with its context, and earlier requests are
// still answered.
func TestSendingToAStalledDaemonEndsWithTheContext(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	sent := 0
	for ; ; sent++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
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
