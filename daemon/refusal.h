/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Ends connections that are not served: those beyond the limits, which get a reply, and those whose
 * clients have already left. One thread handles all of them, and never waits: it closes those
 * without descriptors in their queue. Each of the others is closed by a thread charged to its user,
 * since the last close of a queued file can take for ever. Beyond the user's share of such threads,
 * a connection waits, at the cost of a descriptor. If many of one user wait, they are put in
 * flight, in the queue of a socket, so that all of them cost one descriptor. Their number is
 * bounded by the kernel's limit on descriptors in flight of the user who queued them: unix(7).
 *
 * For the main thread; nothing blocks.
 */

#include "daemon/request.h"
#include "daemon/thread.h"

#include <stdbool.h>
#include <sys/queue.h>

enum {
        REFUSALS_CLOSERS_MAX = 64, /* closing threads in total */
        REFUSALS_CLOSERS_PER_USER_MAX = 16,
        REFUSALS_WAITING_MAX = 1024, /* waiting for a reply or the close; a descriptor each */
};

/*
 * Must be the first member of an embedding struct: freeing the refusal frees the whole allocation.
 */
struct refusal {
        int fd; /* owned */
        struct subject subject;
        struct verdict verdict; /* STATUS_OK: no reply is needed */
        /* private: */
        struct work work;
        struct refusals *all;
        STAILQ_ENTRY(refusal) entry;
};

/* Replies to the client, and logs; on any thread. The descriptor stays the caller's. */
void refusal_tell(const struct refusal *refusal);

struct refusals;

/* Both are borrowed. NULL: out of memory. */
struct refusals *refusals_new(struct context *context, struct threads *threads);

/*
 * After threads_free() has returned true. Refusals for which no thread could be made stay open
 * until the process ends. Accepts NULL.
 */
struct refusals *refusals_free(struct refusals *refusals);

/* False: so many are waiting that no connection should be accepted that might be refused. */
bool refusals_have_room(struct refusals *refusals);

/* Takes ownership of the refusal. */
void refusals_add(struct refusals *refusals, struct refusal *refusal);

/* To be called now and then: retries refusals for which no thread could be made. */
void refusals_retry(struct refusals *refusals);
