/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The end of connections that are not served: those beyond the limits, which are told so, and those
 * whose clients have left already. One thread sees to all of them, and waits for nobody: it closes
 * those in whose queue no descriptors lie. Any other is closed by a thread that is charged to its
 * user, since the last close of what a client has queued can take for ever; beyond the user's share
 * of such threads it waits, and costs a descriptor. Where many of one user wait, they are put in
 * flight, in the queue of a socket, so that all of them cost one. What bounds their number is the
 * kernel's limit on descriptors in flight of the user who queued them: unix(7).
 *
 * For the main thread; nothing blocks.
 */

#include "daemon/request.h"
#include "daemon/thread.h"

#include <stdbool.h>
#include <sys/queue.h>

enum {
        REFUSALS_CLOSERS_MAX = 64, /* threads that close, in all */
        REFUSALS_CLOSERS_PER_USER_MAX = 16,
        REFUSALS_WAITING_MAX = 1024, /* to be told or closed; a descriptor each */
};

/* Where it is embedded it is the first member: what malloc(3) returned for it is freed with it. */
struct refusal {
        int fd; /* owned */
        struct subject subject;
        struct verdict verdict; /* STATUS_OK: there is nobody to be told */
        /* the module's own: */
        struct work work;
        struct refusals *all;
        STAILQ_ENTRY(refusal) entry;
};

/* To the client and to the log; on any thread. The descriptor stays the caller's. */
void refusal_tell(const struct refusal *refusal);

struct refusals;

/* Both are borrowed. NULL: out of memory. */
struct refusals *refusals_new(struct context *context, struct threads *threads);

/*
 * After threads_free(), if that has returned true. What waits because no thread could be made stays
 * open, for the process's end. NULL-safe.
 */
struct refusals *refusals_free(struct refusals *refusals);

/* False: so many wait that no connection should be accepted which might be one more. */
bool refusals_have_room(struct refusals *refusals);

/* Takes it. */
void refusals_add(struct refusals *refusals, struct refusal *refusal);

/* Now and then: tries again what there was no thread for. */
void refusals_retry(struct refusals *refusals);
