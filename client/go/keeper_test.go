// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Possible answers of the next instance, by a scripted daemon, since the real one gives them rarely. Leases
// need a mount to offer: any will do.

// grantedWithMount returns a lease of "procfs", on which a tmpfs is mounted.
func grantedWithMount(t *testing.T, client *Client, peer *fakePeer) (lease *Lease, path string) {
	t.Helper()
	if os.Getenv(inNamespaceVariable) == "" {
		t.Skip("needs root with CAP_SYS_ADMIN")
	}
	path = newRoot(t, "proc")
	lease = granted(t, client, peer, path, Proc)
	if err := unix.Mount("none", path+"/proc", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path+"/proc", unix.MNT_DETACH) })
	return lease, path
}

// After a failure that may pass, the lease is offered again, to the same instance or the next one.
func TestALeaseIsOfferedUntilItIsAdopted(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	lease, path := grantedWithMount(t, client, peer)
	before := countFDs(t)

	peer.conn.Close()
	peer = daemon.accept()
	for _, status := range []Status{StatusHostFailed, StatusLimitExceeded, StatusShuttingDown} {
		peer.refuseAdoption(status)
	}
	peer.mustReceive(operationAdopt)
	peer.conn.Close()
	peer = daemon.accept()
	peer.reply(reply{status: StatusLimitExceeded, target: protocolNoTarget, text: "too many"})
	peer.conn.Close()
	peer = daemon.accept()
	r := peer.mustReceive(operationAdopt)
	if r.lease != lease.ID() || r.targets != 1 || r.fds != 1 {
		t.Errorf("offered as %+v", r)
	}
	peer.reply(reply{operation: operationAdopt, cookie: r.cookie, lease: r.lease, target: protocolNoTarget})

	waitUntilAdopted(t, lease)
	checkNoFDsLeak(t, before)
	releaseAdopted(t, lease, path, peer)
}

// A release waits for the adoption of the lease.
func TestReleaseWaitsForTheAdoption(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	lease, path := grantedWithMount(t, client, peer)
	peer.conn.Close()
	peer = daemon.accept()
	offer := peer.mustReceive(operationAdopt)
	result := make(chan error)
	go func() { result <- lease.Release(testContext(t)) }()
	time.Sleep(20 * time.Millisecond)
	peer.reply(reply{operation: operationAdopt, cookie: offer.cookie, lease: offer.lease})
	r := peer.mustReceive(operationUnmount)
	unix.Unmount(path+"/proc", unix.MNT_DETACH)
	peer.reply(reply{operation: operationUnmount, cookie: r.cookie})
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// For example a daemon without operation 4. Release waits until its mounts are gone.
func TestALeaseThatIsRefusedIsLost(t *testing.T) {
	for _, status := range []Status{StatusNoSuchLease, StatusUnknownOperation} {
		t.Run(status.String(), func(t *testing.T) {
			daemon := newFakeDaemon(t)
			client, peer := daemon.connect()
			lease, path := grantedWithMount(t, client, peer)
			peer.conn.Close()
			daemon.accept().refuseAdoption(status)
			<-lease.Done()

			client.connection.patience = 50 * time.Millisecond
			err := lease.Release(testContext(t))
			if !errors.Is(err, ErrLeaseLost) || !errors.Is(err, status) {
				t.Errorf("got %v", err)
			}
			client.connection.patience = lostPatience
			result := make(chan error)
			go func() { result <- lease.Release(testContext(t)) }()
			time.Sleep(20 * time.Millisecond)
			unix.Unmount(path+"/proc", unix.MNT_DETACH)
			if err := <-result; err != nil {
				t.Errorf("bare: %v", err)
			}
		})
	}
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

// enteredWithMount returns a lease that can be offered, of a client that had to enter.
func enteredWithMount(t *testing.T, daemon *fakeDaemon) (lease *Lease, path string, peer *fakePeer) {
	t.Helper()
	client, peer := enteredClient(t, daemon)
	lease, path = grantedWithMount(t, client, peer)
	return lease, path, peer
}

func releaseAdopted(t *testing.T, lease *Lease, path string, peer *fakePeer) {
	t.Helper()
	go func() {
		r := peer.mustReceive(operationUnmount)
		unix.Unmount(path+"/proc", unix.MNT_DETACH)
		peer.reply(reply{operation: operationUnmount, cookie: r.cookie})
	}()
	if err := lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
}

// Also if entering fails temporarily, and after a second loss of the daemon.
func TestEntersBeforeLeasesAreOffered(t *testing.T) {
	daemon := newFakeDaemon(t)
	lease, path, peer := enteredWithMount(t, daemon)
	before := countFDs(t)
	peer.conn.Close()

	peer = daemon.accept()
	peer.greetWith(FeatureEnter)
	peer.answer(operationEnter, StatusHostFailed, "")
	peer.mustReceive(operationEnter)
	peer.conn.Close()

	peer = daemon.accept()
	peer.greetWith(FeatureEnter)
	peer.answer(operationEnter, StatusOK, "")
	r := peer.mustReceive(operationAdopt)
	if r.lease != lease.ID() || r.fds != 1 {
		t.Errorf("offered as %+v", r)
	}
	peer.reply(reply{operation: operationAdopt, cookie: r.cookie, lease: r.lease, target: protocolNoTarget})
	waitUntilAdopted(t, lease)
	checkNoFDsLeak(t, before)
	releaseAdopted(t, lease, path, peer)
}

func TestAnOfferThatIsElsewhereIsRepeatedInside(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	lease, path := grantedWithMount(t, client, peer)
	peer.conn.Close()
	peer = daemon.accept()
	peer.answer(operationAdopt, StatusForeignNamespace, "elsewhere")
	peer.greetWith(FeatureEnter)
	peer.answer(operationEnter, StatusOK, "")
	r := peer.mustReceive(operationAdopt)
	peer.reply(reply{operation: operationAdopt, cookie: r.cookie, lease: r.lease, target: protocolNoTarget})
	waitUntilAdopted(t, lease)
	releaseAdopted(t, lease, path, peer)
}

// The reason is the refusal to enter, or if enter isn't offered, the refusal to adopt.
func TestALeaseIsLostThatTheNextDaemonDoesNotEnterFor(t *testing.T) {
	for name, serve := range map[string]func(p *fakePeer){
		"enter": func(p *fakePeer) {
			p.greetWith(FeatureEnter)
			p.answer(operationEnter, StatusNotAuthorised, "the reason")
		},
		"adopt": func(p *fakePeer) {
			p.greetWith(FeatureAdopt)
			p.answer(operationAdopt, StatusNoSuchLease, "the reason")
		},
	} {
		t.Run(name, func(t *testing.T) {
			daemon := newFakeDaemon(t)
			lease, path, peer := enteredWithMount(t, daemon)
			peer.conn.Close()
			serve(daemon.accept())
			<-lease.Done()
			lease.client.connection.patience = 50 * time.Millisecond
			err := lease.Release(testContext(t))
			if !errors.Is(err, ErrLeaseLost) || !strings.Contains(err.Error(), name) ||
				!strings.Contains(err.Error(), "the reason") {
				t.Errorf("got %v", err)
			}
			unix.Unmount(path+"/proc", unix.MNT_DETACH)
			if err := lease.Release(testContext(t)); err != nil {
				t.Error(err)
			}
		})
	}
}
