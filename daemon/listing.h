/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * All leases at one moment, with the place of each asked from the kernel. Made on a worker; does
 * not block on any file system.
 *
 * Places are the users' to choose, and their control characters are four bytes here each: what is
 * long is cut, so that every listing fits a message of D-Bus (on the system bus 32 MiB, else the
 * bus drops the connection), and nobody can make one that is refused to an administrator.
 */

#include "daemon/ledger.h"
#include "daemon/mount.h"

#include <stddef.h>

enum {
        LISTING_PLACE_MAX = 1024,              /* bytes of one place */
        LISTING_PLACES_MAX = 16 * 1024 * 1024, /* of all; beyond, each is LISTING_CUT alone */
};

#define LISTING_CUT "..." /* the end of a place that was cut */

struct listing_entry {
        struct record record;
        char *place; /* of the directory above its first mount, escaped, and cut where it is long;
                        "" if unknown; owned */
};

struct listing {
        size_t count;
        size_t room;
        struct listing_entry *entries;
        size_t places; /* bytes of all places */
};

enum listing_scope {
        LISTING_OWN, /* the user's leases */
        LISTING_ALL,
};

/* `proc` is target_open_proc()'s. Frees itself on failure: -ENOMEM. `*listing` starts out zeroed.
 */
int listing_make(struct listing *listing, struct ledger *ledger,
                 const struct mount_templates *templates, int proc, enum listing_scope scope,
                 uid_t uid);
void listing_free(struct listing *listing);

/* `path` escaped, and cut where it is longer than LISTING_PLACE_MAX, or than what `places` bytes
 * that are spent already leave. The caller owns it; NULL: no memory. Pure. */
char *listing_escape(const char *path, size_t places);
