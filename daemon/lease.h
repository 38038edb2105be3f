/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A lease: the mounts of one request, all or nothing, held by the connection that asked. All
 * functions run on a worker; lease_grant() can block there, unkillable, on a hostile FUSE.
 */

#include "common/status.h"
#include "daemon/ledger.h"
#include "daemon/mount.h"

#include <stddef.h>
#include <stdint.h>

/* One mount to be made. */
struct lease_order {
        enum mount_kind kind;
        uint8_t file_system; /* PROTOCOL_PROC or PROTOCOL_SYSFS, for the record */
        int target;          /* borrowed: the directory that was judged */
        const struct target_facts *facts;
};

/*
 * Makes the mounts and attaches them, 1 to PROTOCOL_TARGETS_MAX. STATUS_OK: `*id` is the new lease.
 * Else nothing is mounted, and the verdict names the order at fault.
 */
struct verdict lease_grant(struct mount_templates *templates, struct ledger *ledger,
                           struct ledger_owner *owner, const struct lease_order *orders,
                           size_t count, uint64_t *id);

/*
 * Makes a lease that a predecessor left the owner's. `fds` are `count` descriptors of the roots of
 * its mounts, in the order of `file_systems`; on STATUS_OK they are taken. Else
 * STATUS_NO_SUCH_LEASE: no such lease waits, it was another user's, or these are not its mounts;
 * STATUS_HOST_FAILED: that could not be found out, the lease still waits.
 */
struct verdict lease_adopt(struct mount_templates *templates, struct ledger *ledger,
                           struct ledger_owner *owner, uint64_t id, const uint8_t *file_systems,
                           int *fds, size_t count);

/*
 * Keeps on what a predecessor kept, as ledger_take_kept() gave it. `fds` are `record->count`
 * descriptors of the roots of its mounts, -EBADF for one that is gone; they are taken. -ENOMEM.
 */
int lease_keep(struct ledger *ledger, const struct record *record, int *fds);

/* A duplicate, which the caller owns, of the descriptor of its first mount; for ledger_next(). */
int lease_duplicate(const struct lease *lease);

/*
 * Detaches the mounts of the owner's lease `id`. STATUS_NO_SUCH_LEASE; STATUS_HOST_FAILED: the
 * lease stays, from the index told on, and may be tried again. `*strangers` counts the mounts of
 * others that were stacked on ours and had to go first.
 */
struct verdict lease_release(struct mount_templates *templates, struct ledger *ledger,
                             struct ledger_owner *owner, uint64_t id, unsigned *strangers);

/*
 * Releases whatever `owner` holds; what the host refuses to detach becomes an orphan of the
 * ledger's. 0, or the last refusal as a negative errno.
 */
int lease_release_all(struct mount_templates *templates, struct ledger *ledger,
                      struct ledger_owner *owner);
