// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// granted returns a lease of the fake daemon.
func granted(t *testing.T, client *Client, peer *fakePeer, path string, flags Flags) *Lease {
	t.Helper()
	go func() {
		r := peer.mustReceive(operationMount)
		peer.reply(reply{operation: operationMount, cookie: r.cookie, lease: 42})
	}()
	lease, err := client.Mount(testContext(t), openDirectory(t, path), flags)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func TestReleaseMayBeCalledByManyAndAgain(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	lease := granted(t, client, peer, path, Proc|Sysfs|Create)
	if made := names(t, path); len(made) != 2 {
		t.Fatalf("made %q", made)
	}

	var group sync.WaitGroup
	for range 5 {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := lease.Release(testContext(t)); err != nil {
				t.Error(err)
			}
		}()
	}
	peer.reply(reply{operation: operationUnmount, cookie: peer.mustReceive(operationUnmount).cookie})
	group.Wait()
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("once more: %v", err)
	}
	if left := names(t, path); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	client.Close()
	if r, ok := peer.receive(); ok {
		t.Errorf("the daemon got one more request: %+v", r)
	}
}

func TestReleaseThatTheHostRefusesMayBeTriedAgain(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	lease := granted(t, client, peer, path, Proc|Create)
	go func() {
		r := peer.mustReceive(operationUnmount)
		peer.reply(reply{operation: operationUnmount, cookie: r.cookie, status: StatusHostFailed,
			errno: uint32(unix.ENOMEM)})
		r = peer.mustReceive(operationUnmount)
		peer.reply(reply{operation: operationUnmount, cookie: r.cookie})
	}()
	err := lease.Release(testContext(t))
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Target != 0 || !errors.Is(err, unix.ENOMEM) {
		t.Errorf("got %v", err)
	}
	if left := names(t, path); len(left) != 1 {
		t.Errorf("of a lease that stays, the directory went: %q", left)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("the second try: %v", err)
	}
	if left := names(t, path); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestReleaseGoesOnWithoutItsCaller(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	lease := granted(t, client, peer, path, Proc|Create)
	ctx, cancel := context.WithCancel(testContext(t))
	request := make(chan fakeRequest, 1)
	go func() {
		request <- peer.mustReceive(operationUnmount)
		cancel()
	}()
	if err := lease.Release(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	peer.reply(reply{operation: operationUnmount, cookie: (<-request).cookie})
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("joined: %v", err)
	}
	if left := names(t, path); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Nothing is really mounted, so after the loss of the connection nothing is left to wait for.
func TestReleaseAfterALossRemovesWhatWasMade(t *testing.T) {
	before := countFDs(t)
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t, "sys")
	lease := granted(t, client, peer, path, Proc|Sysfs|Create)
	peer.conn.Close()
	<-lease.Done()
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("got %v", err)
	}
	if left := names(t, path); len(left) != 1 || left[0] != "sys" {
		t.Errorf("there is %q, want sys alone", left)
	}
	client.Close()
	checkNoFDsLeak(t, before+2) // the listener and the root go with the test
}

func TestReleaseOfTargetsAfterALossFindsThemBare(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		r := peer.mustReceive(operationMount)
		peer.reply(reply{operation: operationMount, cookie: r.cookie, lease: 42})
	}()
	target := Target{openDirectory(t, t.TempDir()), FileSystemProc, OptionPIDsOnly}
	lease, err := client.MountTargets(testContext(t), target)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	<-lease.Done()
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestAReleasedLeaseIsDone(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	lease := granted(t, client, peer, newRoot(t), Proc|Create)
	select {
	case <-lease.Done():
		t.Error("done while it is held")
	default:
	}
	go func() {
		peer.reply(reply{operation: operationUnmount, cookie: peer.mustReceive(operationUnmount).cookie})
	}()
	if err := lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
	<-lease.Done()
	if client.Err() != nil {
		t.Errorf("the client ended with its lease: %v", client.Err())
	}
}
