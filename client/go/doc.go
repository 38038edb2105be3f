// SPDX-License-Identifier: Apache-2.0

// Package mountat asks mountatd to mount /proc, /sys and /dev in a directory tree that you hold open,
// and to unmount them again. No privilege is needed.
//
// A successful mount is a [Lease]. It belongs to the [Client], that is, to a connection: when that
// ends, for whatever reason, the daemon releases all its leases. So a program that dies leaves nothing
// mounted, and a program that needs its mounts keeps its Client. A kept lease, by [Keep] or
// [Client.MountTargetsKept], belongs to the user instead and outlives the Client.
//
// # Restarts
//
// When the daemon is restarted, or crashes and comes back, the mounts stay. The Client reconnects
// automatically and has the next instance adopt its leases; calls wait for that. So a restart goes
// unnoticed unless the daemon stays away: a call fails with [ErrLost] after 45 seconds, or at the end
// of its context, and may be retried.
//
// For adoption the Client reopens the mounts by name: proc, sys and dev below the root, or below the
// parent of a [Target]. Roots and parents may have been renamed. A lease is lost if this process may
// no longer search those directories, if something else is mounted on top, if one of its mounts is
// gone, or if the daemon refuses, which it does after its --adopt-timeout (30 s) and to another user's
// process. Then [Lease.Done] is closed at once, Release returns the reason with [ErrLeaseLost], and the
// daemon unmounts what is left.
//
// # Containers
//
// A program in another mount namespace than the daemon's, such as a container's, gets its mounts if
// mountatd's --join names its user ([FeatureEnter]). When the daemon refuses a directory for its
// namespace, the Client sends the mount, pid and network namespace of this process and retries; from
// then on /proc shows the container's processes. Later connections of the Client, and of all Clients
// of its [Dialer], send the namespaces first. Without --join, and for kept leases, the result is
// [StatusForeignNamespace].
//
// # Errors
//
// A refusal of the daemon is an [*Error] with a [Status]:
//
//	if errors.Is(err, mountat.StatusNotAuthorised) { … }
//
//	var refusal *mountat.Error
//	if errors.As(err, &refusal) { … refusal.Target … }
//
// Each status also has an errno, as in mountat.h: errors.Is(err, unix.EPERM). Without a connection
// the error is an [ErrLost]; it is an [ErrProtocol] too if the daemon broke the protocol, and a
// net.ErrClosed after [Client.Close].
//
// # Contexts
//
// A context bounds how long a call waits for the daemon. If it ends early, the connection survives: a
// request that was sent is completed in the background, and a mount that is granted too late is
// unmounted. The context doesn't bound how long opening a directory takes, which is up to the file
// system below the root (think of FUSE).
//
// # Concurrency and descriptors
//
// All methods may be called concurrently. The daemon serves the requests of one Client one after the
// other: for parallel mounts, open several Clients. All descriptors are close-on-exec.
package mountat
