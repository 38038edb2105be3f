/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The holder's side of a lease: its id, and how to reopen its mounts by name, as adoption by the
 * next instance of the daemon requires. Functions may block as long as the file systems of the
 * mountpoints do.
 */

#include "client/failure.h"
#include "client/root.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum holding_fate {
        HOLDING_KEPT,
        HOLDING_BARE,        /* lost: its mounts were gone */
        HOLDING_UNREACHABLE, /* lost: its mounts could not be opened */
        HOLDING_REFUSED,     /* lost: the next instance refused to adopt it */
};

struct holding {
        struct holding *next;
        uint64_t id;
        uint64_t connection; /* the number of the connection that it belongs to */
        bool kept;           /* a kept lease: it belongs to the user, and to no connection */
        enum holding_fate fate;
        int error;                           /* negative errno, of HOLDING_UNREACHABLE */
        char refusal[PROTOCOL_TEXT_MAX + 1]; /* the daemon's text, of HOLDING_REFUSED; or "" */
        struct root root;                    /* fd is -EBADF if the targets were given one by one */
        uint32_t count;
        struct mountat_target targets[MOUNTAT_TARGETS_MAX]; /* fds are owned, or -EBADF */
};

/* A new one without a lease; NULL if out of memory. */
struct holding *holding_new(void);

/* Frees it, and removes the created directories that aren't mounted on. NULL-safe; returns NULL. */
struct holding *holding_free(struct holding *holding);

/* Frees it, and leaves the created directories: the lease lives on. NULL-safe; returns NULL. */
struct holding *holding_leave(struct holding *holding);

/* Records the targets below its root, without their descriptors. */
void holding_note_targets(struct holding *holding, const struct mountat_target *targets, size_t n);

/* Records 1 to MOUNTAT_TARGETS_MAX targets, with duplicates of their descriptors. */
int holding_keep_targets(struct holding *holding, const struct mountat_target *targets, size_t n,
                         struct failure *failure);

/*
 * Opens the roots of its mounts, `count` of them in the lease's order; the caller owns `fds` on
 * success. -ENOENT: a mount is gone. -EMFILE, -ENFILE, -ENOMEM: try again later. Other errors: a
 * mount can't be reached.
 */
int holding_open_mounts(const struct holding *holding, int *fds);

/* 0 if nothing is mounted there any more, -EBUSY if something is, or another negative errno. */
int holding_check_bare(const struct holding *holding);

/* Marks it as lost. Its descriptors stay open, to see when the mounts are gone. */
void holding_lose(struct holding *holding, enum holding_fate fate, int error);

/* The same for a lease whose adoption the next instance refused, with its reply. */
void holding_lose_refused(struct holding *holding, const struct wire_reply *reply);

/* Records in `failure` that it is lost and why. Returns -ENOENT. */
int holding_explain(const struct holding *holding, struct failure *failure);
