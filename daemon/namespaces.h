/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The namespaces of a client in a container. Its connection's thread enters its mount namespace and
 * stays, since mounts can be attached and detached only from inside; the mounts show the client's
 * pid and network namespaces. The thread's root is the container's, which can hang or lie: no path
 * is used there (setns(2), mount_namespaces(7)).
 *
 * Nothing of a namespace is held longer than its connection: holding a mount namespace keeps
 * everything mounted in it busy. To undo something there later, it is looked up by its id.
 */

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h> /* struct ucred */
#include <sys/types.h>

/*
 * Opens our own namespaces, once per process, before the first thread. Without it no client can
 * enter, and every thread counts as being at home. `search`: where the kernel lists no mount
 * namespaces, looks through those of processes, which takes root's rights. Negative errno.
 */
int namespaces_prepare(bool search);

/* Indexed by enum protocol_namespace; -EBADF: not sent. */
enum { NAMESPACES_KINDS = 4 };

struct namespaces {
        uint64_t id;    /* of the mount namespace, as in records; 0: ours */
        uint64_t inode; /* its inode, for people; 0: ours */
        int fds[NAMESPACES_KINDS];
        bool ours[NAMESPACES_KINDS]; /* it was sent, and is our own */
};

/*
 * Moves the calling isolated thread into the namespaces of the process `peer`, which sent `fds`;
 * those that are kept are taken. STATUS_OK: `*namespaces` is the caller's, to be freed by the same
 * thread. STATUS_MALFORMED: a descriptor isn't the namespace it was sent as. STATUS_NOT_AUTHORISED:
 * the pid namespace isn't the peer's; or the host's root is mapped, or may yet be, in the user
 * namespace that owns one of them or in one above, where the attributes forced on mounts could be
 * lifted. STATUS_FOREIGN_NAMESPACE: we can't see the peer's processes. STATUS_HOST_FAILED. The
 * verdict names no target.
 */
struct verdict namespaces_enter(int fds[static NAMESPACES_KINDS], const struct ucred *peer,
                                struct namespaces **namespaces);

/* The id of the mount namespace entered; 0: our own, also for NULL. */
static inline uint64_t namespaces_id(const struct namespaces *namespaces) {
        return namespaces ? namespaces->id : 0;
}

static inline uint64_t namespaces_inode(const struct namespaces *namespaces) {
        return namespaces ? namespaces->inode : 0;
}

/* Moves the thread back. Accepts NULL. */
struct namespaces *namespaces_free(struct namespaces *namespaces);

/*
 * Moves the calling isolated thread into the mount namespace with that id (0: our own), until the
 * next call or namespaces_return(). Does nothing if the thread is already there. -ENOENT: it no
 * longer exists. On failure the thread is where it was, or at home.
 */
int namespaces_go(uint64_t id);

/* The mount namespace of the calling thread. */
uint64_t namespaces_here(void);

/* Moves the thread home, where it must be before it takes up other work. False: that failed. */
bool namespaces_return(void);

/* Calls `run` in the client's network namespace. Negative errno: it was not called. */
int namespaces_run_in_network(const struct namespaces *namespaces, void (*run)(void *argument),
                              void *argument);
