/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A lease as its holder has it: the id, and what it takes to find its mounts again by name when
 * another instance of the daemon wants to see them. May block for as long as the file systems of
 * the mountpoints do.
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
        HOLDING_REFUSED,     /* lost: the next instance didn't take it */
};

struct holding {
        struct holding *next;
        uint64_t id;
        uint64_t connection; /* the one that it belongs to */
        bool kept;           /* by the daemon, for the user: it belongs to no connection */
        enum holding_fate fate;
        int error;                           /* negative errno, of HOLDING_UNREACHABLE */
        char refusal[PROTOCOL_TEXT_MAX + 1]; /* the daemon's text, of HOLDING_REFUSED; or "" */
        struct root root; /* without a descriptor where the targets were given one by one */
        uint32_t count;
        struct mountat_target targets[MOUNTAT_TARGETS_MAX]; /* own descriptors, or none */
};

/* Without a lease yet; NULL without memory. */
struct holding *holding_new(void);

/* Removes what was made below its root, as far as that is bare. NULL is fine. Returns NULL. */
struct holding *holding_free(struct holding *holding);

/* Leaves what was made below its root: the lease stays without a holder. Returns NULL. */
struct holding *holding_leave(struct holding *holding);

/* Notes what is below its root, which has a descriptor already. */
void holding_note_targets(struct holding *holding, const struct mountat_target *targets, size_t n);

/* Keeps duplicates of the targets' descriptors: 1 to MOUNTAT_TARGETS_MAX. */
int holding_keep_targets(struct holding *holding, const struct mountat_target *targets, size_t n,
                         struct failure *failure);

/*
 * Opens its mounts' roots, `count` of them in the lease's order; the caller owns `fds` on success.
 * -ENOENT: something is no mount any more. -EMFILE, -ENFILE, -ENOMEM: this process can't now. Else
 * the way is barred.
 */
int holding_open_mounts(const struct holding *holding, int *fds);

/* 0 when nothing is mounted there any more, -EBUSY when something is, or another negative errno. */
int holding_check_bare(const struct holding *holding);

/* From now on it is lost. What leads to its mounts stays open, to see when they are gone. */
void holding_lose(struct holding *holding, enum holding_fate fate, int error);

/* The same for one that the next instance didn't take, and that it knows. */
void holding_lose_refused(struct holding *holding, const struct wire_reply *reply);

/* Says that it is lost, and why. -ENOENT. */
int holding_explain(const struct holding *holding, struct failure *failure);
