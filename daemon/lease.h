/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A lease: the mounts of one request, all or nothing. Granted to a holder of the table's
 * (leases.h), adopted by one, and released: what mounts and unmounts is done here, so all functions
 * run in an isolated thread (unmount.h).
 */

#include "daemon/leases.h"

#include <stdint.h>

/*
 * Makes the mounts and attaches them. STATUS_OK: `*id` is the new lease. Else nothing is mounted,
 * and the verdict names the order at fault; ECONNRESET in it: the holder has gone, or the daemon is
 * stopping. Can block, unkillable, on a hostile FUSE.
 */
struct verdict lease_grant(struct leases *leases, struct holder *holder,
                           const struct lease_orders *orders, uint64_t *id);

/*
 * Makes a lease that a predecessor left the holder's. `fds` are descriptors of the roots of its
 * mounts, in the claim's order; on STATUS_OK they are taken. Else STATUS_NO_SUCH_LEASE: no such
 * lease waits, it was another user's, or these are not its mounts; STATUS_HOST_FAILED: that could
 * not be found out, the lease still waits.
 */
struct verdict lease_adopt(struct leases *leases, struct holder *holder,
                           const struct lease_claim *claim, int *fds);

/* What is left of an ended lease: descriptors, to be closed when nobody waits for it any more. */
struct lease_remains {
        unsigned strangers; /* mounts of others that were stacked on ours and had to go first */
        unsigned count;
        int fds[PROTOCOL_TARGETS_MAX];
};

/*
 * Detaches the mounts of the lease `id`, which the holder holds, or its user's if that was kept; an
 * administrator may end any. STATUS_NO_SUCH_LEASE; STATUS_HOST_FAILED: the lease stays, from the
 * index told on, and may be tried again. STATUS_OK: `*remains` is for lease_dispose().
 */
struct verdict lease_release(struct leases *leases, struct holder *holder, uint64_t id,
                             struct lease_remains *remains);

/* Closes them, and takes the thread out of the mount; on the thread that released it. */
void lease_dispose(struct lease_remains *remains);

/*
 * Releases whatever the holder holds; what the host refuses to detach becomes an orphan of the
 * table's. 0, or the last refusal as a negative errno.
 */
int lease_release_held(struct leases *leases, struct holder *holder);
