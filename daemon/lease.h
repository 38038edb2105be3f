/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A lease: the mounts of one request, all or nothing. Granted to a holder (leases.h), adopted by
 * one, and released. This module mounts and unmounts, so all functions run in an isolated thread
 * (unmount.h).
 */

#include "daemon/leases.h"

#include <stdint.h>

/*
 * Makes the mounts and attaches them. STATUS_OK: `*id` is the new lease. Otherwise nothing is
 * mounted, and the verdict names the order at fault; its errno is ECONNRESET if the holder has
 * gone, or the daemon is stopping. Can block, unkillable, on a hostile FUSE.
 */
struct verdict lease_grant(struct leases *leases, struct holder *holder,
                           const struct lease_orders *orders, uint64_t *id);

/*
 * Hands a lease of the previous instance over to the holder. `fds` are descriptors of the roots of
 * its mounts, in the claim's order; on STATUS_OK they are taken. STATUS_NO_SUCH_LEASE: no such
 * lease is waiting, it is another user's, or these are not its mounts. STATUS_HOST_FAILED: that
 * could not be determined; the lease is still waiting.
 */
struct verdict lease_adopt(struct leases *leases, struct holder *holder,
                           const struct lease_claim *claim, int *fds);

/* The descriptors of a released lease, to be closed when no client is waiting any more. */
struct lease_remains {
        unsigned strangers; /* others' mounts that were stacked on ours, and detached first */
        unsigned count;
        int fds[PROTOCOL_TARGETS_MAX];
};

/*
 * Detaches the mounts of the lease `id`, if the holder holds it or it is kept for its user; an
 * administrator may release any. STATUS_NO_SUCH_LEASE. STATUS_HOST_FAILED: the lease remains, from
 * the reported index on, and may be released again. STATUS_OK: pass `*remains` to lease_dispose().
 */
struct verdict lease_release(struct leases *leases, struct holder *holder, uint64_t id,
                             struct lease_remains *remains);

/* Closes the descriptors, and moves the thread out of the mount; on the thread that released it. */
void lease_dispose(struct lease_remains *remains);

/*
 * Releases all leases of the holder; those that the host fails to detach become orphans of the
 * table. 0, or the last failure as a negative errno.
 */
int lease_release_held(struct leases *leases, struct holder *holder);
