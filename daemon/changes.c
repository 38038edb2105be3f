/* SPDX-License-Identifier: Apache-2.0 */

/* When the ring is full the newest is dropped and counted: whoever looks on can list afresh. */

#include "daemon/changes.h"

void changes_watch(struct changes *changes, bool watched) {
        changes->watched = watched;
        changes->count = 0;
}

void changes_note(struct changes *changes, const struct change_event *event) {
        if (!changes->watched)
                return;
        if (changes->count == CHANGES_MAX) {
                changes->missed++;
                return;
        }
        changes->events[(changes->first + changes->count++) % CHANGES_MAX] = *event;
}

bool changes_next(struct changes *changes, struct change_event *event) {
        if (changes->count == 0)
                return false;
        *event = changes->events[changes->first];
        changes->first = (changes->first + 1) % CHANGES_MAX;
        changes->count--;
        return true;
}
