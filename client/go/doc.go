// SPDX-License-Identifier: Apache-2.0

// Package mountat asks mountatd to mount /proc, /sys and /dev in a directory tree that you hold open,
// and to unmount them again. No privilege is needed.
//
// A mount that succeeded is a [Lease]. It belongs to the connection that asked, the [Client]: when
// that ends, for whatever reason, the daemon releases all its leases. So a program that dies leaves
// nothing behind, and a program that keeps its mounts keeps its Client. Who wants them to stay asks
// for a kept lease, by [Keep] or [Client.MountTargetsKept]: that one is the user's.
//
// # Restarts
//
// When the daemon is restarted, or crashes and comes back, the mounts stay. The Client connects again
// by itself and has the next instance adopt its leases; calls wait for that. So nothing is to be
// noticed, unless the daemon stays away: a call that has waited for 45 seconds, or until the end of
// its context, fails with [ErrLost] and may be tried again.
//
// To be adopted, mounts must be found by name: proc, sys and dev below the root, or that of the
// parent of a [Target]. Roots and parents may be renamed meanwhile. A lease is lost if this process may
// no longer search those directories, if something else is mounted on top, if one of its mounts is
// gone, or if the daemon refuses, which it does after its --adopt-timeout (30 s) and to a process of
// another user. [Lease.Done] tells at once, and Release why: [ErrLeaseLost]. What is still mounted of
// it is released by the daemon.
//
// # Containers
//
// A program in another mount namespace than the daemon's, as a container has one, gets its mounts if the
// administrator lets its user: mountatd's --join, [FeatureEnter]. When the daemon says that a directory is
// elsewhere, the Client sends it the mount, pid and network namespace of this process, and asks once more;
// from then on the /proc that it gets is that of the container. Later connections of the Client, and of
// the others of its [Dialer], begin with that. Otherwise, and for kept leases in any case, there is
// [StatusForeignNamespace].
//
// # Errors
//
// What the daemon refuses is an [*Error] with a [Status]:
//
//	if errors.Is(err, mountat.StatusNotAuthorised) { … }
//
//	var refusal *mountat.Error
//	if errors.As(err, &refusal) { … refusal.Target … }
//
// Each status stands for an errno too, as in mountat.h: errors.Is(err, unix.EPERM). When there is no
// connection, errors.Is(err, [ErrLost]) holds; beside it [ErrProtocol] if the daemon broke the
// protocol, and net.ErrClosed if it was [Client.Close].
//
// # Contexts
//
// A context bounds how long a call waits for the daemon. The connection survives a context that
// ends early: a request that was sent is finished behind the caller's back, and a mount that is
// granted too late is unmounted again. What is not bounded is the file system below a root (think
// of FUSE): opening a directory in it takes as long as it takes.
//
// # Concurrency and descriptors
//
// All methods may be called from any number of goroutines; requests of one Client are served one
// after the other, so who wants parallel mounts opens a Client for each. All descriptors are
// close-on-exec.
package mountat
