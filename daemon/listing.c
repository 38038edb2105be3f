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

char *listing_escape(const char *path, size_t places) {
        enum { PIECE = 4 }; /* bytes that text_escape() takes or leaves together, at most */
        char text[LISTING_PLACE_MAX + PIECE + 1];
        size_t max = places < LISTING_PLACES_MAX ? LISTING_PLACES_MAX - places : 0;

        if (max > LISTING_PLACE_MAX)
                max = LISTING_PLACE_MAX;
        if (max < strlen(LISTING_CUT))
                max = strlen(LISTING_CUT);
        /* No more of it than tells whether all of it is too long. */
        if (strlen(text_escape(text, max + PIECE + 1, path)) <= max)
                return strdup(text);
        text_escape(text, max - strlen(LISTING_CUT) + 1, path);
        memcpy(text + strlen(text), LISTING_CUT, sizeof(LISTING_CUT));
        return strdup(text);
}

/* A mount that is gone already, or was never reached, has no place to tell. */
static char *listing_place(const struct listing *listing, const struct mount_templates *templates,
                           int proc, int root, const struct record *record) {
        char path[PATH_MAX] = "", *slash;
        int r = -ENOENT;

        if (root >= 0)
                r = kernel_readlink(proc, root, path, sizeof(path));
        else if (mount_features(templates) & PROTOCOL_FEATURE_STATMOUNT)
                r = mount_locate(templates, record->mounts[0], record->file_systems[0], path,
                                 sizeof(path));
        if (r < 0 || strcmp(path, "/") == 0)
                return strdup("");
        slash = strrchr(path, '/');
        if (slash)
                slash[slash == path] = '\0';
        return listing_escape(path, listing->places);
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
        listing->places += strlen(place);
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
                                        listing_place(listing, templates, proc, root, &record));
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
