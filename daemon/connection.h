/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One client, one thread: each accepted connection has a thread of its own, from admission to its
 * last close, that receives, decodes, authorises, acts and replies in straight-line code. Whatever
 * a client makes its thread wait for (a file system that doesn't answer, the close of what it
 * queued), nobody else waits. The main thread accepts, and drops nothing of a client's.
 *
 * A connection beyond the limits is told so and closed on a thread as well, charged to its user;
 * beyond the user's share of those, it waits for one of them to end.
 *
 * This and the log are the only modules with threads. The functions are for the main thread; none
 * blocks but connections_free().
 */

#include "daemon/request.h"

#include <stdbool.h>
#include <sys/queue.h>

struct connections;

enum {
        CONNECTION_REFUSALS_MAX = 64,          /* threads that refuse, in all */
        CONNECTION_REFUSALS_PER_USER_MAX = 16, /* and for one user */
        CONNECTION_REFUSED_MAX = 1024, /* connections that wait for such a thread; a descriptor each */
};

/*
 * Makes the first thread. `context` is borrowed. Signals must be blocked and privileges dropped
 * before. Negative errno, with nothing running.
 */
int connections_new(struct context *context, struct connections **connections);

/*
 * Hangs up on every client, and waits for the threads that can end. False: some are stuck in the
 * kernel, they and what they use stay behind, so the process must exit without freeing what the
 * context borrows. NULL-safe.
 */
bool connections_free(struct connections *connections);

/*
 * Accepts one connection from the listening `socket`, and has it served or refused. -EAGAIN: there
 * is none. -EUSERS: so many refused ones wait to be closed that no other should be accepted. Other
 * negative errnos: the host is short of something, look away for a while.
 */
int connections_accept(struct connections *connections, int socket);

/*
 * Work that may block, on a thread of its own like a connection's: isolated (unmount.h). Borrowed
 * until connections_collect() has called `done`.
 */
struct job {
        void (*run)(struct job *job);  /* on the thread */
        void (*done)(struct job *job); /* after it, on the main thread */
        STAILQ_ENTRY(job) entry;       /* the module's own */
};

/* Negative errno: no thread can be made, `done` won't be called. */
int connections_run(struct connections *connections, struct job *job);

/* An eventfd(2) that becomes readable when connections_collect() should be called; borrowed. */
int connections_fd(const struct connections *connections);

/* Reads it, and calls `done` of the jobs that have been run. */
void connections_collect(struct connections *connections);

/* Every 100 ms or so: what a client that has left still holds goes, though its thread is stuck. */
void connections_watch(struct connections *connections);

/* Lets the connections end: what they have sent already is served, then they see end of file. */
void connections_drain(struct connections *connections);

/* When the time for that is over: what the others hold is released beside their threads. */
void connections_abandon(struct connections *connections);

/*
 * Hangs up on every client as the process's end would, but for a thread that is stuck in the kernel
 * and keeps the descriptors open. After leases_freeze(); exit at once.
 */
void connections_hang_up(struct connections *connections);

/* No connection and no job: connections_fd() becomes readable when that may have become true. */
bool connections_are_idle(struct connections *connections);
