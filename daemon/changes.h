/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What has become of leases, for those who look on: a ring of fixed size, so that noting costs a
 * few stores. The ledger's own, guarded by its mutex.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
        /* That can wait for being fetched: more leases than come or go in a tenth of a second. */
        CHANGES_MAX = 4096,
};

enum change {
        CHANGE_ADDED,
        CHANGE_UNMOUNTED,    /* it was asked for */
        CHANGE_DISCONNECTED, /* its connection has ended */
        CHANGE_VANISHED,     /* its holder died with a predecessor, and nobody came for it */
        CHANGE_STOPPED,      /* the daemon ends */
};

struct change_event {
        uint64_t lease;
        uid_t uid;
        uint32_t origin; /* enum record_origin */
        enum change change;
};

/* Zero-initialised it is empty, and notes nothing. */
struct changes {
        bool watched;
        unsigned first;
        unsigned count;
        unsigned missed; /* events that nobody fetched in time */
        struct change_event events[CHANGES_MAX];
};

/* Starts or ends the noting; what waits is dropped. */
void changes_watch(struct changes *changes, bool watched);

void changes_note(struct changes *changes, const struct change_event *event);

/* The oldest one; false: there is none. */
bool changes_next(struct changes *changes, struct change_event *event);
