// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
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

// refuseAdoption answers one offer.
func (p *fakePeer) refuseAdoption(status Status) {
	p.t.Helper()
	p.reply(reply{operation: operationAdopt, cookie: p.mustReceive(operationAdopt).cookie,
		status: status, target: protocolNoTarget})
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
	go func() {
		r := peer.mustReceive(operationUnmount)
		unix.Unmount(path+"/proc", unix.MNT_DETACH)
		peer.reply(reply{operation: operationUnmount, cookie: r.cookie})
	}()
	if err := lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
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

// When a mount is sent again, "already mounted" may refer to the first attempt, which the next instance undoes.
func TestAMountInDoubt(t *testing.T) {
	for name, undone := range map[string]bool{"undone": true, "granted": false} {
		t.Run(name, func(t *testing.T) {
			daemon := newFakeDaemon(t)
			client, peer := daemon.connect()
			path := newRoot(t)
			ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond)
			defer cancel()
			go func() {
				peer.mustReceive(operationMount)
				peer.conn.Close()
				peer = daemon.accept()
				for tries := 0; ; tries++ {
					r, ok := peer.receive()
					if !ok {
						return
					}
					answer := reply{operation: r.operation, cookie: r.cookie, lease: 5}
					if r.operation == operationMount && (!undone || tries < 2) {
						answer.status = StatusAlreadyMounted
					}
					peer.reply(answer)
				}
			}()
			lease, err := client.Mount(ctx, openDirectory(t, path), Proc|Create)
			if undone {
				if err != nil {
					t.Fatal(err)
				}
				if err := lease.Release(testContext(t)); err != nil {
					t.Error(err)
				}
			} else if !errors.Is(err, StatusAlreadyMounted) || !strings.Contains(err.Error(), "--adopt-timeout") {
				t.Errorf("got %v", err)
			}
			if left := names(t, path); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
