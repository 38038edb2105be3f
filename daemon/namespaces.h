/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The namespaces of a client that lives in a container. The thread of its connection goes into its
 * mount namespace and stays, since mounts are attached and detached in there alone; what is mounted
 * shows its pid and network namespaces. In there the root is the container's, which can hang or
 * lie: no path is named (setns(2), mount_namespaces(7)).
 *
 * Nothing is kept of a namespace longer than its connection: who holds a mount namespace keeps all
 * that is mounted in it busy. Whoever has something to undo in one later finds it by its id.
 */

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h> /* struct ucred */
#include <sys/types.h>

/*
 * Opens our own ones, once in the process, before the first thread. Without it nobody enters, and
 * all else here finds every thread at home. `search`: with root's rights, which it takes, a mount
 * namespace is also looked for among those of processes, where the kernel lists none. Negative
 * errno.
 */
int namespaces_prepare(bool search);

/* What a client sent, by enum protocol_namespace; -EBADF: it sent none. */
enum { NAMESPACES_KINDS = 4 };

struct namespaces {
        uint64_t id;    /* of the mount namespace, as in records; 0: it is our own */
        uint64_t inode; /* of that as well, for people; 0: it is our own */
        int fds[NAMESPACES_KINDS];
        bool ours[NAMESPACES_KINDS]; /* it was sent, and is our own */
};

/*
 * Brings the calling thread, an isolated one, into the namespaces of the process `peer`, which sent
 * `fds`; what is kept of those is taken out. STATUS_OK: `*namespaces` is the caller's, to be freed
 * by the same thread. STATUS_MALFORMED: one of them isn't what it was said to be.
 * STATUS_NOT_AUTHORISED: the pid namespace isn't the peer's; or the host's root is, or may yet be,
 * mapped in the user namespace that one of them belongs to, or in one above, where what is forced
 * on the mounts could be lifted.
 * STATUS_FOREIGN_NAMESPACE: the peer's processes can't be seen from here. STATUS_HOST_FAILED. The
 * verdict names no target.
 */
struct verdict namespaces_enter(int fds[static NAMESPACES_KINDS], const struct ucred *peer,
                                struct namespaces **namespaces);

/* The mount namespace of who has entered those, 0: our own, as of who has entered none (NULL). */
static inline uint64_t namespaces_id(const struct namespaces *namespaces) {
        return namespaces ? namespaces->id : 0;
}

static inline uint64_t namespaces_inode(const struct namespaces *namespaces) {
        return namespaces ? namespaces->inode : 0;
}

/* Brings the thread back. NULL-safe. */
struct namespaces *namespaces_free(struct namespaces *namespaces);

/*
 * Brings the calling thread, an isolated one, into the mount namespace with that id, 0 for our own,
 * where it stays until the next call, or namespaces_return(). Does nothing for a thread that is
 * there. -ENOENT: there is no such any more; if not 0, the thread is where it was, or at home.
 */
int namespaces_go(uint64_t id);

/* Where the calling thread is. */
uint64_t namespaces_here(void);

/* Home, where every thread must be that takes up other work. False: it can't. */
bool namespaces_return(void);

/* Runs it in the client's network namespace. Negative errno: it was not run. */
int namespaces_run_in_network(const struct namespaces *namespaces, void (*run)(void *argument),
                              void *argument);
