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

// When a mount is sent again, "already mounted" may refer to the first attempt, which the next instance undoes.
func TestAMountInDoubt(t *testing.T) {
	for name, undone := range map[string]bool{"undone": true, "granted": false} {
		t.Run(name, func(t *testing.T) {
			daemon := newFakeDaemon(t)
			client, peer := daemon.connect()
			path := newRoot(t)
			ctx := testContext(t)
			if !undone {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
			}
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
