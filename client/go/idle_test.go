// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// dialFake returns a client of the Dialer and, if it has connected, the daemon's end.
func dialFake(t *testing.T, dialer *Dialer, daemon *fakeDaemon, connects bool) (*Client, *fakePeer) {
	t.Helper()
	client, err := dialer.Dial(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if !connects {
		return client, nil
	}
	return client, daemon.accept()
}

func newIdleFake(t *testing.T, most int) (*Dialer, *fakeDaemon) {
	daemon := newFakeDaemon(t)
	dialer := &Dialer{Socket: daemon.path, MaxIdle: most}
	t.Cleanup(dialer.CloseIdle)
	return dialer, daemon
}

// greets reports whether the client and that end belong to one connection.
func greets(t *testing.T, client *Client, peer *fakePeer) {
	t.Helper()
	wait := inBackground(func() { peer.greetWith(0) })
	if _, err := client.Hello(testContext(t)); err != nil {
		t.Error(err)
	}
	wait()
}

func (d *Dialer) countIdle() int {
	d.idle.mu.Lock()
	defer d.idle.mu.Unlock()
	return len(d.idle.kept)
}

func checkIdle(t *testing.T, dialer *Dialer, want int) {
	t.Helper()
	if got := dialer.countIdle(); got != want {
		t.Errorf("%d connections are kept, want %d", got, want)
	}
}

func TestAClosedClientLeavesItsConnectionToTheNext(t *testing.T) {
	dialer, daemon := newIdleFake(t, 1)
	first, peer := dialFake(t, dialer, daemon, true)
	lease := granted(t, first, peer, newRoot(t, "proc"), Proc)
	wait := inBackground(func() { peer.answerUnmount(lease.ID(), StatusOK) })
	if err := lease.Release(testContext(t)); err != nil {
		t.Fatal(err)
	}
	wait()
	first.Close()
	first.Close()

	second, _ := dialFake(t, dialer, daemon, false)
	checkIdle(t, dialer, 0)
	greets(t, second, peer)
	<-first.Done()
	if _, err := first.Hello(testContext(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the first one gives %v", err)
	}
	greets(t, second, peer)
}

func TestNoMoreConnectionsAreKeptThanMaxIdle(t *testing.T) {
	const most = 2
	dialer, daemon := newIdleFake(t, most)
	var clients [most + 1]*Client
	var peers [most + 1]*fakePeer
	for i := range clients {
		clients[i], peers[i] = dialFake(t, dialer, daemon, true)
	}
	for i, client := range clients {
		client.Close()
		checkIdle(t, dialer, min(i+1, most))
	}
	peers[most].checkEnd()

	latest, _ := dialFake(t, dialer, daemon, false)
	greets(t, latest, peers[most-1])
	checkIdle(t, dialer, most-1)
}

// A connection with a lease, a pending request, or a lease granted too late isn't reused.
func TestAConnectionThatIsNotIdleIsNotKept(t *testing.T) {
	for name, use := range map[string]func(*Client, *fakePeer){
		"a lease": func(client *Client, peer *fakePeer) {
			granted(t, client, peer, newRoot(t, "proc"), Proc)
		},
		"a question": func(client *Client, peer *fakePeer) {
			ctx, cancel := context.WithCancel(testContext(t))
			wait := inBackground(func() {
				peer.mustReceive(operationHello)
				cancel()
			})
			if _, err := client.Hello(ctx); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			wait()
		},
		"a lease that came too late": func(client *Client, peer *fakePeer) {
			ctx, cancel := context.WithCancel(testContext(t))
			var asked fakeRequest
			wait := inBackground(func() {
				asked = peer.mustReceive(operationMount)
				cancel()
			})
			_, err := client.Mount(ctx, openDirectory(t, newRoot(t, "proc")), Proc)
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			wait()
			peer.reply(reply{operation: operationMount, cookie: asked.cookie, lease: 42})
			peer.mustReceive(operationUnmount)
		},
		"a lease that the host holds": func(client *Client, peer *fakePeer) {
			lease := granted(t, client, peer, newRoot(t, "proc"), Proc)
			wait := inBackground(func() { peer.answerUnmount(lease.ID(), StatusHostFailed) })
			if err := lease.Release(testContext(t)); !errors.Is(err, StatusHostFailed) {
				t.Error(err)
			}
			wait()
		},
		"a daemon that has gone": func(client *Client, peer *fakePeer) {
			peer.conn.Close()
			eventually(t, "the end is seen", func() bool {
				client.connection.mu.Lock()
				defer client.connection.mu.Unlock()
				return client.connection.channel == nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dialer, daemon := newIdleFake(t, 1)
			client, peer := dialFake(t, dialer, daemon, true)
			use(client, peer)
			client.Close()
			checkIdle(t, dialer, 0)
			_, _ = dialFake(t, dialer, daemon, true)
		})
	}
}

// It doesn't belong to the connection.
func TestAKeptLeaseKeepsNoConnectionFromTheNext(t *testing.T) {
	dialer, daemon := newIdleFake(t, 1)
	client, peer := dialFake(t, dialer, daemon, true)
	wait := inBackground(func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.answerMount(protocolKeep, reply{lease: 42})
	})
	if _, err := client.MountTargetsKept(testContext(t), procTarget(t)); err != nil {
		t.Fatal(err)
	}
	wait()
	client.Close()
	checkIdle(t, dialer, 1)
}

func TestAnIdleConnectionThatEndedIsNotGiven(t *testing.T) {
	dialer, daemon := newIdleFake(t, 2)
	first, _ := dialFake(t, dialer, daemon, true)
	second, peer := dialFake(t, dialer, daemon, true)
	first.Close()
	second.Close()
	peer.conn.Close()
	eventually(t, "the end is seen", func() bool { return dialer.idle.kept[1].channel.why() != nil })
	_, _ = dialFake(t, dialer, daemon, false) // the first one
	checkIdle(t, dialer, 0)
}

func TestIdleConnectionsEnd(t *testing.T) {
	for name, end := range map[string]func(*Dialer){
		"when their time is over": func(dialer *Dialer) { dialer.idle.kept[0].timer.Reset(0) },
		"by CloseIdle":            (*Dialer).CloseIdle,
	} {
		t.Run(name, func(t *testing.T) {
			before := countFDs(t)
			dialer, daemon := newIdleFake(t, 1)
			client, peer := dialFake(t, dialer, daemon, true)
			client.Close()
			checkIdle(t, dialer, 1)
			end(dialer)
			peer.checkEnd()
			checkIdle(t, dialer, 0)
			peer.conn.Close()
			daemon.listener.Close()
			checkNoFDsLeak(t, before)
		})
	}
}

// If the socket's path has changed, so has the daemon.
func TestAnIdleConnectionIsOfItsSocket(t *testing.T) {
	dialer, daemon := newIdleFake(t, 1)
	client, _ := dialFake(t, dialer, daemon, true)
	client.Close()
	other := newFakeDaemon(t)
	dialer.Socket = other.path
	client, peer := dialFake(t, dialer, other, true)
	greets(t, client, peer)
	checkIdle(t, dialer, 1)
}

func TestAnIdleConnectionHasEntered(t *testing.T) {
	dialer, daemon := newIdleFake(t, 1)
	client, peer := dialFake(t, dialer, daemon, true)
	for _, serve := range []func(operation){peer.letIn, func(op operation) { peer.answer(op, StatusOK, "") }} {
		wait := inBackground(func() {
			serve(operationMount)
			peer.answer(operationUnmount, StatusOK, "")
		})
		lease, err := client.MountTargets(testContext(t), procTarget(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Release(testContext(t)); err != nil {
			t.Error(err)
		}
		wait()
		client.Close()
		client, _ = dialFake(t, dialer, daemon, false)
	}
}

// Idle connections end with their instance; then a new one is made to the next instance.
func TestIdleConnectionsOfTheRealDaemon(t *testing.T) {
	for name, signal := range map[string]unix.Signal{"none": 0, "killed": unix.SIGKILL, "restarted": unix.SIGUSR1} {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t)
			dialer := &Dialer{Socket: daemon.socket, MaxIdle: 1}
			t.Cleanup(dialer.CloseIdle)
			for range 3 {
				client, err := dialer.Dial(testContext(t))
				if err != nil {
					t.Fatal(err)
				}
				lease, path := mountRoot(t, client)
				checkHeld(t, lease, path)
				releaseAll(t, map[*Lease]string{lease: path})
				client.Close()
				checkIdle(t, dialer, 1)
				if signal != 0 {
					daemon.kill(signal)
					daemon.start()
				}
			}
		})
	}
}
