/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One lease at a time is copied from the ledger, with a duplicate of a descriptor of its mount, so
 * that whoever releases it meanwhile takes nothing away from here.
 */

#include "daemon/listing.h"

#include "common/fd.h"
#include "common/text.h"
#include "daemon/kernel.h"
#include "daemon/lease.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static char *listing_escape(char *path) {
        char escaped[4 * PATH_MAX];
        char *slash = strrchr(path, '/');

        if (slash)
                slash[slash == path] = '\0';
        return strdup(text_escape(escaped, sizeof(escaped), path));
}

/* A mount that is gone already, or was never reached, has no place to tell. */
static char *listing_place(const struct mount_templates *templates, int proc, int root,
                           const struct record *record) {
        char path[PATH_MAX] = "";
        int r = -ENOENT;

        if (root >= 0)
                r = kernel_readlink(proc, root, path, sizeof(path));
        else if (mount_features(templates) & PROTOCOL_FEATURE_STATMOUNT)
                r = mount_locate(templates, record->mounts[0], record->file_systems[0], path,
                                 sizeof(path));
        return r < 0 || strcmp(path, "/") == 0 ? strdup("") : listing_escape(path);
}

static int listing_add(struct listing *listing, const struct record *record, char *place) {
        struct listing_entry *entries = listing->entries;

        if (!place)
                return -ENOMEM;
        if (listing->count == listing->room) {
                size_t room = listing->room ? listing->room * 2 : 16;

                entries = reallocarray(entries, room, sizeof(*entries));
                if (!entries) {
                        free(place);
                        return -ENOMEM;
                }
                listing->entries = entries;
                listing->room = room;
        }
        entries[listing->count++] = (struct listing_entry){.record = *record, .place = place};
        return 0;
}

int listing_make(struct listing *listing, struct ledger *ledger,
                 const struct mount_templates *templates, int proc, enum listing_scope scope,
                 uid_t uid) {
        struct record record;
        uint32_t cursor = 0;
        int root, r = 0;

        while (r == 0 && ledger_next(ledger, &cursor, lease_duplicate, &record, &root)) {
                if (scope == LISTING_ALL || record.uid == uid)
                        r = listing_add(listing, &record,
                                        listing_place(templates, proc, root, &record));
                fd_close(root);
        }
        if (r < 0)
                listing_free(listing);
        return r;
}

void listing_free(struct listing *listing) {
        for (size_t i = 0; i < listing->count; i++)
                free(listing->entries[i].place);
        free(listing->entries);
        *listing = (struct listing){0};
}
