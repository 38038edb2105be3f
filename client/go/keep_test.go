// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAKeptLeaseStaysWithoutItsClient(t *testing.T) {
	before := countFDs(t)
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	root := openDirectory(t, path)
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.answerMount(protocolKeep, reply{lease: 42})
		peer.answerMount(protocolKeep, reply{lease: 43})
	}()
	lease, err := client.Mount(testContext(t), root, Proc|Create|Keep)
	if err != nil || lease.ID() != 42 {
		t.Fatalf("got %+v, %v", lease, err)
	}
	second, err := client.MountTargetsKept(testContext(t), procTarget(t))
	if err != nil || second.ID() != 43 {
		t.Fatalf("got %+v, %v", second, err)
	}
	client.Close()
	peer.checkEnd()
	peer.conn.Close()
	select {
	case <-lease.Done():
		t.Error("it is done with its client")
	default:
	}
	if err := lease.Release(testContext(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("released without a connection: %v", err)
	}
	if made := names(t, path); len(made) != 1 {
		t.Errorf("what was made is %q", made)
	}
	checkNoFDsLeak(t, before+3) // the listener, the root and the target go with the test
}

func TestAKeptLeaseIsReleased(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.answerMount(protocolKeep, reply{lease: 42})
		peer.answerUnmount(42, StatusHostFailed)
		peer.answerUnmount(42, StatusOK)
	}()
	lease, err := client.Mount(testContext(t), openDirectory(t, newRoot(t)), Proc|Create|Keep)
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(testContext(t)); !errors.Is(err, StatusHostFailed) {
		t.Errorf("got %v", err)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("the second try: %v", err)
	}
	<-lease.Done()
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestAKeptLeaseThatIsGoneIsDone(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.answerMount(protocolKeep, reply{lease: 42})
		peer.answerUnmount(42, StatusNoSuchLease)
		peer.answerUnmount(42, StatusNoSuchLease)
	}()
	lease, err := client.MountTargetsKept(testContext(t), procTarget(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := lease.Release(testContext(t)); !errors.Is(err, StatusNoSuchLease) {
			t.Errorf("got %v", err)
		}
		<-lease.Done()
	}
}

// A kept lease isn't offered for adoption.
func TestAKeptLeaseIsNotAdopted(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.answerMount(protocolKeep, reply{lease: 42})
		peer.conn.Close()
		next := daemon.accept()
		next.answerUnmount(42, StatusOK)
	}()
	lease, err := client.MountTargetsKept(testContext(t), procTarget(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(testContext(t)); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestAnotherClientUnmountsByNumber(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		peer.answerUnmount(42, StatusOK)
		peer.answerUnmount(42, StatusNoSuchLease)
	}()
	if err := client.UnmountLease(testContext(t), 42); err != nil {
		t.Errorf("got %v", err)
	}
	if err := client.UnmountLease(testContext(t), 42); !errors.Is(err, StatusNoSuchLease) {
		t.Errorf("once more: %v", err)
	}
}

func TestAnUnmountInDoubtSaysSo(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	go func() {
		peer.mustReceive(operationUnmount)
		peer.conn.Close()
		daemon.accept().answerUnmount(42, StatusNoSuchLease)
	}()
	err := client.UnmountLease(testContext(t), 42)
	if !errors.Is(err, StatusNoSuchLease) || !strings.Contains(err.Error(), "went away") {
		t.Errorf("got %v", err)
	}
}

func TestCheckMountsNothing(t *testing.T) {
	before := countFDs(t)
	client, peer := newFakeDaemon(t).connect()
	target := procTarget(t)
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.answerMount(protocolCheck, reply{target: protocolNoTarget})
		peer.answerMount(protocolCheck, reply{status: StatusNotAuthorised, target: 0, text: "no"})
	}()
	if err := client.Check(testContext(t), target); err != nil {
		t.Errorf("got %v", err)
	}
	var refusal *Error
	err := client.Check(testContext(t), target)
	if !errors.As(err, &refusal) || refusal.Status != StatusNotAuthorised || refusal.Target != 0 {
		t.Errorf("got %v", err)
	}
	for _, n := range []int{0, 17} {
		if err := client.Check(testContext(t), make([]Target, n)...); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%d targets: %v", n, err)
		}
	}
	client.Close()
	peer.checkEnd()
	peer.conn.Close()
	checkNoFDsLeak(t, before+2) // the listener and the target go with the test
}

func TestACheckThatGivesALeaseBreaksTheProtocol(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.answerMount(protocolCheck, reply{lease: 42})
	}()
	if err := client.Check(testContext(t), procTarget(t)); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v", err)
	}
}

// mountatd 0.1 would refuse the flags as malformed.
func TestAnOlderDaemonIsNotAskedAndNamed(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	path := newRoot(t)
	root := openDirectory(t, path)
	go func() {
		for {
			r, ok := peer.receive()
			if !ok {
				return
			}
			if r.operation != operationHello {
				t.Errorf("the daemon got %+v", r)
			}
			peer.reply(reply{operation: r.operation, cookie: r.cookie, flags: 0x1f, text: "mountatd 0.1.0"})
		}
	}()
	_, keep := client.Mount(testContext(t), root, Proc|Create|Keep)
	_, keepTargets := client.MountTargetsKept(testContext(t), procTarget(t))
	for _, c := range []struct {
		what string
		err  error
	}{
		{"keep mounts", keep},
		{"keep mounts", keepTargets},
		{"check directories", client.Check(testContext(t), procTarget(t))},
	} {
		if !errors.Is(c.err, StatusUnknownOperation) || !errors.Is(c.err, unix.ENOSYS) {
			t.Errorf("%s: %v", c.what, c.err)
			continue
		}
		for _, part := range []string{"mountatd 0.1.0 can't " + c.what, "0.2 or later"} {
			if !strings.Contains(c.err.Error(), part) {
				t.Errorf("%q isn't in %q", part, c.err)
			}
		}
	}
	if left := names(t, path); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestEachInstanceIsAskedForItsFeatures(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.mustReceive(operationMount)
		peer.conn.Close()
		next := daemon.accept()
		r := next.mustReceive(operationHello)
		next.reply(reply{operation: operationHello, cookie: r.cookie, text: "mountatd 0.1.0"})
	}()
	_, err := client.MountTargetsKept(testContext(t), procTarget(t))
	if !errors.Is(err, StatusUnknownOperation) {
		t.Errorf("got %v", err)
	}
}

func TestAKeptMountInDoubtNamesTheList(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		peer.mustReceive(operationMount)
		peer.conn.Close()
		next := daemon.accept()
		next.greetWith(FeatureKeep | FeatureCheck)
		for {
			r, ok := next.receive()
			if !ok {
				return
			}
			next.reply(reply{operation: r.operation, cookie: r.cookie, status: StatusAlreadyMounted})
		}
	}()
	_, err := client.MountTargetsKept(testContext(t), procTarget(t))
	if !errors.Is(err, StatusAlreadyMounted) || !strings.Contains(err.Error(), "mountatctl list") {
		t.Errorf("got %v", err)
	}
	client.Close()
}

// The connection was lost before the mount was sent.
func TestALossAtHelloIsNoDoubt(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	go func() {
		peer.mustReceive(operationHello)
		peer.conn.Close()
		next := daemon.accept()
		next.greetWith(FeatureKeep | FeatureCheck)
		next.answerMount(protocolKeep, reply{status: StatusAlreadyMounted, text: "as it was"})
	}()
	_, err := client.MountTargetsKept(testContext(t), procTarget(t))
	if !errors.Is(err, StatusAlreadyMounted) || !strings.Contains(err.Error(), "as it was") {
		t.Errorf("got %v", err)
	}
}

func TestAKeptMountThatIsGrantedTooLateIsUnmounted(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	ctx, cancel := context.WithCancel(testContext(t))
	path := newRoot(t)
	granted := make(chan fakeRequest, 1)
	go func() {
		peer.greetWith(FeatureKeep | FeatureCheck)
		r := peer.mustReceive(operationMount)
		cancel()
		granted <- r
	}()
	_, err := client.Mount(ctx, openDirectory(t, path), Proc|Create|Keep)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	peer.reply(reply{operation: operationMount, cookie: (<-granted).cookie, lease: 77})
	peer.answerUnmount(77, StatusOK)
	if left := names(t, path); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
