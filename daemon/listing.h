/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * All leases at one moment, with the place of each asked from the kernel. Made on a worker; does
 * not block on any file system.
 */

#include "daemon/ledger.h"
#include "daemon/mount.h"

#include <stddef.h>

struct listing_entry {
        struct record record;
        char *place; /* of the directory above its first mount, escaped; "" if unknown; owned */
};

struct listing {
        size_t count;
        size_t room;
        struct listing_entry *entries;
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
