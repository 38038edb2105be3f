/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The workers, and the connections that they serve: one epoll set, from which whichever worker is
 * free takes the next connection that has something to say. The only module with threads. Its
 * functions are for the main thread, but where they say otherwise; none blocks but crew_free().
 *
 * A worker can be lost: a file system's server can hold a call in the kernel for ever, beyond the
 * reach of any signal. It is then left where it is, with the request that it serves; another one is
 * started in its place; and the connection, if its client leaves, is abandoned: all that it held is
 * released, the stuck request alone remains. A worker that comes back undoes what nobody waits for.
 * To receive what a client sent, and to close it, can take as long as to mount on it: the last
 * close of a socket waits for its peer, that of a file on FUSE for its server.
 */

#include "daemon/request.h"

#include <stdbool.h>
#include <sys/queue.h>

struct crew;

/*
 * Starts the workers; each has a working directory of its own. `gate` is borrowed. Signals must be
 * blocked and privileges dropped before. Negative errno, with nothing running.
 */
int crew_new(struct request_gate *gate, struct crew **crew);

/*
 * Ends every connection, and waits for the workers that can end. False: some are stuck, they and
 * what they use stay behind, so the process must exit without freeing what the gate borrows.
 */
bool crew_free(struct crew *crew);

/* Takes an accepted connection, also on failure; errors as peer_new(). Not when crew_is_flooded().
 */
int crew_add(struct crew *crew, int fd);

/*
 * Work that no connection asked for, and that may block. Borrowed until `run` has returned, or,
 * with `done`, until crew_collect() has called that.
 */
struct crew_job {
        void (*run)(struct crew_job *job);  /* on a worker */
        void (*done)(struct crew_job *job); /* after it, by crew_collect(); NULL: nothing */
        /* Who is answerable for a lost worker, with an attempt that ends after `run`; NULL: nobody.
         */
        struct ledger_owner *owner;
        STAILQ_ENTRY(crew_job) next; /* the crew's own */
};

/* Has a worker run the job. */
void crew_submit(struct crew *crew, struct crew_job *job);

/* Whether so many refused connections wait to be closed that no other one should be accepted. */
bool crew_is_flooded(struct crew *crew);

/* Finds workers that have been lost since the last call, and replaces them; every 100 ms or so. */
void crew_watch(struct crew *crew);

/* Lets the connections end: what they have sent already is served, then they see end of file. */
void crew_drain(struct crew *crew);

/*
 * Hangs up on every client as the process's end would, but for a thread that is stuck in the kernel
 * and keeps the descriptors open. From here on nobody serves: exit at once.
 */
void crew_hang_up(struct crew *crew);

/* An eventfd(2) that becomes readable when crew_is_idle() may have become true, or by crew_wake();
 * borrowed. Read it. */
int crew_fd(const struct crew *crew);

/* Makes that readable. Any thread. */
void crew_wake(struct crew *crew);

/* An eventfd(2) that becomes readable when there is something to collect; borrowed. */
int crew_done_fd(const struct crew *crew);

/* Calls `done` of the jobs that have been run. On the one thread that does so. */
void crew_collect(struct crew *crew);

/*
 * Starts a thread beside the workers, for what must not keep the main thread waiting; crew_free()
 * returns false if it hasn't ended by then. Negative errno.
 */
int crew_spawn(struct crew *crew, void (*run)(void *argument), void *argument);

/* No connection, those apart that are abandoned to a lost worker, and no job that isn't done. */
bool crew_is_idle(struct crew *crew);

/* Whether any worker is there to serve. */
bool crew_is_able(struct crew *crew);
