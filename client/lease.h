/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Requests for a lease and for its end, on a connection that may be lost at any moment: what a lost
 * answer leaves in doubt is settled by waiting or explained. Each blocks until the connection's
 * deadline at most, and may block on the file systems of the mountpoints. One thread at a time, as
 * the connection.
 */

#include "client/connection.h"

#include <stddef.h>
#include <stdint.h>

/* What is mounted on, with borrowed descriptors: 1 to MOUNTAT_TARGETS_MAX. */
struct lease_targets {
        const struct mountat_target *targets;
        size_t n;
};

/*
 * Mounts on the targets, and gives the holding its lease; if that is to be kept, by the daemon. The
 * caller adds the holding to the connection. -EBUSY after a loss: the text says if the mount may be
 * that of the first attempt.
 */
int lease_mount(struct connection *connection, const struct lease_targets *targets,
                struct holding *holding, struct failure *failure);

/*
 * The same on the mountpoints below the holding's root, which are opened, made and noted here. If
 * they are mounted on by a lease whose connection was just closed, waits for its release.
 */
int lease_mount_root(struct connection *connection, struct holding *holding,
                     struct failure *failure);

/* Asks for what lease_mount() would return; nothing is mounted. */
int lease_check(struct connection *connection, const struct lease_targets *targets,
                struct failure *failure);

/*
 * Unmounts the lease of that id, and removes its holding from the connection if there is one. On
 * failure the holding stays, unless the lease is gone: -ENOENT. 0 also if the lease was lost on the
 * way and nothing is mounted any more, which is waited for.
 */
int lease_unmount(struct connection *connection, uint64_t id, struct failure *failure);
