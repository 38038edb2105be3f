// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// enteredClient returns a client for which the daemon has entered.
func enteredClient(t *testing.T, daemon *fakeDaemon) (*Client, *fakePeer) {
	t.Helper()
	client, peer := daemon.connect()
	wait := inBackground(func() { peer.letIn(operationMount) })
	if _, err := client.MountTargets(testContext(t), procTarget(t)); err != nil {
		t.Fatal(err)
	}
	wait()
	return client, peer
}

func checkForeign(t *testing.T, err error) {
	t.Helper()
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Status != StatusForeignNamespace || refusal.Text != "elsewhere" ||
		refusal.Operation != "mount" || refusal.Target != 0 {
		t.Errorf("got %v, want the daemon's answer to the mount", err)
	}
}

func ownNamespaces(t *testing.T) (links []string) {
	t.Helper()
	for _, name := range []string{"mnt", "pid", "net"} {
		link, err := os.Readlink("/proc/thread-self/ns/" + name)
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, link)
	}
	return links
}

func TestEntersWhenTheDaemonIsElsewhere(t *testing.T) {
	target := procTarget(t)
	root := openDirectory(t, newRoot(t, "proc"))
	calls := map[string]struct {
		features Feature
		call     func(c *Client) error
	}{
		"mount": {0, func(c *Client) error {
			_, err := c.Mount(testContext(t), root, Proc)
			return err
		}},
		"targets": {0, func(c *Client) error {
			_, err := c.MountTargets(testContext(t), target)
			return err
		}},
		"check": {FeatureCheck, func(c *Client) error { return c.Check(testContext(t), target) }},
	}
	own := ownNamespaces(t)
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			client, peer := newFakeDaemon(t).connect()
			before := countFDs(t)
			wait := inBackground(func() {
				if c.features != 0 { // the hello for these is enough
					peer.greetWith(FeatureEnter | c.features)
				}
				first := peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
				if c.features == 0 {
					peer.greetWith(FeatureEnter)
				}
				enter := peer.answer(operationEnter, StatusOK, "")
				if !slices.Equal(enter.links, own) {
					t.Errorf("it sent %q, want %q", enter.links, own)
				}
				again := peer.answer(operationMount, StatusOK, "")
				first.cookie = again.cookie
				if again.targets != first.targets || again.fds != first.fds || again.flags != first.flags {
					t.Errorf("asked for %+v, then for %+v", first, again)
				}
				peer.answer(operationMount, StatusOK, "")
			})
			for range 2 {
				if err := c.call(client); err != nil {
					t.Fatal(err)
				}
			}
			wait()
			client.Close()
			peer.checkEnd()
			checkNoFDsLeak(t, before+2) // leases that were not released keep one each
		})
	}
}

// After a mount without enter, only the directory can be in another namespace.
func TestDoesNotEnterWithoutNeed(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		peer.answer(operationMount, StatusNotAuthorised, "")
		peer.answer(operationMount, StatusOK, "")
		peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
	}()
	if _, err := client.MountTargets(testContext(t), procTarget(t)); !errors.Is(err, StatusNotAuthorised) {
		t.Errorf("got %v", err)
	}
	if _, err := client.MountTargets(testContext(t), procTarget(t)); err != nil {
		t.Error(err)
	}
	_, err := client.MountTargets(testContext(t), procTarget(t))
	checkForeign(t, err)
	client.Close()
	peer.checkEnd()
}

func TestADaemonThatMayNotJoinIsAskedOnce(t *testing.T) {
	for name, greeted := range map[string]bool{"greeted before": true, "not greeted": false} {
		t.Run(name, func(t *testing.T) {
			client, peer := newFakeDaemon(t).connect()
			go func() {
				if greeted {
					peer.greetWith(FeatureAdopt)
				}
				peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
				if !greeted {
					peer.greetWith(FeatureAdopt)
				}
				peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
			}()
			if greeted {
				if _, err := client.Hello(testContext(t)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				_, err := client.MountTargets(testContext(t), procTarget(t))
				checkForeign(t, err)
			}
			client.Close()
			peer.checkEnd()
		})
	}
}

// The caller gets the refusal, and enter is sent again on this connection only if the failure may pass.
func TestARefusalToEnterIsTheCallers(t *testing.T) {
	for _, status := range []Status{StatusNotAuthorised, StatusForeignNamespace, StatusMalformed, StatusHostFailed} {
		t.Run(status.String(), func(t *testing.T) {
			client, peer := newFakeDaemon(t).connect()
			before := countFDs(t)
			go func() {
				peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
				peer.greetWith(FeatureEnter)
				peer.answer(operationEnter, status, "may not")
				peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
				if status.isPassing() {
					peer.answer(operationEnter, status, "may not")
				}
			}()
			root := openDirectory(t, newRoot(t))
			for range 2 {
				_, err := client.Mount(testContext(t), root, Proc|Create)
				var refusal *Error
				if !errors.As(err, &refusal) || refusal.Status != status || refusal.Text != "may not" ||
					refusal.Operation != "enter" || refusal.Target != -1 {
					t.Errorf("got %v", err)
				}
			}
			if left := names(t, root.Name()); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
			client.Close()
			peer.checkEnd()
			root.Close()
			checkNoFDsLeak(t, before)
		})
	}
}

// Like a kept lease, or a directory in a third namespace.
func TestWhatIsRefusedInsideIsNotAskedForEver(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	go func() {
		peer.greetWith(FeatureEnter | FeatureKeep)
		peer.answer(operationMount, StatusForeignNamespace, "before")
		peer.answer(operationEnter, StatusOK, "")
		peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
		peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
	}()
	_, err := client.MountTargetsKept(testContext(t), procTarget(t))
	checkForeign(t, err)
	_, err = client.MountTargets(testContext(t), procTarget(t))
	checkForeign(t, err)
	client.Close()
	peer.checkEnd()
}

// The next connection of the same client, and that of another client of its Dialer.
func TestLaterConnectionsEnterFirst(t *testing.T) {
	daemon := newFakeDaemon(t)
	dialer := Dialer{Socket: daemon.path}
	connect := func() (*Client, *fakePeer) {
		client, err := dialer.Dial(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client, daemon.accept()
	}
	client, peer := connect()
	wait := inBackground(func() { peer.letIn(operationMount) })
	lease, err := client.MountTargets(testContext(t), procTarget(t))
	if err != nil {
		t.Fatal(err)
	}
	wait()
	peer.conn.Close()
	for _, which := range []string{"the same", "another"} {
		if which == "another" {
			client, peer = connect()
		} else {
			peer = daemon.accept()
			<-lease.Done() // it has no mount, so it isn't offered
		}
		wait = inBackground(func() {
			// This request doesn't depend on the namespace.
			peer.answer(operationUnmount, StatusOK, "")
			peer.greetWith(FeatureEnter | FeatureCheck)
			peer.answer(operationEnter, StatusOK, "")
			peer.answer(operationMount, StatusOK, "")
			peer.answer(operationMount, StatusOK, "")
		})
		if err := client.UnmountLease(testContext(t), 7); err != nil {
			t.Errorf("%s: %v", which, err)
		}
		if err := client.Check(testContext(t), procTarget(t)); err != nil {
			t.Errorf("%s: %v", which, err)
		}
		if _, err := client.MountTargets(testContext(t), procTarget(t)); err != nil {
			t.Errorf("%s: %v", which, err)
		}
		wait()
	}
}

func TestTheNextDaemonMayNotJoin(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := enteredClient(t, daemon)
	peer.conn.Close()
	peer = daemon.accept()
	go func() {
		peer.greetWith(FeatureAdopt)
		peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
		peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
	}()
	for range 2 {
		_, err := client.MountTargets(testContext(t), procTarget(t))
		checkForeign(t, err)
	}
	client.Close()
	peer.checkEnd()
}

// Whichever request the daemon dies of, the next instance gets all of them.
func TestADaemonThatGoesAwayWhileItEnters(t *testing.T) {
	cases := map[string]func(p *fakePeer){
		"before hello": func(p *fakePeer) {
			p.mustReceive(operationHello)
		},
		"before it entered": func(p *fakePeer) {
			p.greetWith(FeatureEnter)
			p.mustReceive(operationEnter)
		},
		"after it entered": func(p *fakePeer) {
			p.greetWith(FeatureEnter)
			p.answer(operationEnter, StatusOK, "")
			p.mustReceive(operationMount)
		},
	}
	for name, serve := range cases {
		t.Run(name, func(t *testing.T) {
			daemon := newFakeDaemon(t)
			client, peer := daemon.connect()
			before := countFDs(t)
			wait := inBackground(func() {
				peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
				serve(peer)
				peer.conn.Close()
				peer = daemon.accept()
				if name != "after it entered" {
					peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
				}
				peer.greetWith(FeatureEnter)
				peer.answer(operationEnter, StatusOK, "")
				peer.answer(operationMount, StatusOK, "")
			})
			if _, err := client.MountTargets(testContext(t), procTarget(t)); err != nil {
				t.Error(err)
			}
			wait()
			checkNoFDsLeak(t, before+1) // the lease's
		})
	}
}

func TestADaemonThatDiesOfEnteringIsNotAskedForEver(t *testing.T) {
	daemon := newFakeDaemon(t)
	client, peer := daemon.connect()
	before := countFDs(t)
	wait := inBackground(func() {
		for asked := 1; ; asked++ {
			peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
			peer.greetWith(FeatureEnter)
			peer.mustReceive(operationEnter)
			peer.conn.Close()
			if asked == lossesMax {
				return
			}
			peer = daemon.accept()
		}
	})
	if _, err := client.MountTargets(testContext(t), procTarget(t)); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	wait()
	client.Close()
	checkNoFDsLeak(t, before)
}

// A call returns in time, and the next one uses the enter that was started for it.
func TestTheContextEndsWhileTheDaemonEnters(t *testing.T) {
	for name, during := range map[string]operation{"hello": operationHello, "enter": operationEnter} {
		for _, kind := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(name+", "+kind.Error(), func(t *testing.T) {
				daemon := newFakeDaemon(t)
				client, peer := daemon.connect()
				before := countFDs(t)
				ctx, cancel := context.WithCancel(testContext(t))
				if kind == context.DeadlineExceeded {
					ctx, cancel = context.WithTimeout(testContext(t), time.Second)
				}
				defer cancel()
				left := make(chan struct{})
				wait := inBackground(func() {
					peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
					if during == operationEnter {
						peer.greetWith(FeatureEnter)
					}
					r := peer.mustReceive(during)
					if kind == context.Canceled {
						cancel()
					}
					<-left
					peer.reply(reply{operation: during, cookie: r.cookie, flags: uint32(FeatureEnter)})
					if during == operationHello {
						peer.answer(operationEnter, StatusOK, "")
					}
				})
				path := newRoot(t)
				root := openDirectory(t, path)
				if _, err := client.Mount(ctx, root, Proc|Create); !errors.Is(err, kind) {
					t.Errorf("got %v", err)
				}
				if left := names(t, path); len(left) != 0 {
					t.Errorf("left behind: %q", left)
				}
				close(left)
				wait()
				eventually(t, "it has entered", client.connection.channel.hasEntered)

				wait = inBackground(func() { peer.answer(operationMount, StatusOK, "") })
				if _, err := client.Mount(testContext(t), root, Proc|Create); err != nil {
					t.Error(err)
				}
				wait()
				if !client.connection.away.Load() {
					t.Error("later connections won't enter")
				}
				root.Close()
				checkNoFDsLeak(t, before+1) // the lease's
			})
		}
	}
}

func TestCloseEndsAnEntrance(t *testing.T) {
	client, peer := newFakeDaemon(t).connect()
	before := countFDs(t)
	go func() {
		peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
		peer.greetWith(FeatureEnter)
		peer.mustReceive(operationEnter)
		client.Close()
	}()
	if _, err := client.MountTargets(testContext(t), procTarget(t)); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	checkNoFDsLeak(t, before)
}

// Several concurrent mounts are refused before the client knows about the namespace.
func TestManyCallersEnterOnce(t *testing.T) {
	const callers = 8
	client, peer := newFakeDaemon(t).connect()
	enters := 0
	wait := inBackground(func() {
		var refused []fakeRequest
		for range callers {
			refused = append(refused, peer.mustReceive(operationMount))
		}
		for _, r := range refused {
			peer.reply(reply{operation: operationMount, cookie: r.cookie, status: StatusForeignNamespace})
		}
		for granted := 0; granted < callers; {
			r, ok := peer.receive()
			if !ok {
				t.Error("the client has gone")
				return
			}
			answer := reply{operation: r.operation, cookie: r.cookie, flags: uint32(FeatureEnter)}
			switch r.operation {
			case operationEnter:
				enters++
			case operationMount:
				if enters == 0 {
					t.Error("asked again without entering")
				}
				answer.lease = r.cookie
				granted++
			}
			peer.reply(answer)
		}
	})
	var group sync.WaitGroup
	for range callers {
		target := procTarget(t)
		group.Add(1)
		go func() {
			defer group.Done()
			if _, err := client.MountTargets(testContext(t), target); err != nil {
				t.Error(err)
			}
		}()
	}
	group.Wait()
	wait()
	if enters != 1 {
		t.Errorf("it entered %d times", enters)
	}
}

// Files of /proc/thread-self/ns that can't be opened are omitted; without the mount namespace nothing is sent.
func TestSendsTheNamespacesThatThereAre(t *testing.T) {
	own := ownNamespaces(t)
	t.Cleanup(func() { namespacesDirectory = "/proc/thread-self/ns/" })
	for present, want := range map[string][]string{
		"mnt pid": own[:2], "mnt net": {own[0], own[2]}, "mnt": own[:1], "pid net": nil, "": nil,
	} {
		t.Run(present, func(t *testing.T) {
			namespacesDirectory = t.TempDir() + "/"
			for _, name := range strings.Fields(present) {
				if err := os.Symlink("/proc/thread-self/ns/"+name, filepath.Join(namespacesDirectory, name)); err != nil {
					t.Fatal(err)
				}
			}
			client, peer := newFakeDaemon(t).connect()
			go func() {
				peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
				peer.greetWith(FeatureEnter)
				if want == nil {
					return
				}
				if r := peer.answer(operationEnter, StatusOK, ""); !slices.Equal(r.links, want) {
					t.Errorf("it sent %q, want %q", r.links, want)
				}
				peer.answer(operationMount, StatusOK, "")
			}()
			_, err := client.MountTargets(testContext(t), procTarget(t))
			if want == nil {
				checkForeign(t, err)
			} else if err != nil {
				t.Error(err)
			}
			client.Close()
			peer.checkEnd()
		})
	}
}

// Otherwise it might omit a namespace that exists.
func TestDoesNotEnterWhileDescriptorsAreShort(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	restore := func() { unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }
	t.Cleanup(restore)
	client, peer := newFakeDaemon(t).connect()
	go func() {
		r := peer.mustReceive(operationMount)
		unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: limit.Max})
		peer.reply(reply{operation: operationMount, cookie: r.cookie, status: StatusForeignNamespace})
		peer.greetWith(FeatureEnter)
	}()
	target := procTarget(t)
	_, err := client.MountTargets(testContext(t), target)
	restore()
	if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "namespaces") {
		t.Errorf("got %v", err)
	}
	go func() {
		peer.answer(operationMount, StatusForeignNamespace, "elsewhere")
		peer.answer(operationEnter, StatusOK, "")
		peer.answer(operationMount, StatusOK, "")
	}()
	if _, err := client.MountTargets(testContext(t), target); err != nil {
		t.Errorf("with enough of them: %v", err)
	}
}
