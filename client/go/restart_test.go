// SPDX-License-Identifier: Apache-2.0

package mountat

import (
	"context"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Clients of a daemon that is killed or restarted. These tests run the real daemon, too.

// mountRoot returns a lease of procfs and sysfs in a new root.
func mountRoot(t *testing.T, client *Client) (lease *Lease, path string) {
	t.Helper()
	path = newRoot(t)
	lease, err := client.Mount(testContext(t), openDirectory(t, path), Proc|Sysfs|Create)
	if err != nil {
		t.Fatal(err)
	}
	return lease, path
}

// waitUntilAdopted waits until the current connection has the lease.
func waitUntilAdopted(t *testing.T, lease *Lease) {
	t.Helper()
	connection := lease.client.connection
	eventually(t, "the lease is adopted", func() bool {
		connection.mu.Lock()
		defer connection.mu.Unlock()
		_, held := connection.leases[lease]
		return held && lease.channel == connection.channel && lease.channel.why() == nil
	})
}

func checkHeld(t *testing.T, lease *Lease, path string) {
	t.Helper()
	select {
	case <-lease.Done():
		t.Error("the lease is gone")
	default:
	}
	if _, err := os.Readlink(path + "/proc/self/exe"); err != nil {
		t.Error(err)
	}
	if len(names(t, path+"/sys")) == 0 {
		t.Error("sys is empty")
	}
}

func releaseAll(t *testing.T, leases map[*Lease]string) {
	t.Helper()
	for lease, path := range leases {
		if err := lease.Release(testContext(t)); err != nil {
			t.Error(err)
		}
		if left := names(t, path); len(left) != 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

// The mounts outlive an instance, and the next one releases them. It unmounts leases not adopted in
// time, so they were adopted.
func TestLeasesOutliveTheDaemon(t *testing.T) {
	for name, signal := range map[string]unix.Signal{"killed": unix.SIGKILL, "restarted": unix.SIGUSR1} {
		t.Run(name, func(t *testing.T) {
			before := countFDs(t)
			daemon := startDaemon(t, "--adopt-timeout=5")
			client := daemon.dial()
			leases := make(map[*Lease]string)
			for range 3 {
				lease, path := mountRoot(t, client)
				leases[lease] = path
			}
			held := countFDs(t)
			for range 3 {
				daemon.kill(signal)
				daemon.start()
				for lease, path := range leases {
					waitUntilAdopted(t, lease)
					checkHeld(t, lease, path)
				}
			}
			checkNoFDsLeak(t, held)

			time.Sleep(5500 * time.Millisecond) // longer than --adopt-timeout
			if n := daemon.mounts(); n != 2*len(leases) {
				t.Errorf("%d mounts, for %d leases", n, len(leases))
			}
			releaseAll(t, leases)
			if n := daemon.mounts(); n != 0 {
				t.Errorf("%d mounts are left", n)
			}
			client.Close()
			daemon.stop()
			checkNoFDsLeak(t, before+len(leases)) // their roots go with the test
		})
	}
}

// Renamed roots and parents are found, also with targets given one by one.
func TestMountsAreFoundAgain(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	path := newRoot(t, "a", "b", "c")
	inRoot, err := client.Mount(testContext(t), openDirectory(t, path+"/a"), Proc|Create)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/b/proc", "/c/sys"} {
		if err := os.Mkdir(path+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	oneByOne, err := client.MountTargets(testContext(t),
		Target{openDirectory(t, path+"/c/sys"), FileSystemSysfs, 0},
		Target{openDirectory(t, path+"/b/proc"), FileSystemProc, OptionReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := os.Rename(filepath.Join(path, name), filepath.Join(path, name+name)); err != nil {
			t.Fatal(err)
		}
	}
	daemon.kill(unix.SIGKILL)
	daemon.start()
	for _, lease := range []*Lease{inRoot, oneByOne} {
		waitUntilAdopted(t, lease)
		if err := lease.Release(testContext(t)); err != nil {
			t.Error(err)
		}
	}
	if left := names(t, path+"/aa"); len(left) != 0 || daemon.mounts() != 0 {
		t.Errorf("left behind: %q and %d mounts", left, daemon.mounts())
	}
}

// Calls wait while the daemon is away, but no longer than their context or the client's limit.
func TestCallsWaitForTheDaemon(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	lease, path := mountRoot(t, client)
	daemon.kill(unix.SIGKILL)

	client.connection.patience = 200 * time.Millisecond
	if _, err := client.Hello(testContext(t)); !errors.Is(err, ErrLost) || errors.Is(err, ErrLeaseLost) {
		t.Errorf("past the patience: hello: %v", err)
	}
	other := newRoot(t)
	_, err := client.Mount(testContext(t), openDirectory(t, other), Proc|Create)
	if !errors.Is(err, ErrLost) || errors.Is(err, ErrLeaseLost) {
		t.Errorf("past the patience: mount: %v", err)
	}
	if left := names(t, other); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := lease.Release(testContext(t)); !errors.Is(err, ErrLost) || errors.Is(err, ErrLeaseLost) {
		t.Errorf("past the patience: release: %v", err)
	}
	checkHeld(t, lease, path)

	client.connection.patience = lostPatience
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := lease.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("past its context: %v", err)
	}
	result := make(chan error)
	go func() { result <- lease.Release(testContext(t)) }()
	daemon.start()
	if err := <-result; err != nil {
		t.Errorf("with a daemon: %v", err)
	}
	if left := names(t, path); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The daemon has received the request, and dies before it answers.
func TestAMountIsAskedForAgain(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	if _, err := client.Hello(testContext(t)); err != nil {
		t.Fatal(err)
	}
	daemon.freeze()
	path := newRoot(t, "sys")
	root := openDirectory(t, path)
	type result struct {
		lease *Lease
		err   error
	}
	results := make(chan result)
	go func() {
		lease, err := client.Mount(testContext(t), root, Proc|Sysfs|Create)
		results <- result{lease, err}
	}()
	channel := client.connection.channel
	eventually(t, "the request is under way", func() bool {
		channel.mu.Lock()
		defer channel.mu.Unlock()
		return len(channel.pending) == 1
	})
	daemon.kill(unix.SIGKILL)
	daemon.start()
	r := <-results
	if r.err != nil {
		t.Fatal(r.err)
	}
	checkHeld(t, r.lease, path)
	if err := r.lease.Release(testContext(t)); err != nil {
		t.Error(err)
	}
	if left := names(t, path); len(left) != 1 || left[0] != "sys" {
		t.Errorf("there is %q, want sys alone", left)
	}
}

// A lease that the next instance doesn't adopt is lost, with an error that says so; the others and the Client
// go on.
func TestALeaseIsLost(t *testing.T) {
	cases := map[string]func(t *testing.T, path string){
		// Nothing is left for the daemon to release.
		"its mounts are gone": func(t *testing.T, path string) {
			for _, name := range []string{"/proc", "/sys"} {
				if err := unix.Unmount(path+name, unix.MNT_DETACH); err != nil {
					t.Fatal(err)
				}
			}
		},
		// The daemon sweeps the other one.
		"one of its mounts is gone": func(t *testing.T, path string) {
			if err := unix.Unmount(path+"/proc", unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		},
		// The mount found by name isn't the daemon's, so it refuses to adopt it.
		"something is mounted on top": func(t *testing.T, path string) {
			if err := unix.Mount("none", path+"/proc", "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(path+"/proc", unix.MNT_DETACH) })
		},
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			daemon := startDaemon(t, "--adopt-timeout=3")
			client := daemon.dial()
			kept, keptPath := mountRoot(t, client)
			lost, lostPath := mountRoot(t, client)
			daemon.kill(unix.SIGKILL)
			spoil(t, lostPath)
			daemon.start()

			<-lost.Done()
			waitUntilAdopted(t, kept)
			checkHeld(t, kept, keptPath)
			client.connection.mu.Lock()
			why := lost.lost
			client.connection.mu.Unlock()
			if !errors.Is(why, ErrLeaseLost) || !errors.Is(why, ErrLost) {
				t.Errorf("lost for %v", why)
			}
			if name == "something is mounted on top" {
				client.connection.patience = 100 * time.Millisecond
				if err := lost.Release(testContext(t)); !errors.Is(err, ErrLeaseLost) {
					t.Errorf("release of what is still mounted: %v", err)
				}
				client.connection.patience = lostPatience
				if err := unix.Unmount(lostPath+"/proc", unix.MNT_DETACH); err != nil {
					t.Fatal(err)
				}
			}
			releaseAll(t, map[*Lease]string{kept: keptPath, lost: lostPath})
			if client.Err() != nil {
				t.Errorf("the client ended: %v", client.Err())
			}
		})
	}
}

// A daemon that dropped a connection without restarting has released its leases.
func TestALeaseOfADroppedConnectionIsLost(t *testing.T) {
	daemon := startDaemon(t)
	client := daemon.dial()
	lease, path := mountRoot(t, client)
	client.connection.channel.socket.CloseWrite() // to the daemon, a disconnect
	<-lease.Done()
	releaseAll(t, map[*Lease]string{lease: path})
	if _, err := client.Hello(testContext(t)); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// Many clients mount and release while the daemon is killed again and again: a granted lease is held until it
// is released, and in the end nothing is left.
func TestFloodThroughKills(t *testing.T) {
	const (
		callers = 8
		kills   = 20
	)
	before := countFDs(t)
	daemon := startDaemon(t, "--adopt-timeout=5")
	clients := []*Client{daemon.dial(), daemon.dial()}
	base := t.TempDir()
	enough := make(chan struct{})
	var group sync.WaitGroup
	var mu sync.Mutex
	granted, inDoubt := 0, 0

	for i := range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewSource(int64(i)))
			for {
				select {
				case <-enough:
					return
				default:
				}
				err := floodOnce(clients[i%len(clients)], base, random)
				mu.Lock()
				switch {
				case err == nil:
					granted++
				case errors.Is(err, StatusAlreadyMounted): // granted without a reply: see Mount
					inDoubt++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		}()
	}
	random := rand.New(rand.NewSource(1))
	for i := range kills {
		eventually(t, "another lease was held and released", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return granted > i
		})
		time.Sleep(time.Duration(20+random.Intn(150)) * time.Millisecond)
		daemon.kill([]unix.Signal{unix.SIGKILL, unix.SIGUSR1}[i%2])
		time.Sleep(time.Duration(random.Intn(30)) * time.Millisecond)
		daemon.start()
	}
	close(enough)
	group.Wait()
	t.Logf("%d leases through %d kills; %d mounts in doubt", granted, kills, inDoubt)

	eventually(t, "all mounts are gone", func() bool { return daemon.mounts() == 0 })
	eventually(t, "all directories are gone", func() bool {
		for _, root := range names(t, base) {
			if len(names(t, filepath.Join(base, root))) != 0 {
				return false
			}
		}
		return true
	})
	for _, client := range clients {
		client.Close()
	}
	daemon.stop()
	checkNoFDsLeak(t, before)
}

// floodOnce holds a lease in a new root below base for a moment.
func floodOnce(client *Client, base string, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	path, err := os.MkdirTemp(base, "")
	if err != nil {
		return err
	}
	root, err := os.Open(path)
	if err != nil {
		return err
	}
	defer root.Close()
	lease, err := client.Mount(ctx, root, Proc|Sysfs|Create)
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(random.Intn(100)) * time.Millisecond)
	if _, err := os.Readlink(path + "/proc/self/exe"); err != nil {
		return err
	}
	return lease.Release(ctx)
}
